"""
vLLM as an engine: its command line, and what its output means. Nothing of vLLM is imported.

Flags: https://docs.vllm.ai/en/latest/cli/serve.html (0.32). Who starts it is crew.py's.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from headrace.config.engines import LocalEngine, Vllm
from headrace.config.events import endpoint

# (EngineCore pid=7) INFO 11-21 16:00:00 [file.py:12] text; older ones have no process in front.
_LINE = re.compile(
    r"^(?:\x1b\[[\d;]*m)*(?:\([^)]*pid=\d+\)(?:\x1b\[[\d;]*m)* *)?"
    r"(?P<level>DEBUG|INFO|WARNING|ERROR|CRITICAL) "
    r"(?:\x1b\[[\d;]*m)*\d\d-\d\d \d\d:\d\d:\d\d \[(?P<place>[^\]]+)\](?:\x1b\[[\d;]*m)* ?"
    r"(?P<text>.*)$"
)
_UVICORN = re.compile(
    r"^(?:\([^)]*pid=\d+\) *)?(?P<level>INFO|WARNING|ERROR|CRITICAL): +(?P<text>.*)$"
)
_ANSI = re.compile(r"\x1b\[[\d;]*m")
_PROCESS = re.compile(r"^\([^)]*pid=\d+\) *")
_CAUSE = re.compile(r"^(?:[A-Za-z_][\w.]*\.)?[A-Z]\w*(?:Error|Exception): .+|^.+: error: .+")
# What the outer processes say when the inner one has failed: true, but not the cause.
_CONSEQUENCE = re.compile(r"Engine core initialization failed|See root cause above")


@dataclass(frozen=True, slots=True)
class Line:
    """
    A line of an engine's output: its level in lower case, and its text.

    ``told``: it gave the level itself; any other line counts as info.
    """

    level: str
    text: str
    told: bool = True


def read(line: str) -> Line:
    """What a line says; one without a level (a traceback, a warning of a library) is info."""
    found = _LINE.match(line) or _UVICORN.match(line)
    if found is None:
        return Line("info", _ANSI.sub("", line), told=False)
    return Line(found["level"].lower(), _ANSI.sub("", found["text"]))


def explain(log: Sequence[str]) -> str:
    """Why vLLM ended: the first exception that is a cause; else its last line, but no chatter."""
    said = [read(line) for line in log]
    lines = [_PROCESS.sub("", line.text).strip() for line in said if not _is_chatter(line)]
    for line in lines:
        if _CAUSE.match(line) and not _CONSEQUENCE.search(line):
            return line
    return next((line for line in reversed(lines) if line), "")


def _is_chatter(line: Line) -> bool:
    """What a healthy engine says: never why it ended."""
    return line.level in {"debug", "info"} and line.told


def arguments(engine: LocalEngine) -> tuple[str, ...]:
    """Its argv; ``{port}`` is the supervisor's to fill."""
    settings = engine.vllm
    argv = [*settings.command]
    model = engine.model or ""
    # `vllm serve` takes the model by position; the module's own program takes it as an option.
    argv += [model] if argv[-1] == "serve" else ["--model", model]
    argv += ["--host", "127.0.0.1", "--port", "{port}"]
    argv += ["--served-model-name", *engine.names]
    argv += ["--disable-access-log-for-endpoints", "/health,/metrics"]  # asked every few seconds
    for name in _VALUES:
        value = getattr(settings, name)
        if value is not None:
            argv += [_flag(name), str(value)]
    argv += _switches(settings)
    for name in ("speculative_config", "kv_events_config"):
        value = getattr(settings, name)
        if value:
            argv += [_flag(name), json.dumps(value)]
    if settings.lora_modules:
        argv += ["--enable-lora", "--lora-modules"]
        argv += [f"{name}={path}" for name, path in settings.lora_modules.items()]
    return (*argv, *settings.extra_args)


def _switches(settings: Vllm) -> list[str]:
    argv = []
    for name in ("enable_prefix_caching", "enable_chunked_prefill"):
        value = getattr(settings, name)
        if value is not None:
            argv.append(_flag(name) if value else _flag(f"no_{name}"))
    wanted = ("enforce_eager", "enable_sleep_mode", "enable_auto_tool_choice")
    argv += [_flag(name) for name in wanted if getattr(settings, name)]
    for name in ("tensor_parallel_size", "pipeline_parallel_size"):
        if getattr(settings, name) > 1:
            argv += [_flag(name), str(getattr(settings, name))]
    return argv


def events(engine: LocalEngine) -> tuple[str | None, str | None]:
    """
    Where it publishes its KV events, and where it gives them again; None where it does not, or
    where nobody can know the address (port 0).

    Of several replicas with one address only the first would get it: they have none.
    """
    config = engine.vllm.kv_events_config
    zmq = config.get("publisher", "zmq") == "zmq"
    if engine.type != "vllm" or engine.replicas > 1 or not zmq:
        return None, None
    if not config.get("enable_kv_cache_events"):
        return None, None
    replay = config.get("replay_endpoint")
    try:
        return _here(config.get("endpoint", "tcp://*:5557")), _here(replay) if replay else None
    except ValueError:
        return None, None


def _here(address: str) -> str:
    """As it is reached from this machine."""
    return endpoint(address.replace("*", "127.0.0.1").replace("0.0.0.0", "127.0.0.1"))  # noqa: S104


def environment(engine: LocalEngine, replica: int, visible: int) -> dict[str, str]:
    """
    The variables of one replica: those of the configuration, and which GPUs are its own. The
    development mode, which /sleep is a part of, only where we put it to sleep.

    ``visible`` is how many GPUs there are, 0 where that is unknown. One replica without ``gpus``
    sees all of them, as vLLM would by itself.
    """
    settings = engine.vllm
    each = settings.gpus_each
    gpus = settings.gpus or (tuple(range(visible)) if replica or visible > each else ())
    mine = gpus[replica * each : (replica + 1) * each]
    own = {"CUDA_VISIBLE_DEVICES": ",".join(map(str, mine))} if mine else {}
    if engine.sleep_level:
        own["VLLM_SERVER_DEV_MODE"] = "1"
    return {**own, **{name: value.get_secret_value() for name, value in settings.env.items()}}


_VALUES = (
    "dtype", "quantization", "load_format", "max_model_len", "max_num_seqs",
    "max_num_batched_tokens", "gpu_memory_utilization", "kv_cache_dtype", "max_lora_rank",
    "tool_call_parser", "reasoning_parser",
)  # fmt: skip


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
