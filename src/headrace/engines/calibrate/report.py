"""What a calibration tells people: the fit, how far it is off, and what it does not know."""

from collections.abc import Iterator

from headrace.engines.calibrate.findings import Findings
from headrace.engines.calibrate.fit import TERMS, Observation, median

MEANING = {
    "weights": "ms, least time of an iteration (with `host`)",
    "base": "ms, of an iteration that computes (with `host`)",
    "per_token": "ms per token in the batch",
    "per_pair": "ms per token and token before it",
    "per_sequence": "ms per sequence that decodes",
    "per_kv_token": "ms per token of context that decoding reads",
    "request_ms": "ms per request, beside iterations",
}


def lines(found: Findings) -> Iterator[str]:
    """The report, line by line."""
    fit, preset = found.fit, found.preset
    yield f"{preset.name}: {preset.source}"
    yield ""
    yield f"{'term':<14}{'value':>12}{'error':>11}"
    unknown = fit.unknown()
    for name, value, error in zip(TERMS, fit.values, fit.errors, strict=True):
        sure = "not told" if name in unknown else f"± {100 * error / value:.0f} %"
        yield f"{name:<14}{value:>12.4g}{sure:>11}  {MEANING[name]}"
    yield f"{'host':<14}{fit.cost.host:>12.4g}{'set':>11}  ms, taken off the first two"
    yield ""
    yield f"{'probe':<36}{'measured':>12}{'noise':>8}{'fitted':>12}{'off':>8}"
    for one in fit.observations:
        yield _row(found, one)
    for one in found.checks:
        yield f"{_row(found, one)}  (not fitted to)"
    off = [abs(fit.residual(one)) for one in fit.observations]
    yield ""
    yield (
        f"R² {fit.r_squared:.4f}; off by {100 * median(off):.1f} % in the middle,"
        f" {100 * max(off):.1f} % at worst"
    )
    yield from (f"Not told by these probes: {name}." for name in unknown)
    yield from (f"Assumed: {text}." for text in found.assumed)
    yield from (f"Doubt: {text}." for text in found.doubts)


def _row(found: Findings, one: Observation) -> str:
    noise = f"{100 * one.noise_ms / one.ms:.1f} %" if one.repetitions > 1 else "-"
    fitted = found.fit.predicted_ms(one)
    off = 100 * found.fit.residual(one)
    return f"{one.name:<36}{one.ms:>9.2f} ms{noise:>8}{fitted:>9.2f} ms{off:>+6.1f} %"
