"""engines.py: empty answers, slow prefill, adapters without a place, forgotten replicas."""

from collections.abc import Mapping

from headrace.diagnose.finding import Diagnosis
from headrace.diagnose.history import History
from headrace.diagnose.table import diagnose

STEPS, CHANGE = 96, 84  # of five seconds; the last minute is another one
REPLICAS = ("a", "b", "c", "d")
USUAL = {
    "tokens": 100.0, "prompt": 1000.0, "prefill_s": 0.1, "first_s": 0.15, "pace_s": 0.02,
    "adapters": 3.0, "wait": 0.0, "ready": 1.0, "batch": 0.0, "queued": 0.0, "kv": 0.3, "sway": 0.0,
}  # fmt: skip


def asked(
    now: Mapping[str, Mapping[str, float]],
    *,
    gone: float = 0.0,
    watched: float = 0.0,
    joined: str = "",
) -> Diagnosis:
    """
    Four replicas that answer a request a second each; ``now`` says what is other in the last minute
    at which of them, ``gone`` which share of clients gives up since, ``watched`` how many answers
    of one token somebody new gets from each replica every second, ``joined`` who joined then.
    """
    history = History()
    counts = {(key, name): 0.0 for key in KEYS for name in REPLICAS}
    for step in range(STEPS):
        gauges: dict[tuple[str, tuple[str, ...]], float] = {}
        live = 0.0
        there = [name for name in REPLICAS if name != joined or step >= CHANGE]
        for name in there:
            state = {**USUAL, **(now.get(name, {}) if step >= CHANGE else {})}
            live += state["ready"]
            for key, value in growth(state).items():
                counts[key, name] += 5.0 * value * state["ready"]
            for key in ("e_made", "e_ended", "r_sent") if step >= CHANGE else ():
                counts[key, name] += 5.0 * watched
            gauges |= {
                ("r_inflight", (name,)): 8.0 * state["ready"],
                ("r_ready", (name,)): state["ready"],
                ("e_running", (name,)): (state["batch"] or state["pace_s"] * state["tokens"])
                + state["sway"] * (step % 3 - 1),
                ("e_waiting", (name,)): state["queued"], ("e_kv", (name,)): state["kv"],
                ("e_lora", (name,)): state["adapters"], ("e_lora_waiting", (name,)): state["wait"],
                ("e_lora_places", (name,)): 4.0,
            }  # fmt: skip
        words = 20.0 * watched * max(0, step + 1 - CHANGE)
        total = 20.0 * (step + 1) + words
        tokens = sum(counts["e_made", name] for name in REPLICAS)
        late = 5.0 if step >= CHANGE and "first" in now else 0.1
        history.add(
            1000.0 + 5.0 * step,
            {
                **gauges, **{(key, (name,)): counts[key, name] for key in KEYS for name in there},
                ("ended", ("m", "completed")): total,
                ("t_ended", ("watchdog", "completed")): words,
                ("t_tokens", ("watchdog", "output")): words,
                ("ended", ("m", "client_gone")): gone * 20.0 * max(0, step - CHANGE),
                ("output_n", ("m",)): total,
                ("output_sum", ("m",)): tokens, ("ttft_n", ("m",)): total,
                ("ttft_sum", ("m",)): 2.0 * min(step, CHANGE) + 20.0 * max(0, step - CHANGE) * late,
                ("active", ("m", "streaming")): 32.0, ("waiting", ("m",)): 0.0,
                ("replicas", ("m",)): live,
            },
        )  # fmt: skip
    return diagnose(history.snapshot(), 900.0)


KEYS = (
    "e_made", "e_ended", "e_prompt", "e_hits", "e_queries", "e_first_n", "e_first_sum",
    "e_prefill_sum", "e_queue_sum", "r_sent",
)  # fmt: skip


def growth(state: Mapping[str, float]) -> dict[str, float]:
    return {
        "e_made": state["tokens"], "e_ended": 1.0, "e_prompt": state["prompt"],
        "e_hits": 500.0, "e_queries": state["prompt"], "e_first_n": 1.0,
        "e_first_sum": state["first_s"], "e_prefill_sum": state["prefill_s"],
        "e_queue_sum": 0.0, "r_sent": 1.0,
    }  # fmt: skip


def everywhere(**state: float) -> dict[str, dict[str, float]]:
    return dict.fromkeys(REPLICAS, state)


def test_all_is_well() -> None:
    """Nothing is said while nothing changes."""
    assert "nothing" == asked({}).finding.name


def test_a_replica_that_says_nothing() -> None:
    """Answers of one token, fast and without an error, are found at the one that gives them."""
    found = asked({"b": {"tokens": 1.0}}).finding

    assert ("empty-answers", ("b",)) == (found.name, found.replicas)
    assert "e_made" not in found.evidence[0].promql
    assert "headrace_engine_generation_tokens_total" in found.evidence[0].promql


def test_a_fleet_that_says_nothing() -> None:
    """The same on all replicas."""
    found = asked(everywhere(tokens=1.0)).finding

    assert ("empty-answers", REPLICAS) == (found.name, found.replicas)


def test_answers_that_clients_cut_are_theirs() -> None:
    """Engines count requests that were given up, with the tokens that these had."""
    found = asked({"b": {"tokens": 1.0}}, gone=0.2)

    assert "client-aborts" == found.finding.name
    assert "empty-answers" not in [each.name for each in found.also]


def test_somebody_watches() -> None:
    """Who begins to ask for a word each second makes no answers empty, and hides none that are."""
    empty = asked({"b": {"tokens": 1.0}}, watched=0.1).finding

    assert "nothing" == asked({}, watched=1.0).finding.name
    assert ("empty-answers", ("b",)) == (empty.name, empty.replicas)


def test_shorter_answers_are_well() -> None:
    """Answers that are a quarter shorter are what clients asked for."""
    assert "nothing" == asked(everywhere(tokens=75.0)).finding.name


def test_slow_prefill() -> None:
    """Prompts that take three times as long everywhere, while tokens do not."""
    found = asked(everywhere(prefill_s=0.3, first_s=0.4)).finding

    assert ("slow-prefill", "prefill", REPLICAS) == (found.name, found.phase, found.replicas)


def test_slow_prefill_of_one_is_its_own() -> None:
    """The same at one replica is a slow replica."""
    found = asked({"c": {"prefill_s": 0.4, "first_s": 0.6}}).finding

    assert ("slow-replica", ("c",)) == (found.name, found.replicas)


def test_slow_prefill_of_a_new_one() -> None:
    """One that joined and computes prompts far slower is a bad rollout; an equal one is none."""
    found = asked({"d": {"prefill_s": 0.8, "first_s": 0.9}}, joined="d").finding

    assert ("bad-rollout", "prefill", ("d",)) == (found.name, found.phase, found.replicas)
    assert "8.0 times" in found.summary
    assert "nothing" == asked({}, joined="d").finding.name


def test_adapters_without_a_place() -> None:
    """Adapters that wait while a batch has all it may are named when users feel it."""
    felt: dict[str, dict[str, float]] = {"first": {}}
    found = asked({**felt, "d": {"adapters": 4.0, "wait": 6.0}}).finding
    room = asked({**felt, "d": {"adapters": 2.0, "wait": 6.0}})

    assert ("lora-thrash", ("d",)) == (found.name, found.replicas)
    assert "lora-thrash" in {each.name for each in room.ruled_out}


def test_batches_that_a_flag_cuts() -> None:
    """Requests wait while always as many run, fewer than before, and the cache has room."""
    felt: dict[str, dict[str, float]] = {"first": {}}
    cut = {"batch": 1.0, "queued": 5.0}
    found = asked({**felt, "c": cut}).finding
    sways = asked({**felt, "c": {**cut, "batch": 1.4, "sway": 0.6}})
    full = asked({**felt, "c": {**cut, "kv": 0.9}})

    assert ("narrow-batches", ("c",)) == (found.name, found.replicas)
    assert "never more than 1 run" in found.summary
    for other in (sways, full):
        assert "narrow-batches" in {each.name for each in other.ruled_out}


def test_replicas_that_are_not_told_of() -> None:
    """Replicas that leave without a failed probe are missed when it is felt, and named."""
    gone = {"a": {"ready": 0.0}, "b": {"ready": 0.0}}
    found = asked({**gone, "first": {}}).finding

    assert ("discovery-loss", ("a", "b")) == (found.name, found.replicas)
