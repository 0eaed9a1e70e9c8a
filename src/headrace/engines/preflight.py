"""What can be known before an engine is started, so that nobody waits two minutes to learn it."""

import shutil
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from headrace.config.engines import REMOTE, LocalEngine, Vllm
from headrace.engines import checkpoint, llamacpp
from headrace.engines.checkpoint import Checkpoint, Unreadable
from headrace.engines.child import HOST
from headrace.engines.gpus import Gpu
from headrace.errors import StartError

GIB = 1024**3
UTILIZATION = 0.92  # the default of vLLM 0.32
# Memory for activations and CUDA graphs that vLLM measures by a trial run; small models need less.
OVERHEAD = 0.05
HUB_NAME_PARTS = 2


@dataclass(frozen=True, slots=True)
class Finding:
    """
    One sentence about one engine. A problem would end its start; anything else is for information.
    """

    engine: str
    text: str
    problem: bool = True

    def __str__(self) -> str:
        return f"engine {self.engine}: {self.text}"


def inspect(engines: Sequence[LocalEngine], gpus: Sequence[Gpu] | None) -> list[Finding]:
    """All findings about all engines; ``gpus`` is what the machine shows, None: unknown."""
    found: list[Finding] = []
    for engine in engines:
        name = engine.name or engine.names[0]
        found += [Finding(name, text) for text in _ports(engine)]
        if engine.type == "vllm":
            found += _vllm(name, engine, gpus)
        elif engine.type == "llamacpp":
            found += [Finding(name, text) for text in _llamacpp(engine)]
    return found


def _ports(engine: LocalEngine) -> Iterator[str]:
    for port in range(engine.port, engine.port + engine.replicas) if engine.port else ():
        with socket.socket() as probe:
            try:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((HOST, port))
            except (OSError, OverflowError):
                yield f"port {port} is in use or not allowed; choose another `port`, or 0"


def _llamacpp(engine: LocalEngine) -> Iterator[str]:
    for path in (engine.model, engine.llamacpp.mmproj):
        if path is None:
            continue
        try:
            llamacpp.weights(Path(path))
        except StartError as error:
            yield str(error).rstrip(".")


def _vllm(name: str, engine: LocalEngine, gpus: Sequence[Gpu] | None) -> Iterator[Finding]:
    settings = engine.vllm
    program = settings.command[0]
    if shutil.which(str(Path(program).expanduser())) is None:
        yield Finding(
            name,
            f"there is no program {program}; install vLLM there, or name another in `vllm.command`",
        )
    for adapter, folder in settings.lora_modules.items():
        if _is_local(folder) and not Path(folder).expanduser().is_dir():
            yield Finding(name, f"there is no folder {folder} of the LoRA adapter {adapter}")
    yield from _counts(name, engine, gpus)
    found: Checkpoint | None = None
    if _is_local(engine.model or ""):
        try:
            found = _checkpoint(engine)
        except Unreadable as error:
            yield Finding(name, str(error))
    else:
        yield Finding(name, f"{engine.model} is not on this disk, and is not checked", False)
    if found is not None:
        yield from _context(name, settings, found)
        yield from _memory(name, settings, found, gpus)


def _is_local(model: str) -> bool:
    """A folder, unless it is an address or a name of the hub (owner/model) that is no folder."""
    if model.startswith(REMOTE):
        return False
    if model.startswith(("/", ".", "~")) or Path(model).exists():
        return True
    return model.count("/") + 1 != HUB_NAME_PARTS


def _checkpoint(engine: LocalEngine) -> Checkpoint:
    folder = Path(engine.model or "").expanduser()
    if not folder.exists():
        raise Unreadable(f"there is no folder {folder}")
    if not folder.is_dir():
        raise Unreadable(f"{folder} is a file; name the folder with config.json and the weights")
    return checkpoint.read(folder, engine.vllm.kv_cache_dtype, engine.vllm.dtype)


def _counts(name: str, engine: LocalEngine, gpus: Sequence[Gpu] | None) -> Iterator[Finding]:
    settings = engine.vllm
    each, needed = settings.gpus_each, settings.gpus_each * engine.replicas
    if settings.gpus and len(settings.gpus) < needed:
        yield Finding(
            name,
            f"`gpus` names {len(settings.gpus)}, and {engine.replicas} x {each} are needed"
            " (replicas x tensor_parallel_size x pipeline_parallel_size)",
        )
    if not gpus:  # vLLM for CPUs has no such limits
        return
    missing = [number for number in settings.gpus if number >= len(gpus)]
    if missing:
        yield Finding(name, f"there is no GPU {missing[0]}; this machine shows {len(gpus)}")
    if needed > len(gpus):
        yield Finding(
            name,
            f"{needed} GPUs are needed (replicas x tensor_parallel_size x"
            f" pipeline_parallel_size), and this machine shows {len(gpus)}",
        )


def _context(name: str, settings: Vllm, found: Checkpoint) -> Iterator[Finding]:
    wanted = settings.max_model_len
    if wanted and found.context and wanted > found.context:
        yield Finding(
            name,
            f"max_model_len is {wanted}, and the model was made for {found.context}"
            " (max_position_embeddings)",
        )
    asked = settings.quantization
    if asked and found.quantization and found.quantization.split("-")[0] not in asked:
        yield Finding(
            name, f"quantization is {asked}, and the model's config.json says {found.quantization}"
        )


def _memory(
    name: str, settings: Vllm, found: Checkpoint, gpus: Sequence[Gpu] | None
) -> Iterator[Finding]:
    weights = f"the weights take {found.weight_bytes / GIB:.1f} GiB"
    if not gpus:
        yield Finding(name, f"{weights}; whether they fit is unknown, no GPU can be seen", False)
        return
    used = [gpus[number] for number in settings.gpus if number < len(gpus)] or list(gpus)
    smallest = min(gpu.memory_bytes for gpu in used)
    share = settings.gpu_memory_utilization or UTILIZATION
    usable = smallest * (share - OVERHEAD) * settings.gpus_each
    left = usable - found.weight_bytes
    where = f"{settings.gpus_each} x {smallest / GIB:.0f} GiB at {share:g}"
    if left <= 0:
        yield Finding(name, f"{weights}, and {where} leave {usable / GIB:.1f} GiB for them")
        return
    tokens = int(left / found.kv_token_bytes) if found.kv_token_bytes else 0
    context = settings.max_model_len or found.context
    if tokens and context and tokens < context:
        yield Finding(
            name,
            f"{weights}; what {where} leave holds a KV cache of about {tokens} tokens, less than"
            f" one request of {context}; lower max_model_len or raise gpu_memory_utilization",
        )
    elif tokens:
        yield Finding(name, f"{weights}; about {tokens} tokens of KV cache fit beside them", False)
