"""The results as Markdown, and their place in docs/tiers.md. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from .sources import ABSENT, SOURCES

BEGIN = "<!-- Written by `make bench-classify`; below this line edit benchmarks/tiers. -->"
END = "<!-- End of what `make bench-classify` writes. -->"


def replaced(page: str, text: str) -> str:
    """
    The page with this text between its two lines.

    Raises:
        ValueError: it has no such lines.

    """
    head, begin, rest = page.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page has no lines {BEGIN!r} and {END!r}")
    return f"{head}{BEGIN}\n\n{text.strip()}\n\n{END}{tail}"


def render(results: Mapping[str, Any]) -> str:
    parts = (
        _accuracy(results["accuracy"]),
        _doubt(results),
        _looks(results["ablations"]),
        _money(results["money"]),
        _speed(results["speed"]),
        _sources(),
    )
    return "\n\n".join(parts)


def _accuracy(found: Mapping[str, Any]) -> str:
    rows = [
        [
            name,
            each["class"],
            each["rows"],
            _percent(each["right"]),
            _percent(each["unsure"]),
            _percent(each["as_routed"]),
        ]
        for name, each in found["by_source"].items()
    ]
    return (
        "### Accuracy on sources that were never learned from\n\n"
        f"{found['rows']} rows: **{_percent(found['right'])} right**"
        f" (mean of the sources {_percent(found['mean_of_sources'])}).\n\n"
        + _table(["source", "class", "rows", "right", "unsure (< 0.6)", "right as routed"], rows)
        + "\n\nAs routed, what is unsure goes to `reasoning`, the default:"
        " for `fast` sources that costs money, for `reasoning` sources it saves quality."
    )


def _doubt(results: Mapping[str, Any]) -> str:
    found = results["accuracy"]
    by_threshold = [
        [f"{each['threshold']:.1f}", _percent(each["unsure"]), _percent(each["right_if_sure"]),
         _percent(each["as_routed"])]
        for each in found["by_threshold"]
    ]  # fmt: skip
    ways = [
        [name, f"{each['temperature']:.2f}", f"{each['calibration_error']:.3f}"]
        for name, each in results["calibrated"].items()
    ]
    return (
        "### Confidence\n\n"
        "Expected calibration error on the held-out sources:"
        f" **{found['calibration_error']:.3f}**.\n\n"
        + _table(["temperature from", "temperature", "calibration error"], ways)
        + "\n\n"
        + _table(["threshold", "unsure", "right if sure", "right as routed"], by_threshold)
    )


def _looks(found: Mapping[str, Any]) -> str:
    rows = [
        [name, _percent(each["right"]), _percent(each["mean_of_sources"])]
        for name, each in found.items()
    ]
    return "### What the judgement looks at\n\n" + _table(
        ["judged by", "right", "mean of the sources"], rows
    )


def _money(found: Mapping[str, Any]) -> str:
    rows = [
        [
            name,
            each["rows"],
            f"{each['always_small']:.3f}",
            f"{each['always_large']:.3f}",
            _percent(each["calls_to_large"]),
            f"**{each['ours']:.3f}**",
            f"{each['chance_at_equal_cost']:.3f}",
            _gain(each),
            f"{each['best_at_equal_cost']:.3f}",
            _percent(each["gap_recovered"]),
            _percent(each["money_saved"]),
            f"{each['quality_lost']:.3f}",
        ]
        for name, each in found.items()
    ]
    return "### Cost and quality\n\n" + _table(
        [
            "benchmark", "rows", "always small", "always large", "calls to large", "classes",
            "chance, same cost", "gain over chance (95 %)", "best possible, same cost",
            "gap recovered", "money saved", "quality lost",
        ],
        rows,
    )  # fmt: skip


def _speed(found: Mapping[str, Any]) -> str:
    rows = [
        ["CPU of a new text, in the thread", *_pair(found["in_thread_cpu_ms"])],
        ["wait of a request with a new text", *_pair(found["fresh_ms"])],
        ["wait of a request with a remembered text", *_pair(found["remembered_ms"])],
    ]
    loop = found["loop_cpu_ms"]
    return (
        "### Time and memory\n\n"
        + _table(["what", "p50 ms", "p99 ms"], rows)
        + f"\n\nLate at 15 ms: {_percent(found['late_at_15_ms'])}."
        f" The event loop itself pays {loop['short']:.2f} ms of CPU for a new text, and"
        f" {loop['400_kb']:.2f} ms for one in a prompt of 400 kB: the rest is the thread's."
        f" Cold start: {found['cold_start_s']:.1f} s ({found['cold_start_cpu_s']:.1f} s of CPU,"
        f" imports included), {found['memory_mib']:.0f} MiB. Waits are wall time on two"
        f" cores with a load average of {found['load_average']:.1f}."
    )


def _sources() -> str:
    rows = [
        [
            f"`{source.name}`",
            f"[{source.url.split('/')[-1].split(' ')[0]}]({source.url.split(' ')[0]})",
            source.licence,
            "learned" if source.split == "train" else "held out",
            source.tier,
            f"{source.evidence} ({source.argued})",
        ]
        for source in SOURCES
    ]
    absent = "\n".join(f"- {name}: {why}." for name, why in ABSENT.items())
    return (
        "### Sources\n\n"
        + _table(["source", "from", "licence", "split", "class", "why this class"], rows)
        + f"\n\nNot used:\n\n{absent}"
    )


def _gain(each: Mapping[str, Any]) -> str:
    low, high = each["gain_95"]
    return f"{each['gain_over_chance']:+.3f} ({low:+.3f} to {high:+.3f})"


def _pair(spread: Mapping[str, float]) -> list[str]:
    return [f"{spread['p50']:.3f}", f"{spread['p99']:.3f}"]


def _percent(part: float) -> str:
    return f"{part * 100:.1f} %"


def _table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    lines += [f"| {' | '.join(str(cell) for cell in row)} |" for row in rows]
    return "\n".join(lines)
