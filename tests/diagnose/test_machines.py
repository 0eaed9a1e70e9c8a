"""machines.py: a slow way or a late probe, replicas that stand still for moments, hot spots."""

from collections.abc import Callable, Mapping

from headrace.diagnose.finding import Diagnosis
from headrace.diagnose.history import History
from headrace.diagnose.table import diagnose

STEPS, CHANGE = 72, 60  # of five seconds; the last minute is another one
REPLICAS = ("a", "b", "c")


def asked(probe: Callable[[int], float], *, wait_s: float = 0.0, late_s: float = 0.0) -> Diagnosis:
    """
    Three replicas that answer a request a second each. In the last minute a probe of ``a`` takes
    as long as its number says, and first bytes from there so much longer; the event loop is late.
    """
    history = History()
    late = 0.0
    for step in range(STEPS):
        since = max(0, step - CHANGE)
        late += 50 * (0.0005 + late_s * (since > 0))
        total = 5.0 * (step + 1)
        found: dict[tuple[str, tuple[str, ...]], float] = {
            ("ended", ("m", "completed")): 3 * total, ("active", ("m", "streaming")): 9.0,
            ("late_sum", ()): late, ("late_n", ()): 50.0 * (step + 1),
            ("waiting", ("m",)): 0.0, ("replicas", ("m",)): 3.0,
        }  # fmt: skip
        for name in REPLICAS:
            beyond = 5 * since * wait_s if name == "a" else 0.0
            found |= {
                ("r_inflight", (name,)): 3.0, ("r_ready", (name,)): 1.0, ("r_sent", (name,)): total,
                ("r_check", (name,)): probe(since) if since and name == "a" else 0.002,
                ("r_ttft_n", (name,)): total, ("r_ttft_sum", (name,)): 0.15 * total + beyond,
                ("e_first_n", (name,)): total, ("e_first_sum", (name,)): 0.1 * total,
            }  # fmt: skip
        history.add(1000.0 + 5.0 * step, found)
    return diagnose(history.snapshot(), 900.0, "m")


def test_a_slow_way_is_told() -> None:
    """Probes and first bytes take longer, the engine does not."""
    found = asked(lambda _: 0.1, wait_s=0.1).finding

    assert ("network-latency", ("a",)) == (found.name, found.replicas)


def test_packets_that_are_lost_now_and_then_are_told() -> None:
    """A third of the probes is enough."""
    assert "network-latency" == asked(lambda n: 0.3 if n % 3 else 0.002, wait_s=0.1).finding.name


def test_one_late_probe_is_nobodys_fault() -> None:
    """However late it was, and although first bytes of that moment were late, too."""
    assert "network-latency" != asked(lambda n: 2.0 * (n == 9), wait_s=0.05).finding.name


def test_probes_are_as_late_as_the_gateway() -> None:
    """A loop that comes late sends and reads them late."""
    found = asked(lambda _: 0.2, wait_s=0.2, late_s=0.08)

    assert "gateway-saturated" == found.finding.name
    assert "network-latency" not in [each.name for each in found.also]


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
