"""The report as one HTML file that needs nothing else: figures, charts, and what was asked for."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from html import escape

from headrace.bench.chart import Chart, Series, cumulative, draw
from headrace.bench.drive import Played
from headrace.bench.figures import Figures, Slo, Spread

STYLE = """
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif; }
body { max-width: 84rem; margin: 2rem auto; padding: 0 1.5rem; }
h1 { font-size: 1.6rem; margin-bottom: .2rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
p.lead { opacity: .75; margin-top: 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .8rem; text-align: right; border-bottom: 1px solid #8884; }
th:first-child, td:first-child { text-align: left; }
.charts { display: grid; gap: 1.5rem;
  grid-template-columns: repeat(auto-fit, minmax(30rem, 1fr)); }
figure { margin: 0; } figcaption { font-weight: 600; }
svg { width: 100%; height: auto; } svg text { font-size: 12px; fill: currentColor; opacity: .8; }
svg .grid { stroke: #8884; }
ul { list-style: none; padding: 0; margin: .2rem 0 0 3rem; display: flex; flex-wrap: wrap;
  gap: 0 1.2rem; }
li i { display: inline-block; width: .8rem; height: .8rem; border-radius: 2px;
  margin-right: .4rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem; } dd { margin: 0; }
.bad { color: #c0392b; }
"""


def page(
    asked: dict[str, str], steps: Sequence[tuple[Played, Figures]], slo: Slo, written: str
) -> str:
    """The page: ``asked`` tells what was asked for, ``written`` when, and by which version."""
    found = [figures for _, figures in steps]
    rows = "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in asked.items())
    charts = "".join(draw(chart) for chart in (*_over_levels(found, slo), *_within(steps)))
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Load on {escape(asked.get('url', 'an endpoint'))}</title><style>{STYLE}</style>"
        f"<h1>Load on {escape(asked.get('url', 'an endpoint'))}</h1>"
        f'<p class="lead">{escape(written)}</p>'
        f"<h2>Figures</h2>{_table(found, slo)}{_failures(found)}"
        f'<h2>Charts</h2><div class="charts">{charts}</div>'
        f"<h2>Asked for</h2><dl>{rows}</dl></html>\n"
    )


# --- below -------------------------------------------------------------------------------------


def _table(found: Sequence[Figures], slo: Slo) -> str:
    heads = [
        "load", "sent", "failed", "requests/s", "output tokens/s", "TTFT p50, ms", "TTFT p99, ms",
        "TPOT p50, ms", "TPOT p99, ms", "ITL p99, ms", "E2E p50, s", "E2E p99, s",
    ]  # fmt: skip
    limits = ", ".join(f"{name} ≤ {value * 1e3:g} ms" for name, value in slo.written.items())
    if limits:
        heads.append(f"goodput/s ({limits})")
    lines = []
    for each in found:
        failed = each.sent - each.good
        cells = [
            escape(each.name), f"{each.sent}",
            f'<span class="bad">{failed}</span>' if failed else "0",
            f"{each.request_rate:.2f}", f"{each.output_rate:.0f}",
            _ms(each.ttft, 50), _ms(each.ttft, 99), _ms(each.tpot, 50), _ms(each.tpot, 99),
            _ms(each.itl, 99), _s(each.e2e, 50), _s(each.e2e, 99),
        ]  # fmt: skip
        if limits:
            cells.append(f"{each.goodput:.2f} ({100 * each.kept / max(1, each.sent):.0f} %)")
        lines.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    head = "".join(f"<th>{escape(each)}</th>" for each in heads)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def _failures(found: Sequence[Figures]) -> str:
    counted: Counter[str] = Counter()
    for each in found:
        counted.update(each.failures)
    if not counted:
        return ""
    rows = "".join(
        f"<tr><td>{escape(error)}</td><td>{n}</td></tr>" for error, n in counted.most_common(10)
    )
    return f"<h2>Failures</h2><table>{rows}</table>"


def _over_levels(found: Sequence[Figures], slo: Slo) -> list[Chart]:
    if len(found) < 2:
        return []
    closed = found[0].concurrency is not None
    label = "requests at a time" if closed else "requests per second sent"
    levels = [float((each.concurrency if closed else each.rate) or 0) for each in found]

    def series(name: str, values: Sequence[float]) -> Series:
        return Series(name, sorted(zip(levels, values, strict=True)))

    rates = [series("answered", [each.request_rate for each in found])]
    if slo.written:
        rates.append(series("within limits (goodput)", [each.goodput for each in found]))
    return [
        Chart("Requests per second", label, "requests/s", rates),
        Chart("Output", label, "tokens/s", [series("", [each.output_rate for each in found])]),
        Chart("Time to first token", label, "ms", [
            series(f"p{p}", [each.ttft.percentiles[p] for each in found]) for p in (50, 99)
        ]),
        Chart("Time per output token", label, "ms", [
            series(f"p{p}", [each.tpot.percentiles[p] for each in found]) for p in (50, 99)
        ]),
    ]  # fmt: skip


def _within(steps: Sequence[tuple[Played, Figures]]) -> list[Chart]:
    def each(values: Callable[[Played], list[tuple[float, float]]]) -> list[Series]:
        return [Series(played.step.name, values(played)) for played, _ in steps]

    return [
        Chart("Time to first token, of all requests", "ms", "% of requests", each(
            lambda played: cumulative([r.ttft_s * 1e3 for r in played.records
                                       if r.good and r.ttft_s is not None]))),
        Chart("Gaps between tokens", "ms", "% of gaps", each(
            lambda played: cumulative([gap * 1e3 for r in played.records if r.good
                                       for gap in r.gaps_s]))),
        Chart("Time to first token, over the run", "s since the start", "ms", each(
            lambda played: sorted((r.sent_s, r.ttft_s * 1e3) for r in played.records
                                  if r.good and r.ttft_s is not None)), form="dots"),
        Chart("Output, over the run", "s since the start", "tokens/s", each(_rates)),
    ]  # fmt: skip


def _rates(played: Played) -> list[tuple[float, float]]:
    """Tokens that came in each slice of the run: some fifty of them, none shorter than 0.2 s."""
    width = max(0.2, played.wall_s / 50)
    counts: Counter[int] = Counter()
    for record in played.records:
        if record.ttft_s is None:
            continue
        at = record.sent_s + record.ttft_s
        counts[int(at / width)] += 1
        for gap in record.gaps_s:
            at += gap
            counts[int(at / width)] += 1
    whole = int(played.wall_s / width) or 1  # the last slice is not whole
    return [((place + 0.5) * width, counts[place] / width) for place in range(whole)]


def _ms(spread: Spread, percent: int) -> str:
    value = spread.percentiles[percent]
    return f"{value:.1f}" if math.isfinite(value) else "none"


def _s(spread: Spread, percent: int) -> str:
    value = spread.percentiles[percent]
    return f"{value / 1e3:.2f}" if math.isfinite(value) else "none"
