"""
The routing benchmark: its loads, its client against a live simulated replica, its numbers and
verdicts. Routers are not started here; `make bench-routing-quick` does that.
"""

import json
import math
from pathlib import Path
from typing import Any

import msgspec
import pytest

from benchmarks.routing import bars, chart, plan, prompts, report, results, routers, workload
from benchmarks.routing.client import Player, read
from benchmarks.routing.figures import Figures, Spread, figures, imbalance, measured, worst_skew
from benchmarks.routing.fleet import Fleet, Group, Scale, parse
from benchmarks.routing.jobs import Ask, Job, Script, Turn
from benchmarks.routing.results import Results
from benchmarks.routing.rig import Run, Scene, doubts
from benchmarks.routing.routers import Place
from benchmarks.routing.validation import Agreement, simulate
from benchmarks.routing.workload import Load
from headrace.config.load import load
from headrace.engines.sim import text
from headrace.errors import ConfigError
from headrace.simulate import synthetic
from tests.engines.sim.rig import simulator

NOTHING = Spread(0, 0.0, 0.0, 0.0, 0.0, 0.0)


def ask(**given: Any) -> Ask:
    """A request that went well."""
    values = {
        "script": 0, "turn": 0, "due_s": 0.0, "late_s": 0.0, "first_s": 0.1, "end_s": 1.1,
        "gap_s": 0.1, "prompt_tokens": 1000, "output_tokens": 11, "cached_tokens": 0, "chunks": 3,
    }  # fmt: skip
    return Ask(**{**values, **given})


def run(router: str = "ours", mean: float = 100.0, **given: Any) -> Run:
    """A run with this mean TTFT."""
    spread = Spread(10, mean, mean, mean, mean, mean)
    found = Figures(spread, {"2-8k": spread}, 10.0, 20.0, 0.5, 8.0, 0.8, 10.0, 0)
    values = {
        "router": router, "cell": "cell", "seed": 0, "figures": found, "imbalance": 1.1,
        "work": 1.1, "skew": None, "preemptions": 0, "hits": 0.4, "outside_ms": 5.0,
        "router_cpu_ms": 1.0, "router_mb": 50.0, "late_p99_ms": 1.0, "client_share": 0.1,
        "fleet_share": 0.3, "behind_ms": 0.1, "foreign_cores": 0.0, "elapsed_s": 10.0,
        "failures": {}, "invalid": [],
    }  # fmt: skip
    return Run(**{**values, **given})


def found(*runs: Run, kind: str = "sharing") -> Results:
    """Results with these runs in one cell."""
    labels = {each.router: each.router.title() for each in runs}
    return Results(
        titles={"cell": "A cell, for tests"}, kinds={"cell": kind}, speeds={"cell": 4.0},
        labels=labels, ours=["ours"], runs=[*runs],
    )  # fmt: skip


def scene(**given: Any) -> Scene:
    values = {
        "name": "cell", "groups": (Group("h100-8b", 2),), "scale": Scale(speed=4.0),
        "load": Load((), 8),
    }  # fmt: skip
    return Scene(**{**values, **given})


# --- text and loads -------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [1, 2, 63, 64])
def test_words_are_tokens(words: int) -> None:
    """A block has as many tokens as it has words: otherwise prompts had another length."""
    assert words == len(text.tokens(prompts.block(17, words)))


def test_equal_names_are_equal_text() -> None:
    """Names say what is shared: equal ones give equal text, others differ from the first word."""
    one, other = prompts.block(1, 64), prompts.block(2, 64)

    assert one == prompts.block(1, 64)
    assert one.split()[:4] != other.split()[:4]
    assert prompts.text((1, 2), 64, "own", 3).startswith(one + other)


def test_lengths_of_a_trace_are_kept() -> None:
    """Prompts have the trace's tokens, rounded up to whole words, wherever blocks end."""
    scale = Scale(speed=2.0, tokens=8)
    trace = synthetic.shared(10.0, 20, seed=1)
    found_ = workload.of(trace, scale)

    for request, script in zip(trace.requests, found_.scripts, strict=True):
        turn = script.turns[0]
        words = len(turn.blocks) * found_.block_words + turn.tail
        assert 0 <= words * 8 - request.prompt_tokens <= 8
        assert request.output_tokens == turn.output_tokens
        assert request.arrival_s / 2 == pytest.approx(script.due_s)


def test_chat_is_repeatable() -> None:
    """Equal seeds give equal conversations, others do not; only the first turn has the prompt."""
    scale = Scale(speed=6.0)
    one, same, other = (workload.chat(20, 30.0, seed, scale) for seed in (1, 1, 2))

    assert one == same
    assert one != other
    assert all(script.turns[0].blocks for script in one.scripts)
    assert not any(turn.blocks for script in one.scripts for turn in script.turns[1:])


def test_a_missing_trace_says_what_to_do(tmp_path: Path) -> None:
    """Traces are not in the repository: who has none is told which option names them."""
    with pytest.raises(ConfigError, match=r"mooncake/none\.jsonl is not in .*--traces"):
        plan.locate(tmp_path, "mooncake/none.jsonl")


def test_every_cell_has_known_routers() -> None:
    """The plan names only routers that there are, and ours is in every cell of the full run."""
    known = {router.name for router in routers.ROUTERS}

    for cell in (*plan.CELLS, plan.QUICK):
        assert set(cell.routers) <= known
        assert "headrace" in cell.routers


def test_unknown_cells_are_named() -> None:
    """A cell that is not there is named in the error, with those that are."""
    assert ["chat"] == [cell.name for cell in plan.choose("chat")]
    with pytest.raises(ConfigError, match=r"no cell 'chess'; there are full, conversation-3\.4"):
        plan.choose("chess")


# --- the client -----------------------------------------------------------------------------------


async def played(job: Job) -> list[Ask]:
    """What a client in this process makes of a job."""
    player = Player(job)
    await player.play()
    assert 0 == player.unfinished()
    return sorted(player.asks, key=lambda one: (one.script, one.turn))


async def test_the_client_counts_what_the_engine_says(capsys: pytest.CaptureFixture[str]) -> None:
    """Tokens are the engine's, cached ones too; times are counted from when a request was due."""
    scripts = (
        Script(0, 0.0, "a", (Turn((1, 2), 4, 12),)),
        Script(1, 0.3, "b", (Turn((1, 2), 4, 12),)),
    )
    settings = {"surface": {"token_scale": 8, "stream_interval": 8}, "block_size": 64}
    async with simulator(preset="h100-8b", speed=10, **settings) as server:
        port = int(server.urls[0].rpartition(":")[2])
        first, second = await played(Job(port, 8, scripts, 10.0))

    assert ["", ""] == [first.failure, second.failure]
    assert ((8 + 8 + 4) * 8, 12, 0) == (
        first.prompt_tokens, first.output_tokens, first.cached_tokens,
    )  # fmt: skip
    assert 2 * 64 == second.cached_tokens
    assert 0.3 == pytest.approx(second.due_s)
    assert 0 < first.first_s < first.end_s < 5
    assert float(capsys.readouterr().out) > 0


async def test_a_chat_brings_its_answers_back() -> None:
    """A second turn comes after the first, and holds its prompt and its answer."""
    turns = (Turn((5,), 16, 24), Turn((), 16, 24, 0.05))
    async with simulator(speed=100) as server:
        port = int(server.urls[0].rpartition(":")[2])
        first, second = await played(Job(port, 32, (Script(0, 0.0, "c", turns, chat=True),), 10.0))

    assert ["", ""] == [first.failure, second.failure]
    assert second.prompt_tokens >= first.prompt_tokens + 24 + 16
    assert second.cached_tokens >= first.prompt_tokens
    assert first.end_s + 0.05 == pytest.approx(second.due_s)


async def test_failures_have_reasons() -> None:
    """A refusal, a break and a closed port are told as what they are, and end their scripts."""
    script = (Script(0, 0.0, "a", (Turn((1,), 4, 12), Turn((1,), 4, 12))),)
    reasons, port = [], 0
    for fault in ("limit", "reset"):
        async with simulator(faults=[{"kind": fault}]) as server:
            port = int(server.urls[0].rpartition(":")[2])
            reasons += [one.failure for one in await played(Job(port, 8, script, 10.0))]
    reasons += [one.failure for one in await played(Job(port, 8, script, 10.0))]

    assert reasons[0].startswith("429 ")
    assert reasons[1] in {"reset", "closed"}
    assert reasons[2].startswith("no connection")


def test_an_error_in_the_stream_is_a_failure() -> None:
    """An engine that gives up in the middle says so in an event, which is no answer."""
    body = [b'data: {"choices":[]}\n\n', b'data: {"error":{"code":500}}\n\n', b"data: [DONE]\n\n"]

    assert read(body, whole=False)[2].startswith("event: {'code': 500}")


# --- figures --------------------------------------------------------------------------------------


def test_times_are_brought_back_to_scale() -> None:
    """What took 0.1 s on engines four times as fast is 400 ms."""
    result = figures([ask(), ask(due_s=1.0, first_s=0.3)], speed=4.0)

    assert 800 == pytest.approx(result.ttft.mean)
    assert 400 == pytest.approx(result.token_p99_ms)
    assert ["< 2k"] == list(result.classes)


def test_goodput_needs_both_limits() -> None:
    """A late first token or slow ones are not good; the rate is per second at scale."""
    good = ask(first_s=0.1, end_s=0.2)
    late = ask(due_s=1.0, first_s=0.6, end_s=0.7)
    slow = ask(due_s=2.0, first_s=0.1, end_s=1.1)

    result = figures([good, late, slow], speed=4.0)

    assert 1 / 3 == pytest.approx(result.good)
    assert 1 / 8 == pytest.approx(result.goodput)


def test_failed_requests_count_but_have_no_times() -> None:
    """A failure makes the good share smaller, and no percentile."""
    result = figures([ask(first_s=0.01, end_s=0.02), ask(failure="reset", first_s=9.0)], speed=1.0)

    assert (1, 1, 0.5) == (result.failed, result.ttft.count, result.good)


def test_the_warm_up_is_left_out() -> None:
    """Requests of the first share of the load's time do not count."""
    asks = [ask(due_s=float(n)) for n in range(11)]

    assert [float(n) for n in range(2, 11)] == [one.due_s for one in measured(asks, 0.2)]


def test_imbalance() -> None:
    """The busiest over the average; moments with hardly any request say nothing."""
    assert 1.5 == imbalance([[3, 1], [0, 1]])
    assert 2.0 == worst_skew([[3, 1], [4, 0]])
    assert 1.0 == imbalance([])


def test_counters_of_a_page() -> None:
    """Counters are summed over their labels, and nothing else is read."""
    page = (
        'vllm:prefix_cache_hits_total{engine="0"} 5.0\nvllm:prefix_cache_hits_total{engine="1"} 2\n'
        "vllm:other_total 7\n"
    )

    assert (7.0, 0.0) == (parse(page).hits, parse(page).queries)


# --- validity -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"late_p99_ms": 30.0}, "sent 30.0 ms late"),
        ({"client_share": 0.5, "fleet_share": 0.5}, "100% of their core"),
        ({"behind_ms": 9.0}, "9.0 ms behind"),
        ({"failures": {"3 never ended": 1}}, "did not end"),
    ],
)
def test_a_run_that_measured_the_harness_is_invalid(given: dict[str, Any], reason: str) -> None:
    """Each check names what it saw; a good run has no doubts."""
    assert [] == doubts(run(), scene(), 0.0)
    assert reason in doubts(run(**given), scene(), 0.0)[0]


def test_lost_time_is_a_doubt() -> None:
    """Engines that gave up time lived in another time than the client."""
    assert "lost 1.5 s" in doubts(run(), scene(), 1.5)[0]


def test_failures_are_expected_where_a_replica_dies() -> None:
    """One failed request in ten is a doubt, unless it is part of the scene."""
    broken = run(figures=msgspec.structs.replace(run().figures, failed=2))

    assert doubts(broken, scene(), 0.0)
    assert [] == doubts(broken, scene(event="die"), 0.0)


def test_the_simulator_agrees_with_itself() -> None:
    """The validation's simulated half gives times for every request; a tenth off agrees."""
    cell = plan.VALIDATION
    spread = simulate(cell, synthetic.shared(2.0, 30, seed=3))

    assert 30 == spread.count
    assert spread.p50 > 0
    assert Agreement(spread, msgspec.structs.replace(spread, mean=spread.mean * 1.1)).agrees
    assert not Agreement(spread, msgspec.structs.replace(spread, mean=spread.mean * 1.2)).agrees


# --- routers --------------------------------------------------------------------------------------


def place(tmp_path: Path, **given: Any) -> Place:
    values = {
        "folder": tmp_path, "port": 9000, "urls": ["http://127.0.0.1:1", "http://127.0.0.1:2"],
        "events": (), "pieces": 16, "speed": 6.0, "bin": tmp_path,
    }  # fmt: skip
    return Place(**{**values, **given})


def by_name(name: str) -> routers.Router:
    return next(router for router in routers.ROUTERS if router.name == name)


def test_our_configuration_is_valid(tmp_path: Path) -> None:
    """Headrace gets a file that its own loader takes, with the caller's settings in it."""
    settings = {"timeouts": {"queue_s": 60}}
    by_name("headrace").argv(place(tmp_path, settings=settings))

    config = load(tmp_path / "headrace.yaml")
    assert (9000, 60.0) == (config.server.port, config.timeouts.queue_s)
    assert 2 == len(json.loads((tmp_path / "replicas.yaml").read_text()))


def test_a_replica_joins_by_file(tmp_path: Path) -> None:
    """Our router is told of a new replica through the file that it watches."""
    router, where = by_name("headrace"), place(tmp_path)
    router.argv(where)
    router.join(where, "http://127.0.0.1:3")

    rows = json.loads((tmp_path / "replicas.yaml").read_text())
    assert ["1", "2", "3"] == [row["name"] for row in rows]


def test_events_are_announced_to_the_router(tmp_path: Path) -> None:
    """kv_aware without events falls back to load in silence: each replica's source is named."""
    events = ["tcp://127.0.0.1:11", "tcp://127.0.0.1:12"]
    argv = by_name("vllm-kv_aware").argv(place(tmp_path, events=events))

    assert "http://127.0.0.1:2=tcp://127.0.0.1:12" in argv
    assert ["--kv-event-model", "sim"] == argv[argv.index("--kv-event-model") :][:2]


def test_prompts_that_were_not_rendered_are_noticed() -> None:
    """A router that goes by load because it could not have prompts rendered says so in metrics."""
    name = 'vllm_router_kv_routing_inputs_total{transport="http",result='

    assert "" == routers.unrendered(f'{name}"render"}} 600\n')
    assert "3 of its prompts" in routers.unrendered(f'{name}"render"}} 6\n{name}"error"}} 3\n')
    assert "not rendered" in routers.unrendered("")


def test_the_fleet_shows_what_the_router_needs(tmp_path: Path) -> None:
    """The replicas' settings are those of the cell; what a router asks for is published."""
    fleet = Fleet([Group("h100-8b", 2)], Scale(speed=3.0), 18_000, tmp_path, 0)
    fleet.shows("array", kv_events=True)

    settings = fleet._settings(fleet.groups[0], 18_000)

    surface = settings["surface"]
    assert (3.0, "array", 18_100) == (
        settings["speed"], surface["get_load"], surface["kv_events_port"],
    )  # fmt: skip
    assert "tcp://127.0.0.1:18101" == fleet.event_endpoint(1)


# --- results --------------------------------------------------------------------------------------


def test_mean_and_confidence() -> None:
    """Student's t for three values: 4.303 times the standard error; one value has none."""
    three = results.mean([1.0, 2.0, 3.0])

    assert 2.0 == three.value
    assert 4.303 / math.sqrt(3) == pytest.approx(three.half)
    assert math.isnan(results.mean([1.0]).half)
    assert 0 == results.mean([]).count


def test_invalid_runs_do_not_count_beside_valid_ones() -> None:
    """A doubtful run is left out; where there is no other, it is shown and marked."""
    some = found(run(mean=100), run(mean=900, seed=1, invalid=["late"]))
    none = found(run(mean=900, invalid=["late"]))

    assert 100 == some.mean("cell", "ours", results.mean_ttft).value
    assert "1 of 2 valid" in "\n".join(report.table(some, "cell"))
    assert "**Ours** †" in "\n".join(report.table(none, "cell"))


def test_results_survive_being_written() -> None:
    """What is kept can be read again: a run that was cut off goes on."""
    kept = found(run(), run("peer"))
    again = msgspec.json.decode(msgspec.json.encode(kept), type=Results)

    assert kept == again
    assert again.has("cell", "peer", 0)
    assert not again.has("cell", "peer", 1)


def test_bars_compare_with_the_best_peer() -> None:
    """Ours against the better of two, figure by figure."""
    verdicts = [*bars.judge(found(run(mean=50), run("one", 100), run("two", 200)), "ours")]
    first = verdicts[0]

    assert ("TTFT mean", "one", 0.5, "met") == (
        first.bar.name, first.peer, first.ratio, first.state,
    )  # fmt: skip
    assert "missed" == next(v.state for v in verdicts if v.bar.name == "goodput")
    assert "TTFT mean, prompts 2-8k" in {verdict.bar.name for verdict in verdicts}


def test_a_bar_stays_open_without_a_valid_run() -> None:
    """Neither met nor missed, when one side measured the harness."""
    doubtful = found(run(mean=50, invalid=["late"]), run("one", 100))

    assert {"open"} == {verdict.state for verdict in bars.judge(doubtful, "ours")}


def test_mixed_fleets_are_compared_with_round_robin() -> None:
    """That bar is not for the best peer, but for the one that it names."""
    mixed = found(run(mean=50), run("vllm-round_robin", 200), run("one", 60), kind="mixed")
    (verdict,) = bars.judge(mixed, "ours")

    assert ("vllm-round_robin", 0.25) == (verdict.peer, verdict.ratio)


def test_the_section_replaces_itself() -> None:
    """A page keeps what others wrote; the section is put where it was, and only once."""
    section = report.section(found(run(), run("peer", 200)), ["assets/routing-1.svg"], None)
    once = report.page("# Routing\n\nSimulated.\n", section)
    twice = report.page(once + "\nAfterwards.\n", section)

    assert once.startswith("# Routing\n\nSimulated.\n")
    assert 1 == twice.count(report.BEGIN)
    assert twice.rstrip().endswith("Afterwards.")
    assert "| **Ours** | 100 |" in once
    assert "](assets/routing-1.svg)" in once


def test_the_section_tells_of_the_agreement_and_of_missing_routers() -> None:
    """How far the harness is from the simulator, and who was not measured, are part of it."""
    spread = Spread(1, 100.0, 90.0, 200.0, 300.0, 400.0)
    results_ = found(run())
    results_.missing["peer"] = "no wheel"
    slower = msgspec.structs.replace(spread, mean=110.0)

    section = report.section(results_, [], Agreement(spread, slower))

    assert "agrees with" in section
    assert "not valid" not in section
    assert "not valid: late." in report.section(results_, [], Agreement(spread, slower, ("late",)))
    assert "(+10%)" in section
    assert "Not measured: peer: no wheel." in section


def test_the_section_tells_what_was_not_as_it_ships() -> None:
    """Settings that were given, and a machine that was not quiet, stand beside the numbers."""
    results_ = found(run(foreign_cores=1.4))
    results_.settings = {"routing": {"order": "fast"}}

    section = report.section(results_, [], None)

    assert '`{"routing": {"order": "fast"}}`' in section
    assert "up to 1.4 cores" in section
    assert "not quiet" not in report.section(found(run()), [], None)


def test_the_chart_has_a_bar_for_each_router() -> None:
    """Two cells side by side, ours in its colour, values in ms."""
    drawing = chart.draw(found(run(), run("peer", 1234)), "Title", ["cell"])

    assert 2 == drawing.count("<rect")
    assert "Peer: 1,234 ms" in drawing
