"""
How a request is shown in the terminal: its time as a waterfall, the decision with its terms, what
was predicted beside what came. It decides nothing.
"""

from collections.abc import Sequence

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from headrace.cli.fleet import UNPRINTABLE
from headrace.telemetry.decisions import Candidate, Expected, Phase, Story, Summary, Tried

BAR, LEAST_BAR = 40, 12  # columns
BETWEEN = 2  # columns of it
COLOURS = {
    "edge": "magenta",
    "receive": "magenta",
    "identify": "cyan",
    "admit": "cyan",
    "hold": "yellow",
    "queue": "yellow",
    "route": "blue",
    "connect": "blue",
    "prefill": "green",
    "decode": "bright_green",
    "answer": "green",
    "failed": "red",
}
WHAT = {
    "edge": "before us: at the edge",
    "receive": "the body came in",
    "identify": "who sends it",
    "admit": "read, matched with the rules, let in",
    "hold": "the model had no replica",
    "queue": "waited for room at a replica",
    "route": "a replica was chosen",
    "connect": "a connection was opened",
    "prefill": "sent, until the first byte came",
    "decode": "the first byte to the last",
    "answer": "sent, until the answer was whole",
    "failed": "this attempt failed",
}
EXPECTED = {
    "queue_ms": ("wait for room", "ms"),
    "first_byte_ms": ("first byte after it was sent", "ms"),
    "ttft_ms": ("time to first token", "ms"),
    "cached_tokens": ("cached tokens", ""),
}
GOOD, BAD = {"completed", "answered"}, {"failed", "refused"}
EMPTY = "No request is known that fits. Send one, or ask for fewer things."


def picture(told: Story) -> RenderableType:
    """All that is known of a request."""
    parts: list[RenderableType] = [_head(told)]
    if told.phases:
        parts += [Text(), _Waterfall(told)]
    for number, each in enumerate(told.attempts, 1):
        parts += [Text(), _attempt(each, number, len(told.attempts))]
        if len(each.candidates) > 1:
            parts.append(_candidates(each))
    if told.told:
        parts += [Text(), _door(told)]
    if any(each.predicted is not None for each in told.expected):
        parts += [Text(), _expected(told.expected)]
    return Group(*parts)


COLUMNS = (
    "request", "ended", "outcome", "model", "replica", "tries", "placed", "first", "total", "in",
    "out",
)  # fmt: skip
# By how much they are missed when there is no room for all.
WANTED = [COLUMNS.index(name) for name in (
    "request", "outcome", "total", "first", "replica", "model", "ended", "tries", "placed", "in",
    "out",
)]  # fmt: skip
GAP = 1  # between two columns


def listing(found: Sequence[Summary], width: int) -> RenderableType:
    """Requests, one line each: the columns that fit ``width`` beside whole names."""
    if not found:
        return Text(EMPTY)
    rows = [_row(each) for each in found]
    spans = [
        max(cell_len(str(cell)) for cell in column) for column in zip(COLUMNS, *rows, strict=True)
    ]
    shown, free = set[int](), width
    for index in sorted(range(len(COLUMNS)), key=WANTED.index):
        if free < spans[index] and shown:
            break
        shown.add(index)
        free -= spans[index] + GAP
    table = Table(box=None, pad_edge=False, header_style="bold")
    for index in sorted(shown):
        right = index >= COLUMNS.index("tries")
        table.add_column(COLUMNS[index], justify="right" if right else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(row[index] for index in sorted(shown)))
    return table


def _row(each: Summary) -> tuple[str | Text, ...]:
    return (
        _safe(each.request_id),
        f"{each.ended.astimezone():%H:%M:%S}",
        Text(each.outcome, _colour(each.outcome)),
        _safe(each.model),
        _safe(each.replica),
        str(each.attempts),
        _span(each.queue_ms),
        _span(each.ttft_ms),
        _span(each.total_ms),
        str(each.tokens_in),
        str(each.tokens_out),
    )


# --- parts ----------------------------------------------------------------------------------


def _head(told: Story) -> Text:
    lines = Text()
    lines.append(_plain(told.request_id), "bold")
    lines.append("  ")
    lines.append(told.outcome, _colour(told.outcome))
    lines.append(f"  {told.status}  {_span(told.total_ms)}")
    if told.ttft_ms is not None:
        lines.append(f", first token after {_span(told.ttft_ms)}")
    lines.append(f"\n{told.began.astimezone():%Y-%m-%d %H:%M:%S.%f %Z}  {told.facts.endpoint}")
    parts = [
        ("model", told.served or told.facts.model),
        ("replica", told.replica),
        ("tenant", told.tenant),
        ("key", told.key),
        ("rule", told.rule),
        ("arm", told.arm),
        ("class", f"{told.judged.name} ({told.judged.why})" if told.judged is not None else ""),
        ("trace", told.trace_id),
    ]
    for name, value in parts:
        if value:
            lines.append(f"\n{name:<8} {_plain(value)}")
    lines.append(f"\ntokens   {_tokens(told)}")
    if told.error:
        lines.append("\nerror    ")
        lines.append(_plain(told.error), "red")
    return lines


def _tokens(told: Story) -> str:
    text = f"{told.tokens_in} in"
    text += f" ({told.tokens_cached} cached)" if told.tokens_cached else ""
    text += f", {told.tokens_out} out"
    if told.facts.max_tokens:
        text += f" of at most {told.facts.max_tokens}"
    return text + (", estimated" if told.estimated else "")


class _Waterfall:
    """The phases of a request; bars are shorter where there is little room beside the words."""

    def __init__(self, told: Story) -> None:
        self._phases = told.phases
        self._several = len(told.attempts) > 1

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        rows = [
            (phase, _span(phase.end_ms - phase.start_ms), self._words(phase))
            for phase in self._phases
        ]
        beside = sum(
            max(map(len, column))
            for column in zip(
                *((phase.what, took, words) for phase, took, words in rows), strict=True
            )
        )
        columns = min(BAR, max(LEAST_BAR, options.max_width - beside - 3 * BETWEEN))
        whole = max(phase.end_ms for phase in self._phases) or 1.0
        table = Table(box=None, pad_edge=False, show_header=False)
        table.add_column(no_wrap=True)
        table.add_column(justify="right", no_wrap=True)
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold", style="dim")
        for phase, took, words in rows:
            table.add_row(phase.what, took, _bar(phase, whole, columns), words)
        yield table

    def _words(self, phase: Phase) -> str:
        numbered = self._several and phase.attempt
        return WHAT[phase.what] + (f" ({phase.attempt})" if numbered else "")


def _bar(phase: Phase, whole: float, columns: int) -> Text:
    """Where in the whole it is; what is too short to be seen is a thin stroke."""
    start = min(columns - 1, int(phase.start_ms / whole * columns))
    long = round(phase.end_ms / whole * columns) - start
    bar = "█" * min(long, columns - start) if long > 0 else "▏"
    text = Text(" " * start)
    text.append(bar, COLOURS[phase.what])
    text.append(" " * (columns - start - len(bar)))
    return text


def _attempt(each: Tried, number: int, of: int) -> Text:
    lines = Text()
    lines.append(f"attempt {number} of {of}: " if of > 1 else "decision: ", "bold")
    lines.append(_plain(each.replica))
    lines.append(f" {each.outcome}", _colour(each.outcome))
    said = {each.reason, each.reason.replace(" ", "_")}  # "lowest cost" is that policy's reason
    by = f", by {each.policy}" if each.policy and each.policy not in said else ""
    lines.append(f" ({each.reason}{by}; connection {each.connection})")
    if each.error:
        lines.append("\n  ")
        lines.append(_plain(each.error), "red")
    if each.why:
        lines.append(f"\n  {_plain(each.why)}")
    return lines


TERMS = ("wait", "kv_wait", "prefill", "externality", "slowdown", "warm_up", "sticky")


def _candidates(each: Tried) -> Table:
    weighed = [one for one in each.candidates if one.cost_ms is not None]
    terms = [name for name in TERMS if any(getattr(one, f"{name}_ms") for one in weighed)]
    table = Table(box=None, pad_edge=True, header_style="bold")
    table.add_column("replica", overflow="fold")
    if weighed:
        for name in ("cost ms", *terms, "cached", "running"):
            table.add_column(name.replace("_", " "), justify="right", no_wrap=True)
    table.add_column("", overflow="fold")
    for one in sorted(each.candidates, key=_cost):
        cells = [f"{getattr(one, f'{name}_ms'):,.1f}" for name in terms]
        numbers = [f"{_cost(one):,.1f}", *cells, str(one.cached_tokens), str(one.inflight)]
        mark = "<- chosen" if one.replica == each.replica else "" if one.open else "no room"
        table.add_row(
            _safe(one.replica),
            *(numbers if weighed else ()),
            mark,
            style="bold" if one.replica == each.replica else "",
        )
    return table


def _cost(one: Candidate) -> float:
    return one.cost_ms if one.cost_ms is not None else 0.0


def _door(told: Story) -> Text:
    lines = Text("at the door:", "bold")
    for each in told.told:
        lines.append(f"\n  {_span(each.at_ms):>8}  {_plain(each.who)}: {_plain(each.outcome)}", "")
        lines.append(f" {_plain(each.detail)}" if each.detail else "", "")
    return lines


def _expected(found: Sequence[Expected]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("expected and came", overflow="fold")
    for name in ("predicted", "actual", "difference"):
        table.add_column(name, justify="right", no_wrap=True)
    for each in found:
        if each.predicted is None:
            continue
        label, unit = EXPECTED.get(each.what, (each.what, ""))
        gap = None if each.actual is None else each.actual - each.predicted
        table.add_row(
            label,
            _value(each.predicted, unit),
            "unknown" if each.actual is None else _value(each.actual, unit),
            "" if gap is None else ("+" if gap > 0 else "") + _value(gap, unit),
        )
    return table


def _value(number: float, unit: str) -> str:
    return f"{number:,.1f} ms" if unit == "ms" else f"{number:,.0f}"


def _span(ms: float | None) -> str:
    """``0.04 ms``, ``12.3 ms``, ``4.56 s``."""
    if ms is None:
        return "-"
    if ms >= 1000:
        return f"{ms / 1000:,.2f} s"
    return f"{ms:.1f} ms" if ms >= 1 else f"{ms:.2f} ms"


def _colour(outcome: str) -> str:
    if outcome in GOOD:
        return "green"
    return "red" if outcome in BAD or outcome.startswith(("upstream", "timed")) else "yellow"


def _plain(text: str) -> str:
    """What a client or an engine wrote must not move the cursor."""
    return str(text).translate(UNPRINTABLE)


def _safe(text: str) -> Text:
    return Text(_plain(text))
