"""
What `headrace top` shows: looks at a gateway, remembered and sorted, as lines for a terminal.
Which keys there are and when it looks is top.py's.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Group, JustifyMethod, RenderableType
from rich.table import Table
from rich.text import Text

from headrace.cli.fleet import COLOURS, UNPRINTABLE

REMEMBERED = 60  # looks
BARS = "▁▂▃▄▅▆▇█"
WIDE = 110  # columns from which queue and KV have sparklines, too
SPARK = 8  # cells of a sparkline
TENANTS, REQUESTS = 4, 5  # lines at 24 rows; more where there is room
SLOW_MS = 10_000.0  # a request that takes longer is yellow

Row = dict[str, Any]


@dataclass(slots=True)
class Trail:
    """What a replica did at the latest looks; None where it was not known."""

    running: deque[float] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    queue: deque[float] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    kv: deque[float] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    speed: deque[float] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    read_at: float | None = None  # when its engine was last read, in seconds of the looks' clock
    tokens: float | None = None  # that it had generated then
    tokens_per_s: float | None = None


SORTS: dict[str, tuple[str, Callable[[Row, Trail], Any]]] = {
    "name": ("name", lambda row, _: row["name"]),
    "load": ("in flight", lambda row, _: (-row["inflight_requests"], row["name"])),
    "queue": ("queue", lambda row, _: (-(row["waiting"] or 0), row["name"])),
    "kv": ("KV cache", lambda row, _: (-(row["kv_usage"] or 0), row["name"])),
    "tokens": ("tokens/s", lambda row, trail: (-(trail.tokens_per_s or 0), row["name"])),
    "ttft": ("TTFT p99", lambda row, _: (-(row["ttft_p99_ms"] or 0), row["name"])),
}


class Board:
    """The latest look at a gateway, and what its replicas did before."""

    def __init__(self, sort: str = "name", *, reverse: bool = False) -> None:
        self.sort = sort
        self.reverse = reverse
        self.seen: Row | None = None
        self.trails: dict[str, Trail] = {}

    def take(self, seen: Row, at: float) -> None:
        """A look at ``at`` (s, any clock that runs evenly)."""
        self.seen = seen
        known = {row["name"]: self.trails.get(row["name"], Trail()) for row in seen["replicas"]}
        self.trails = known
        for row in seen["replicas"]:
            _follow(known[row["name"]], row, at, seen["window_s"])

    @property
    def paced(self) -> bool:
        """Whether the speed of every replica is known whose engine is read."""
        read = (
            [each for each in self.seen["replicas"] if each["load_age_s"] is not None]
            if (self.seen)
            else []
        )
        return all(self.trails[each["name"]].tokens_per_s is not None for each in read)

    def replicas(self) -> list[Row]:
        """In the chosen order."""
        if self.seen is None:
            return []
        order = SORTS[self.sort][1]
        return sorted(
            self.seen["replicas"],
            key=lambda row: order(row, self.trails[row["name"]]),
            reverse=self.reverse,
        )

    def render(self, width: int, height: int, note: str = "") -> RenderableType:
        """All of it in so many columns; ``height`` says how many tenants and requests fit."""
        if self.seen is None:
            return Text(note or "Looking …", "dim")
        rows = len(self.seen["replicas"])
        spare = max(0, height - rows - 24 + 6)
        parts: list[RenderableType] = [self._head(note), self._fleet(width)]
        tenants = [
            each for each in self.seen["tenants"] if each["name"] or len(self.seen["tenants"]) > 1
        ]
        if tenants:
            parts += [Text(), _tenants(tenants[: TENANTS + spare // 3], self.seen["window_s"])]
        slowest = self.seen["slowest"][: REQUESTS + spare // 2]
        if slowest:
            parts += [Text(), _requests(slowest, width)]
        return Group(*parts)

    def _head(self, note: str) -> Text:
        assert self.seen is not None  # noqa: S101 - only render calls, which has looked
        seen, window_s = self.seen, self.seen["window_s"]
        waiting = sum(each["waiting"] + each["held"] for each in seen["models"])
        ready = sum(each["state"] in {"ready", "degraded"} for each in seen["replicas"])
        speeds = [trail.tokens_per_s for trail in self.trails.values()]
        known = [speed for speed in speeds if speed is not None]
        facts = [
            f"{ready}/{len(seen['replicas'])} ready",
            f"{seen['running']} run",
            f"{waiting} wait",
            f"{seen['requests'] / window_s:.3g} req/s",
            f"{_number(sum(known))} tok/s" if known else "- tok/s",
            f"TTFT {_ms(seen['ttft_p50_ms'])} p99 {_ms(seen['ttft_p99_ms'])}",
        ]
        head = Text(" · ".join(facts), "bold", no_wrap=True, overflow="ellipsis")
        if seen["failed"]:
            head.append(f" · {seen['failed']} failed", "bold red")
        if note:
            head.append(f"\n{note}", "yellow")
        return head

    def _fleet(self, width: int) -> Table:
        wide = width >= WIDE
        shown = _table()
        for name, numeric in (
            ("replica", False), ("state", False), ("in flight", False), ("queue", not wide),
            ("kv", not wide), ("tok/s", False), ("ttft p50", True), ("p99", True),
        ):  # fmt: skip
            place: JustifyMethod = "right" if numeric else "left"
            grows = name == "replica"
            shown.add_column(name, justify=place, no_wrap=True, ratio=1 if grows else None,
                             overflow="ellipsis")  # fmt: skip
        for row in self.replicas():
            trail = self.trails[row["name"]]
            state = row["state"]
            queue = "-" if row["waiting"] is None else f"{row['waiting']:g}"
            kv = "-" if row["kv_usage"] is None else f"{row['kv_usage']:.0%}"
            speed = "-" if trail.tokens_per_s is None else _number(trail.tokens_per_s)
            shown.add_row(
                safe(row["name"]),
                Text(state, COLOURS.get(state, "dim")),
                _beside(f"{row['inflight_requests']}", trail.running, 3, "cyan"),
                _beside(queue, trail.queue, 3, "yellow") if wide else queue,
                _beside(kv, trail.kv, 4, "magenta", 1.0) if wide else _kv(kv, row["kv_usage"]),
                _beside(speed, trail.speed, 5, "green"),
                _ms(row["ttft_p50_ms"]),
                _ms(row["ttft_p99_ms"]),
            )
        return shown


def spark(values: Sequence[float], top: float | None = None) -> str:
    """The latest values as bars; the highest is the full one unless ``top`` is given."""
    latest = [*values][-SPARK:]
    most = top or max(latest, default=0.0)
    if most <= 0:
        return (BARS[0] * len(latest)).rjust(SPARK)
    last = len(BARS) - 1
    return "".join(BARS[min(last, round(value / most * last))] for value in latest).rjust(SPARK)


def safe(text: str) -> Text:
    """A name from outside cannot move the cursor."""
    return Text(str(text).translate(UNPRINTABLE))


def _follow(trail: Trail, row: Row, at: float, window_s: float) -> None:
    trail.running.append(row["inflight_requests"])
    trail.queue.append(row["waiting"] or 0.0)
    trail.kv.append(row["kv_usage"] or 0.0)
    tokens, age_s = row["generation_tokens"], row["load_age_s"]
    if tokens is None or age_s is None:  # an engine that tells nothing: what its answers had
        trail.tokens_per_s = row["tokens_out"] / window_s if row["requests"] else None
    else:
        read_at = at - age_s
        if trail.read_at is None or trail.tokens is None or tokens < trail.tokens:  # a restart
            trail.read_at, trail.tokens, trail.tokens_per_s = read_at, tokens, None
        elif read_at - trail.read_at > 0.1:  # else it is the same reading
            trail.tokens_per_s = (tokens - trail.tokens) / (read_at - trail.read_at)
            trail.read_at, trail.tokens = read_at, tokens
    trail.speed.append(trail.tokens_per_s or 0.0)


def _tenants(tenants: Sequence[Row], window_s: float) -> Table:
    shown = _table()
    for name in ("tenant", "running", "req/s", "tok in/s", "out/s", "ttft p50", "p99", "failed"):
        text = name == "tenant"
        shown.add_column(name, justify="left" if text else "right", no_wrap=True,
                         ratio=1 if text else None, overflow="ellipsis")  # fmt: skip
    for row in tenants:
        shown.add_row(
            safe(row["name"] or "(nobody)"),
            f"{row['running']}",
            f"{row['requests'] / window_s:.3g}",
            _number(row["tokens_in"] / window_s),
            _number(row["tokens_out"] / window_s),
            _ms(row["ttft_p50_ms"]),
            _ms(row["ttft_p99_ms"]),
            Text(f"{row['failed']}", "red" if row["failed"] else ""),
        )
    return shown


def _requests(requests: Sequence[Row], width: int) -> Table:
    shown = _table()
    tenants = width >= WIDE
    columns = ["slowest request", "model", *(["tenant"] if tenants else []), "replica", "tokens",
               "ttft", "total", "outcome"]  # fmt: skip
    for name in columns:
        text = name not in {"tokens", "ttft", "total"}
        shown.add_column(name, justify="left" if text else "right", no_wrap=True,
                         ratio=2 if name == "slowest request" else None,
                         max_width=14 if text and width < WIDE else None,
                         overflow="ellipsis")  # fmt: skip
    for row in requests:
        outcome = row["outcome"]
        colour = {"running": "cyan", "completed": "green"}.get(outcome, "red")
        shown.add_row(
            safe(row["request_id"]),
            safe(row["model"]),
            *([safe(row["tenant"])] if tenants else []),
            safe(row["replica"] or "-"),
            f"{row['tokens_out']}",
            _ms(row["ttft_ms"]),
            Text(_ms(row["total_ms"]), "yellow" if row["total_ms"] > SLOW_MS else ""),
            Text(outcome, colour),
        )
    return shown


def _table() -> Table:
    return Table(
        box=None, pad_edge=False, expand=True, header_style="bold dim", padding=(0, 1, 0, 0)
    )


def _beside(
    text: str, values: Sequence[float], columns: int, colour: str, top: float | None = None
) -> Text:
    return Text.assemble(text.rjust(columns), " ", (spark(values, top), colour))


def _kv(text: str, usage: float | None) -> Text:
    full = 0.9  # from here on preemptions are near
    return Text(text, "red" if usage is not None and usage >= full else "")


def _ms(milliseconds: float | None) -> str:
    """``87ms``, ``1.25s``, ``42s``."""
    if milliseconds is None:
        return "-"
    if milliseconds < 1000:
        return f"{milliseconds:.0f}ms"
    seconds = milliseconds / 1000
    return f"{seconds:.2f}s" if seconds < 10 else f"{seconds:.0f}s"


def _number(value: float) -> str:
    """``0.5``, ``87``, ``1.2k``, ``34k``."""
    if value < 10:
        return f"{value:.1f}".removesuffix(".0")
    if value < 1000:
        return f"{value:.0f}"
    thousands = value / 1000
    return f"{thousands:.1f}k" if thousands < 10 else f"{thousands:.0f}k"
