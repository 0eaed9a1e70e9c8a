"""caches.py: smaller caches are told from more demand, and lost prefixes from new ones."""

from collections.abc import Mapping

import pytest

from headrace.diagnose.finding import Diagnosis
from headrace.diagnose.history import History
from headrace.diagnose.table import diagnose

STEPS, CHANGE = 96, 84  # of five seconds; the last minute is another one
REPLICAS = ("a", "b", "c", "d")
USUAL = {"rate": 1.0, "kv": 0.4, "running": 10.0, "queued": 0.0, "hits": 800.0, "first_s": 0.1}


def asked(
    now: Mapping[str, Mapping[str, float]], *, believed: float = 800.0, slow: float = 0.1
) -> Diagnosis:
    """
    Four replicas that answer prompts of 1,000 tokens; ``now`` is what is other in the last minute
    at which of them, ``believed`` what routing then expects in caches, ``slow`` the first token.
    """
    history = History()
    counts: dict[tuple[str, tuple[str, ...]], float] = {}

    def add(name: str, label: str, value: float) -> None:
        key = (name, (label,) if name != "ended" else (label, "completed"))
        counts[key] = counts.get(key, 0.0) + 5.0 * value

    for step in range(STEPS):
        gauges: dict[tuple[str, tuple[str, ...]], float] = {("replicas", ("m",)): 4.0}
        running = 0.0
        changed = step >= CHANGE
        for name in REPLICAS:
            state = {**USUAL, **(now.get(name, {}) if changed else {})}
            running += state["running"]
            each = state["rate"]
            for key, value in (
                ("e_queries", 1000.0), ("e_prompt", 1000.0), ("e_hits", state["hits"]),
                ("e_first_n", 1.0), ("e_first_sum", state["first_s"]), ("e_ended", 1.0),
                ("e_prefill_sum", 0.02), ("r_sent", 1.0), ("e_made", 500.0),
            ):  # fmt: skip
                add(key, name, value * each)
            for key, value in (
                ("ended", 1.0), ("input_sum", 1000.0), ("input_n", 1.0), ("output_sum", 100.0),
                ("output_n", 1.0), ("total_n", 1.0), ("ttft_n", 1.0),
                ("believed", believed if changed else 800.0),
                ("ttft_sum", slow if changed else 0.1),
            ):  # fmt: skip
                add(key, "m", value * each)
            gauges |= {
                ("r_inflight", (name,)): state["running"], ("r_ready", (name,)): 1.0,
                ("e_running", (name,)): state["running"], ("e_kv", (name,)): state["kv"],
                ("e_waiting", (name,)): state["queued"],
            }  # fmt: skip
        gauges["active", ("m", "streaming")] = running
        history.add(1000.0 + 5.0 * step, {**gauges, **counts})
    return diagnose(history.snapshot(), 900.0)


def test_all_is_well() -> None:
    """Nothing is said while nothing changes."""
    assert "nothing" == asked({}).finding.name


@pytest.mark.parametrize("rate", [1.0, 1.5])
def test_a_cache_that_has_become_smaller(rate: float) -> None:
    """The same requests take twice as much of it, however many come."""
    small = {"kv": 0.85, "queued": 2.0, "rate": rate}
    found = asked(dict.fromkeys(REPLICAS, small), slow=2.0).finding

    assert ("kv-exhausted", REPLICAS) == (found.name, found.replicas)


def test_full_caches_of_more_requests_are_not_the_cause() -> None:
    """Twice the requests in twice the cache are demand."""
    more = {"kv": 0.85, "running": 21.0, "queued": 2.0, "rate": 2.0}
    found = asked(dict.fromkeys(REPLICAS, more), slow=2.0)

    assert "capacity" == found.finding.name
    assert "kv-exhausted" in {each.name for each in found.ruled_out}


def test_caches_of_some_replicas_are_lost() -> None:
    """Routing expects more than one of them finds, and its first tokens come late."""
    found = asked({"b": {"hits": 300.0, "first_s": 0.3}}).finding

    assert ("cache-loss", ("b",)) == (found.name, found.replicas)


def test_new_prompts_are_new_also_when_more_come() -> None:
    """Routing knows that far less is shared than so many more requests would explain."""
    new = {"hits": 100.0, "rate": 1.5, "first_s": 0.3}
    found = asked(dict.fromkeys(REPLICAS, new), believed=100.0, slow=0.4).finding

    assert "cache-loss" == found.name


def joined(early: float, late: float) -> Diagnosis:
    """
    Three replicas, and in the last minute one more, whose cache finds so many of 1,000 tokens in
    the first half minute and in the second.
    """
    history = History()
    counts: dict[tuple[str, tuple[str, ...]], float] = {}
    for step in range(STEPS):
        gauges: dict[tuple[str, tuple[str, ...]], float] = {("replicas", ("m",)): 4.0}
        for name in REPLICAS:
            new = name == "d"
            if new and step < CHANGE:
                continue
            hits = 800.0 if not new else early if step < CHANGE + 6 else late
            for key, value in (
                ("e_queries", 1000.0), ("e_prompt", 1000.0), ("e_hits", hits + 20.0 * (step % 3)),
                ("e_first_n", 1.0), ("e_first_sum", 0.1), ("e_ended", 1.0), ("e_made", 500.0),
                ("r_sent", 1.0),
            ):  # fmt: skip
                counts[key, (name,)] = counts.get((key, (name,)), 0.0) + 5.0 * value
            gauges |= {
                ("r_inflight", (name,)): 10.0, ("r_ready", (name,)): 1.0,
                ("e_running", (name,)): 10.0, ("e_kv", (name,)): 0.4, ("e_waiting", (name,)): 0.0,
            }  # fmt: skip
        history.add(1000.0 + 5.0 * step, {**gauges, **counts})
    return diagnose(history.snapshot(), 900.0)


def test_a_new_replica_without_a_cache_is_a_bad_rollout() -> None:
    """One that joined and does not come to know prompts is named, though nobody is late yet."""
    found = joined(100.0, 100.0).finding
    assert found.name == "bad-rollout"
    assert found.replicas == ("d",)


@pytest.mark.parametrize(("early", "late"), [(100.0, 500.0), (700.0, 750.0)])
def test_a_new_replica_whose_cache_fills_is_well(early: float, late: float) -> None:
    """A cold cache is no fault while it fills, nor one that finds nearly as much as others."""
    assert joined(early, late).finding.name == "nothing"
