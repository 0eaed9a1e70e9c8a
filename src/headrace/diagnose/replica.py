"""
One replica's numbers, each in the focus and as usual. Pure; those of a whole model are facts.py's.
"""

from dataclasses import dataclass

from headrace.diagnose.lens import NAN, Lens, Seen, Span
from headrace.diagnose.snapshot import known


@dataclass(frozen=True, slots=True)
class Machine:
    """One replica. Times are seconds; ``pace`` is what a token of a running request takes."""

    name: str
    sent: Seen
    failed: Seen  # share of what was sent
    pace: Seen
    itl: Seen  # the same as clients saw it, of streams that have ended
    paced: float  # such streams in the focus
    first: Seen  # to the first byte, from its place
    engine: Seen  # the same as the engine sees it
    prefill: Seen  # to compute a token of a prompt
    network: Seen  # the difference of the two
    check: Seen
    inflight: Seen
    running: Seen
    queued: Seen
    kv: Seen
    preempted: Seen
    hits: Seen  # share of prompt tokens that were found in its cache
    silent_s: float
    ready: float  # at the end: 1, 0, or NaN for unknown
    new: bool  # not there when the usual began


def machine(lens: Lens, name: str) -> Machine:
    """The replica of that name."""
    oldest = lens.bases[-1] if lens.bases else lens.focus
    there = lens.total(oldest, "r_inflight", name)
    ready = lens.total(oldest, "r_ready", name)
    return Machine(
        name=name,
        sent=lens.level("r_sent", name),
        failed=lens.quotient("r_failed", "r_sent", name),
        pace=_pace(lens, name),
        itl=lens.mean("r_itl", name),
        paced=lens.total(lens.focus, "r_itl_n", name) * lens.focus.seconds,
        first=lens.mean("r_ttft", name),
        engine=lens.mean("e_first", name),
        prefill=lens.seen(lambda span: _prefill(lens, span, name)),
        network=lens.seen(
            lambda span: (
                lens.ratio(span, "r_ttft_sum", "r_ttft_n", name)
                - lens.ratio(span, "e_first_sum", "e_first_n", name)
            )
        ),
        check=lens.level("r_check", name),
        inflight=lens.level("r_inflight", name),
        running=lens.level("e_running", name),
        queued=lens.level("e_waiting", name),
        kv=lens.level("e_kv", name),
        preempted=lens.level("e_preempted", name),
        hits=lens.quotient("e_hits", "e_queries", name),
        silent_s=lens.last("r_silent", name),
        ready=lens.last("r_ready", name),
        new=not known(there) or ready == 0,
    )


# --- below -------------------------------------------------------------------------------------


def _pace(lens: Lens, name: str) -> Seen:
    """From the engine's own counters, which need no request to end; else as clients saw it."""
    told = lens.quotient("e_running", "e_made", name)
    return told if known(told.now) else lens.mean("r_itl", name)


def _prefill(lens: Lens, span: Span, name: str) -> float:
    """Seconds for a token of a prompt that was in no cache; both are means of a request."""
    took = lens.ratio(span, "e_prefill_sum", "e_ended", name)
    prompt = lens.ratio(span, "e_prompt", "e_first_n", name)
    computed = prompt - lens.ratio(span, "e_hits", "e_first_n", name)
    return took / computed if computed > 0 else NAN
