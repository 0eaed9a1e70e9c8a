"""The results as Markdown, for the page about the simulator. No processes."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

BEGIN = "<!-- results: written by `make bench-sim` -->"
END = "<!-- end of results -->"
AIMS = {"ttft_p50": 0.15, "ttft_p95": 0.3, "gap_p50": 0.15, "gap_p95": 0.3}
NAMES = {
    "ttft_p50": "time to first token, p50",
    "ttft_p95": "time to first token, p95",
    "gap_p50": "between two tokens, p50",
    "gap_p95": "between two tokens, p95",
}


def render(written: Mapping[str, Any]) -> str:
    """The section: a table, and what it was measured on."""
    real, sim = written["vllm"], written["sim"]
    lines = [
        "| ms | vLLM | from replay to replay | simulator | error | aim |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for key, aim in AIMS.items():
        a, b = real["summary"][key], sim["summary"][key]
        single = [one[key] for one in real["each"]]
        spread = f"{min(single):.1f} to {max(single):.1f}"
        error = b / a - 1
        sign = "" if abs(error) <= aim else " (missed)"
        lines.append(
            f"| {NAMES[key]} | {a:.1f} | {spread} | {b:.1f} | {100 * error:+.1f} %{sign}"
            f" | ± {100 * aim:.0f} % |"
        )
    machine = f"{written['machine']['processor']}, {written['machine']['cores']} cores"
    told = (
        f"{written['requests']} requests, up to {real['most_at_once']} at once, in"
        f" {len(real['each'])} replays with vLLM and {len(sim['each'])} with the simulator; the"
        f" median over replays. {real['disturbed']} more replays do not count: a prompt of 128"
        " tokens alone, sent before and after each, took vLLM more than 10 % longer or shorter than"
        f" the fit says ({written['pace_ms']:.0f} ms). Prompt tokens: {_tokens(real)} each with"
        f" vLLM, {_tokens(sim)} with the simulator, of them cached {_cached(real)} and"
        f" {_cached(sim)}. {written['date']}; {machine}; other processes took"
        f" {written['foreign_cores']:.2f} cores meanwhile."
    )
    lines += ["", *textwrap.wrap(told, 120)]
    return "\n".join(lines)


def replaced(page: str, results: str) -> str:
    """The page with new results between its marks. Raises ValueError when it has no marks."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page has no lines {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{results.strip()}\n\n{END}{after}"


def errors(written: Mapping[str, Any]) -> dict[str, float]:
    """How far the simulator is off, as shares, by percentile."""
    real, sim = written["vllm"]["summary"], written["sim"]["summary"]
    return {key: sim[key] / real[key] - 1 for key in AIMS}


def missed(written: Mapping[str, Any]) -> Sequence[str]:
    """The percentiles whose aim is missed."""
    return [key for key, error in errors(written).items() if abs(error) > AIMS[key]]


def _tokens(side: Mapping[str, Any]) -> str:
    return str(sum(one["prompt_tokens"] for one in side["replays"][0]))


def _cached(side: Mapping[str, Any]) -> str:
    return str(sum(one["cached_tokens"] for one in side["replays"][0]))
