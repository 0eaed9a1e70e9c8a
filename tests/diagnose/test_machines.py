"""machines.py: replicas that are slow or stand still for moments, that fail, hot spots."""

from collections.abc import Mapping

from headrace.diagnose.finding import Diagnosis
from headrace.diagnose.history import History
from headrace.diagnose.table import diagnose

STEPS, CHANGE = 72, 60  # of five seconds; the last minute is another one
REPLICAS = ("a", "b", "c")


WORK = {"sent": 1.0, "running": 6.0, "pace_s": 0.02, "pause_s": 0.02, "first_s": 0.1}


def worked(now: Mapping[str, Mapping[str, float]], first_s: float = 0.1) -> Diagnosis:
    """The same replicas at their work; ``now`` is what is other at which of them in the end."""
    history = History()
    counts: dict[tuple[str, tuple[str, ...]], float] = {}
    for step in range(STEPS):
        gauges: dict[tuple[str, tuple[str, ...]], float] = {
            ("waiting", ("m",)): 0.0, ("replicas", ("m",)): 3.0, ("active", ("m", "whole")): 18.0,
        }  # fmt: skip
        for name in REPLICAS:
            state = {**WORK, **(now.get(name, {}) if step >= CHANGE else {})}
            sent = state["sent"]
            grown = {
                ("r_sent", (name,)): sent, ("e_made", (name,)): state["running"] / state["pace_s"],
                ("e_first_n", (name,)): sent, ("e_first_sum", (name,)): sent * state["first_s"],
                ("r_itl_n", (name,)): sent, ("r_itl_sum", (name,)): sent * state["pause_s"],
                ("e_prompt", (name,)): 1000.0 * sent, ("e_hits", (name,)): 0.0,
                ("e_ended", (name,)): sent,
                ("e_prefill_sum", (name,)): 0.02 * sent, ("ended", ("m", "completed")): sent,
                ("ttft_n", ("m",)): sent,
                ("ttft_sum", ("m",)): sent * (first_s if step >= CHANGE else 0.1),
            }  # fmt: skip
            for key, value in grown.items():
                counts[key] = counts.get(key, 0.0) + 5.0 * value
            gauges |= {
                ("r_inflight", (name,)): state["running"], ("r_ready", (name,)): 1.0,
                ("e_running", (name,)): state["running"],
            }  # fmt: skip
        history.add(1000.0 + 5.0 * step, {**gauges, **counts})
    return diagnose(history.snapshot(), 900.0, "m")


def test_a_replica_that_stands_still_for_moments() -> None:
    """The median pause of streams shows nothing of it; tokens made and first tokens do."""
    found = worked({"b": {"pace_s": 0.04, "running": 12.0, "first_s": 0.4}}).finding

    assert ("slow-replica", ("b",)) == (found.name, found.replicas)


def test_one_witness_is_not_enough() -> None:
    """Tokens that the engine counts slower, while clients and first tokens show nothing of it."""
    assert "nothing" == worked({"b": {"pace_s": 0.04, "running": 12.0}}).finding.name


def test_a_hot_spot_takes_from_all_others() -> None:
    """One replica is sent what the others were; while another one is sent less, it stands in."""
    spot = {"sent": 2.6, "running": 24.0, "first_s": 1.0}
    idle = {"sent": 0.2, "running": 1.0}
    found = worked({"a": spot, "b": idle, "c": idle}, first_s=1.0).finding
    stands_in = worked({"a": spot, "b": {**idle, "sent": 0.02}, "c": {"sent": 1.6}}, first_s=1.0)

    assert ("hot-spot", ("a",)) == (found.name, found.replicas)
    assert "hot-spot" != stands_in.finding.name


def test_decoding_alone_that_is_slow() -> None:
    """Prompts are computed as fast as ever; the engine and its clients agree about tokens."""
    found = worked({"b": {"pace_s": 0.04, "pause_s": 0.036, "running": 12.0}}).finding

    assert ("slow-replica", ("b",)) == (found.name, found.replicas)


def failed(count: int, usual: float) -> Diagnosis:
    """A replica that is sent two requests a second fails so many in the last 45 seconds."""
    history = History()
    bad = 0.0
    for step in range(STEPS):
        late = step - (STEPS - 9)
        bad += 10.0 * usual if late < 0 else float(late < count) * max(1, count // 9)
        sent = 10.0 * (step + 1)
        history.add(
            1000.0 + 5.0 * step,
            {
                ("r_inflight", ("a",)): 3.0, ("r_ready", ("a",)): 1.0, ("r_sent", ("a",)): sent,
                ("r_failed", ("a",)): bad, ("ended", ("m", "completed")): sent,
                ("ttft_n", ("m",)): sent, ("ttft_sum", ("m",)): 0.1 * sent,
                ("active", ("m", "whole")): 3.0, ("waiting", ("m",)): 0.0,
                ("replicas", ("m",)): 1.0,
            },
        )  # fmt: skip
    return diagnose(history.snapshot(), 900.0, "m")


def test_failures_that_chance_explains() -> None:
    """Four of ninety are nothing where one in a hundred always fails; where none does, they are."""
    assert "nothing" == failed(4, 0.01).finding.name
    assert "upstream-errors" == failed(4, 0.0).finding.name
    assert "upstream-errors" == failed(27, 0.01).finding.name
