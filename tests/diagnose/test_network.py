"""network.py: a slow way or a late probe, of one replica or of all."""

from collections.abc import Callable

from headrace.diagnose.finding import Diagnosis
from headrace.diagnose.history import History
from headrace.diagnose.table import diagnose

STEPS, CHANGE = 72, 60  # of five seconds; the last minute is another one
REPLICAS = ("a", "b", "c")


def asked(
    probe: Callable[[int], float],
    *,
    wait_s: float = 0.0,
    late_s: float = 0.0,
    everywhere: bool = False,
) -> Diagnosis:
    """
    Three replicas that answer a request a second each. In the last minute a probe of ``a`` takes
    as long as its number says, and first bytes from there, or ``everywhere``, so much longer; the
    event loop is late.
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
            beyond = 5 * since * wait_s if everywhere or name == "a" else 0.0
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


def test_first_bytes_that_are_far_too_late_need_one_probe() -> None:
    """Packets that are lost to one replica hold up few probes, but every first byte in the mean."""
    one = asked(lambda n: 1.0 * (n == 9), wait_s=0.15).finding
    every = asked(lambda n: 1.0 * (n == 9), wait_s=0.15, everywhere=True).finding

    assert ("network-latency", ("a",)) == (one.name, one.replicas)
    assert ("network-latency", REPLICAS) == (every.name, every.replicas)


def test_late_first_bytes_alone_are_no_network() -> None:
    """While every probe is on time, something else holds them up."""
    assert "network-latency" != asked(lambda _: 0.002, wait_s=0.15).finding.name
