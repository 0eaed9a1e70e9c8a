"""
What is played: cells, each a fleet, a load at a rate, and the routers that are worth its time. How
long it takes is decided here.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from headrace.errors import ConfigError

from . import workload
from .fleet import Group, Scale
from .rig import Scene
from .routers import ROUTERS
from .workload import Load

_SAMPLES = Path(__file__).resolve().parent / "traces"
_H100, _A100 = "h100-8b", "a100-8b"
CONVERSATION = "mooncake/conversation_trace.jsonl"
AZURE_CHAT = "azure/AzureLLMInferenceTrace_conv.csv"
AZURE_CODE = "azure/AzureLLMInferenceTrace_code.csv"

_ALL = tuple(router.name for router in ROUTERS)
_SHARING = ("headrace", "vllm-cache_aware", "vllm-kv_aware", "sglang-cache_aware")
_APART = ("headrace", "vllm-power_of_two", "vllm-cache_aware", "vllm-kv_aware")
_MIXED = ("headrace", "vllm-round_robin", "vllm-cache_aware", "vllm-kv_aware")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One row of the plan. ``kind`` says which bars are for it."""

    name: str
    title: str
    kind: str
    groups: tuple[Group, ...]
    scale: Scale
    trace: str = ""
    rate: float = 1.0
    requests: int = 1000
    routers: tuple[str, ...] = _SHARING
    event: str = ""
    at_s: float = 0.0
    full: bool = True  # part of the full run; others are played by name
    load: Callable[["Cell", int], Load] | None = None

    def scene(self, traces: Path, seed: int) -> Scene:
        """
        What a seed plays.

        Raises:
            ConfigError: the trace is not there.

        """
        if self.load is not None:
            found = self.load(self, seed)
        else:
            path = locate(traces, self.trace)
            found = workload.recorded(path, self.rate, self.requests, seed, self.scale)
        return Scene(
            name=self.name, groups=self.groups, scale=self.scale, load=found, event=self.event,
            at_s=self.at_s, max_s=120.0,
        )  # fmt: skip


def locate(traces: Path, name: str) -> Path:
    """
    A trace in the folder that was given, or the sample of it that is in the repository.

    Raises:
        ConfigError: there is neither.

    """
    sample = _SAMPLES / f"{Path(name).name}.gz"
    for path in (traces / name, sample):
        if path.is_file():
            return path
    raise ConfigError(
        f"The trace {name} is not in {traces}; give the folder that has it with --traces."
    )


def _chat(cell: Cell, seed: int) -> Load:
    return workload.chat(cell.requests // 4, 45.0, seed, cell.scale)


def _b2b(cell: Cell, seed: int) -> Load:
    return workload.shared(cell.rate, cell.requests, seed, cell.scale)


_EIGHT = (Group(_H100, 8),)
_FAST = Scale(speed=8.0)
# vllm-router asks every replica to render every prompt: at eight times the speed that is more than
# the core of the fleet can answer.
_SLOW = Scale(speed=2.0)

CELLS: tuple[Cell, ...] = (
    Cell(
        name="conversation-3.4",
        title="Mooncake conversation at 3.4 times its rate, 8 H100 (below the knee)",
        kind="sharing", groups=_EIGHT, scale=_FAST, trace=CONVERSATION, rate=3.4, requests=1000,
        routers=_ALL,
    ),
    Cell(
        name="conversation-4.0",
        title="Mooncake conversation at 4.0 times its rate, 8 H100 (at the knee)",
        kind="knee", groups=_EIGHT, scale=_FAST, trace=CONVERSATION, rate=4.0, requests=1200,
        routers=("headrace", "vllm-round_robin", *_SHARING[1:]),
    ),
    Cell(
        name="chat", title="Multi-turn chat with hot system prompts, closed loop, 4 A100",
        kind="sharing", groups=(Group(_A100, 4),), scale=_FAST, requests=1600, load=_chat,
    ),
    Cell(
        name="azure-conv", title="Azure conversation at 28 times its rate, no sharing, 8 H100",
        kind="apart", groups=_EIGHT, scale=Scale(speed=1.0), trace=AZURE_CHAT, rate=28.0,
        requests=1800, routers=_APART,
    ),
    Cell(
        name="azure-code", title="Azure code at 12 times its rate, no sharing, 8 H100",
        kind="apart", groups=_EIGHT, scale=Scale(speed=5.0), trace=AZURE_CODE, rate=12.0,
        requests=1600, routers=_APART,
    ),
    Cell(
        name="mixed", title="Mooncake conversation at 2.0 times its rate, 4 H100 and 4 A100",
        kind="mixed", groups=(Group(_H100, 4), Group(_A100, 4)), scale=_FAST, trace=CONVERSATION,
        rate=2.0, requests=700, routers=_MIXED,
    ),
    Cell(
        name="join",
        title="Mooncake conversation at 3.2 times its rate, 7 H100, an eighth joins at 40 s",
        kind="join", groups=(Group(_H100, 7), Group(_H100, 1)), scale=_FAST, trace=CONVERSATION,
        rate=3.2, requests=800, event="join", at_s=40.0, routers=_SHARING[:3],
    ),
    Cell(
        name="die", title="Mooncake conversation at 3.0 times its rate, 8 H100, one dies at 40 s",
        kind="die", groups=(Group(_H100, 7), Group(_H100, 1)), scale=_FAST, trace=CONVERSATION,
        rate=3.0, requests=800, event="die", at_s=40.0, routers=_SHARING[:3],
    ),
    Cell(
        name="conversation-3.7", title="Mooncake conversation at 3.7 times its rate, 8 H100",
        kind="sharing", groups=_EIGHT, scale=_FAST, trace=CONVERSATION, rate=3.7, requests=1300,
        routers=_ALL, full=False,
    ),
    Cell(
        name="conversation-16", title="Mooncake conversation at 7.0 times its rate, 16 H100",
        kind="sharing", groups=(Group(_H100, 16),), scale=Scale(speed=3.0), trace=CONVERSATION,
        rate=7.0, requests=1500, full=False,
    ),
    Cell(
        name="conversation-a100", title="Mooncake conversation at 1.25 times its rate, 8 A100",
        kind="sharing", groups=(Group(_A100, 8),), scale=_FAST, trace=CONVERSATION, rate=1.25,
        requests=600, full=False,
    ),
    Cell(
        name="conversation-3.4-slow",
        title="The same below the knee, at a speed at which vllm-router's renders keep up",
        kind="sharing", groups=_EIGHT, scale=_SLOW, trace=CONVERSATION, rate=3.4, requests=800,
        full=False,
    ),
    Cell(
        name="conversation-4.0-slow",
        title="The same at the knee, at a speed at which vllm-router's renders keep up",
        kind="knee", groups=_EIGHT, scale=_SLOW, trace=CONVERSATION, rate=4.0, requests=1000,
        full=False,
    ),
    Cell(
        name="azure-code-slow",
        title="Azure code at 12 times its rate, at a speed at which vllm-router's renders keep up",
        kind="apart", groups=_EIGHT, scale=_SLOW, trace=AZURE_CODE, rate=12.0, requests=1000,
        routers=_APART, full=False,
    ),
    Cell(
        name="b2b", title="Long system prompts shared by five users each, 18 per second, 8 H100",
        kind="sharing", groups=_EIGHT, scale=Scale(speed=3.0), rate=18.0, requests=1200, load=_b2b,
        full=False,
    ),
)  # fmt: skip

QUICK = Cell(
    name="quick", title="A minute for the harness itself: 4 H100", kind="quick",
    groups=(Group(_H100, 3), Group(_H100, 1)), scale=Scale(speed=10.0), rate=8.0, requests=160,
    routers=("headrace", "vllm-round_robin"), load=_b2b, full=False,
)  # fmt: skip

# The slice and the rate at which the reference's simulation was compared with a real router.
VALIDATION = Cell(
    name="validation",
    title="Mooncake conversation at 3.7 times its rate, its first 2,500 requests, 8 H100",
    kind="validation", groups=_EIGHT, scale=Scale(speed=4.0), trace=CONVERSATION, rate=3.7,
    requests=2500,
    routers=("vllm-round_robin",), full=False,
)  # fmt: skip


def choose(names: str) -> list[Cell]:
    """
    Cells by name, or ``full`` for all of the full run.

    Raises:
        ConfigError: one is unknown.

    """
    known = {cell.name: cell for cell in (*CELLS, QUICK, VALIDATION)}
    found: list[Cell] = []
    for name in names.split(","):
        if name == "full":
            found += [cell for cell in CELLS if cell.full]
        elif name in known:
            found.append(known[name])
        else:
            raise ConfigError(f"There is no cell {name!r}; there are full, {', '.join(known)}.")
    return found


def at(cell: Cell, speed: float) -> Cell:
    """The same cell at another speed."""
    return replace(cell, scale=replace(cell.scale, speed=speed))
