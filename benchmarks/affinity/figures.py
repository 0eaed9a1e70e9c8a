"""From requests to figures, and to the section of the documentation. Pure: no processes, no I/O."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.overhead.summary import median, percentile

BEGIN = "<!-- affinity: written by `make bench-affinity` -->"
END = "<!-- affinity: end -->"
BLOCK = 128  # tokens; vLLM's on CPUs, and so the least by which its cache differs


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """
    One request. Times in ms: ``ttft_ms`` by the client's clock, ``seen_ms`` by the gateway's, to be
    compared with what it predicted, if its policy does. ``sent_s`` is from the start of its pass.
    """

    seed: int
    policy: str
    conversation: int
    turn: int
    sent_s: float
    replica: str
    prompt: int
    cached: int
    answer: int
    ttft_ms: float
    seen_ms: float
    predicted_cached: int | None
    predicted_ms: float | None


def cached_share(rows: Sequence[Row]) -> float:
    """The part of the prompts' tokens that the engines had in their caches."""
    return sum(row.cached for row in rows) / sum(row.prompt for row in rows)


def best_share(rows: Sequence[Row]) -> float:
    """
    The same if all had been answered by one replica: whole blocks of the turn before, and of the
    system prompt for first turns. The last token of an answer is never in a cache.
    """
    system = max((row.cached for row in rows if row.turn == 0), default=0)
    before = {(row.seed, row.policy, row.conversation, row.turn): row for row in rows}
    held = 0
    for row in rows:
        last = before.get((row.seed, row.policy, row.conversation, row.turn - 1))
        held += system if last is None else (last.prompt + last.answer - 1) // BLOCK * BLOCK
    return held / sum(row.prompt for row in rows)


def stayed(rows: Sequence[Row]) -> float:
    """The share of turns after the first that went where the turn before had gone."""
    where = {(row.seed, row.policy, row.conversation, row.turn): row.replica for row in rows}
    later = [row for row in rows if row.turn]
    same = [
        row.replica == where.get((row.seed, row.policy, row.conversation, row.turn - 1))
        for row in later
    ]
    return sum(same) / len(same)


def thirds(rows: Sequence[Row]) -> tuple[list[Row], list[Row], list[Row]]:
    """The first, the middle and the last third of each pass, in the order they were sent in."""
    parts: tuple[list[Row], list[Row], list[Row]] = ([], [], [])
    for key in {(row.seed, row.policy) for row in rows}:
        one = sorted((row for row in rows if (row.seed, row.policy) == key), key=lambda r: r.sent_s)
        third = len(one) // 3
        parts[0].extend(one[:third])
        parts[1].extend(one[third : len(one) - third])
        parts[2].extend(one[len(one) - third :])
    return parts


@dataclass(frozen=True, slots=True)
class Foresight:
    """
    How right predictions were: predicted over actual cached tokens; the share within one block of
    the engine's; predicted over actual time to first token (median); how many times too long or too
    short that time was (median).
    """

    cached: float
    within_block: float
    ttft: float
    off: float


def foresight(rows: Sequence[Row]) -> Foresight | None:
    """Over those of these requests about which something was predicted; None if there are none."""
    known = [
        (row, row.predicted_cached, row.predicted_ms / row.seen_ms)
        for row in rows
        if row.predicted_cached is not None and row.predicted_ms
    ]
    if not known:
        return None
    near = [abs(cached - row.cached) <= BLOCK for row, cached, _ in known]
    return Foresight(
        sum(cached for _, cached, _ in known) / max(1, sum(row.cached for row, _, _ in known)),
        sum(near) / len(near),
        median([ratio for _, _, ratio in known]),
        median([max(ratio, 1 / ratio) for _, _, ratio in known]),
    )


def render(written: Mapping[str, Any]) -> str:
    """The section: four tables, and what they were measured on."""
    rows = [Row(**row) for row in written["rows"]]
    by_policy = {
        policy: [row for row in rows if row.policy == policy] for policy in written["policies"]
    }
    lines: list[str] = []
    for table in (_outcome, _turns, _learned, _predicted):
        lines += [*table(by_policy), ""]
    return "\n".join([*lines, *textwrap.wrap(_measured(written, rows), 120)])


def replaced(page: str, results: str) -> str:
    """The page with new results between its marks. Raises ValueError when it has no marks."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page has no lines {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{results.strip()}\n\n{END}{after}"


def _outcome(by_policy: Mapping[str, Sequence[Row]]) -> list[str]:
    lines = [
        "| policy | cached | at best | stayed | tokens computed | TTFT p50, ms | p90, ms |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for policy, rows in by_policy.items():
        times = [row.ttft_ms for row in rows]
        lines.append(
            f"| `{policy}` | {cached_share(rows):.3f} | {best_share(rows):.3f}"
            f" | {100 * stayed(rows):.0f} % | {sum(row.prompt - row.cached for row in rows)}"
            f" | {percentile(times, 0.5):.0f} | {percentile(times, 0.9):.0f} |"
        )
    return lines


def _turns(by_policy: Mapping[str, Sequence[Row]]) -> list[str]:
    turns = sorted({row.turn for rows in by_policy.values() for row in rows})
    lines = [
        "| by turn: cached; TTFT p50 / p90, ms |" + "".join(f" {turn + 1} |" for turn in turns),
        "|---|" + "--:|" * len(turns),
    ]
    for policy, rows in by_policy.items():
        cells = [_cell([row for row in rows if row.turn == turn]) for turn in turns]
        lines.append(f"| `{policy}` | " + " | ".join(cells) + " |")
    return lines


def _learned(by_policy: Mapping[str, Sequence[Row]]) -> list[str]:
    lines = [
        "| as it goes on: cached; TTFT p50 / p90, ms | first third | middle third | last third |",
        "|---|--:|--:|--:|",
    ]
    for policy, rows in by_policy.items():
        cells = [_cell(part) for part in thirds(rows)]
        lines.append(f"| `{policy}` | " + " | ".join(cells) + " |")
    return lines


def _cell(rows: Sequence[Row]) -> str:
    times = [row.ttft_ms for row in rows]
    share, p50, p90 = cached_share(rows), percentile(times, 0.5), percentile(times, 0.9)
    return f"{share:.2f}; {p50:.0f} / {p90:.0f}"


def _predicted(by_policy: Mapping[str, Sequence[Row]]) -> list[str]:
    lines = [
        "| predicted / actual | | cached tokens | within a block | TTFT, median | times off |",
        "|---|---|--:|--:|--:|--:|",
    ]
    for policy, rows in by_policy.items():
        first, _, last = thirds(rows)
        for name, part in (("all", rows), ("first third", first), ("last third", last)):
            found = foresight(part)
            if found is not None:
                lines.append(
                    f"| `{policy}` | {name} | {found.cached:.2f} | {100 * found.within_block:.0f} %"
                    f" | {found.ttft:.2f} | {found.off:.2f} |"
                )
    return lines


def _measured(written: Mapping[str, Any], rows: Sequence[Row]) -> str:
    foreign = [one["foreign_cores"] for one in written["passes"]]
    sizes = [row.prompt for row in rows]
    return (
        f"{len(rows)} requests in {len(written['passes'])} passes of {written['turns']} turns in"
        f" {written['conversations']} conversations, seeds"
        f" {', '.join(map(str, written['seeds']))}, two at a time;"
        f" prompts of {min(sizes)} to {max(sizes)} tokens."
        f" The engines' own counters say {sum(one['engine_hits'] for one in written['passes'])}"
        f" tokens cached, the answers {sum(row.cached for row in rows)}. {written['date']};"
        f" 2 cores, no GPU; other processes took {min(foreign):.2f} to {max(foreign):.2f} cores"
        " meanwhile, so that times count as ratios only."
    )
