"""The pure parts of benchmarks/overhead: reading /proc, order statistics, bars, tables, chart."""

import dataclasses
import os
import time
from pathlib import Path
from xml.etree import ElementTree as ET

import msgspec
import pytest

from benchmarks.overhead import (
    bars,
    chart,
    everything,
    exposition,
    process,
    prompts,
    report,
    summary,
)
from benchmarks.overhead.client import wrong_stream, wrong_whole
from benchmarks.overhead.install import Missing
from benchmarks.overhead.jobs import END_MARK, Outcome
from benchmarks.overhead.peers import PEERS
from benchmarks.overhead.plan import FULL, load
from benchmarks.overhead.results import DIRECT, Results
from benchmarks.overhead.rig import Sample
from headrace.admission import keys
from headrace.admission.book import Book
from headrace.config.schema import Config

STAT = "4242 (a (b) c) S 17 1 1 0 -1 4194560 9 0 0 0 250 50 0 0 20 0 1 0 98765 1000 20"


def sample(scene: str, turn: int, cpu_us: float, **outcome: object) -> Sample:
    found = Outcome(answered=100, chunks=100, elapsed_s=1.0)
    for name, value in outcome.items():
        setattr(found, name, value)
    return Sample(
        scene=scene, round=turn, unit="chunk", done=100, cpu_us=cpu_us, kb_each=12.0, outcome=found
    )


def results(**cpu_us: list[float]) -> Results:
    """A run of stream samples: one CPU cost per round for each peer, `_` standing for `-`."""
    names = [name.replace("_", "-") for name in cpu_us]
    kinds = {peer.name: peer.kind for peer in PEERS if peer.name in names}
    rounds = max(map(len, cpu_us.values()))
    plan = dataclasses.replace(FULL, rounds=rounds)
    run = Results(plan=plan, labels={name: name.upper() for name in names}, kinds=dict(kinds))
    for name, costs in zip(names, cpu_us.values(), strict=True):
        for turn, cost in enumerate(costs):
            run.add(name, sample("stream", turn, cost))
    return run


def verdict(run: Results, text: str) -> bars.Verdict:
    return next(one for one in bars.judge(run) if text in one.text)


def test_stat_is_read_past_a_command_with_brackets() -> None:
    """A process may call itself anything: fields are counted from the last bracket."""
    stat = process.parse_stat(STAT, ticks_per_s=100)
    assert process.Stat(parent=17, cpu_s=3.0, started=98_765) == stat


def test_schedstat_is_in_seconds() -> None:
    """The kernel counts nanoseconds; a benchmark line must not be off by a unit."""
    assert process.parse_schedstat("1500000000 7 3\n") == pytest.approx(1.5)


def test_rollup_gives_the_proportional_size() -> None:
    """Memory that several workers share is counted once, so Pss is read and not Rss."""
    text = "00-ff ---p 0 00:00 0 [rollup]\nRss:  900 kB\nPss:  300 kB\nPss_Anon: 5 kB\n"
    assert 300 * 1024 == process.parse_rollup(text)


def test_a_tree_holds_grandchildren_and_nobody_else() -> None:
    """Workers of workers count, neighbours do not."""
    assert [1, 2, 3] == process.descendants(1, {2: 1, 3: 2, 4: 9, 9: 0})


def test_cpu_time_of_this_process_is_counted() -> None:
    """Reading /proc finds what a real process spends, within the clock's own coarseness."""
    before, own = process.cpu_s(os.getpid()), time.thread_time()
    while time.thread_time() - own < 0.2:
        pass
    assert 0.1 <= process.cpu_s(os.getpid()) - before <= 10


@pytest.mark.parametrize(
    ("share", "expected"), [(0.0, 1.0), (0.5, 5.0), (0.9, 9.0), (0.99, 10.0), (1.0, 10.0)]
)
def test_percentile_is_a_measured_value(share: float, expected: float) -> None:
    """Nearest rank: never a number between two measurements."""
    values = [float(n) for n in range(10, 0, -1)]
    assert expected == summary.percentile(values, share)


def test_nothing_measured_has_no_spread() -> None:
    """An absent number must not look like a zero."""
    assert summary.spread([]) is None
    assert summary.Spread(2.0, 1.0, 4.0) == summary.spread([4.0, 1.0, 2.0])


def test_ratio_is_paired_by_round() -> None:
    """A slow moment of the machine hits both peers of a round, so it cancels."""
    run = results(headrace=[10.0, 100.0, 10.0], nginx=[10.0, 100.0, 20.0])
    assert results_ratio(run) == pytest.approx(1.0)


def results_ratio(run: Results) -> float | None:
    return run.ratio("headrace", "stream", "nginx")


def test_failed_work_earns_no_credit() -> None:
    """A repetition with a failure takes no part in a comparison."""
    run = results(headrace=[10.0], nginx=[10.0])
    run.samples["nginx"] = [sample("stream", 0, 1.0, failures={"status 500": 1})]
    assert run.cpu_us("nginx", "stream") is None
    assert results_ratio(run) is None
    assert "open" == verdict(run, "nginx").state


def test_the_cheapest_llm_router_is_the_one_to_beat() -> None:
    """Plain proxies do not count as routers, and the cheapest router is found, not named."""
    run = results(headrace=[14.0], nginx=[10.0], vllm_router=[16.0], sglang_router=[20.0])
    found = verdict(run, "cheapest LLM router")
    assert "VLLM-ROUTER" == found.against
    assert 0.875 == pytest.approx(found.measured)
    assert "pass" == found.state


def test_a_bar_can_ask_for_at_least() -> None:
    """LiteLLM has to be at least 25 times as dear: more is better there."""
    assert "pass" == verdict(results(headrace=[10.0], litellm=[300.0]), "LiteLLM").state
    assert "miss" == verdict(results(headrace=[10.0], litellm=[200.0]), "LiteLLM").state


def test_added_ttft_takes_off_the_load_without_a_proxy() -> None:
    """Only what the proxy adds is compared, and the best router is the one to beat."""
    run = results(headrace=[1.0], vllm_router=[1.0])
    times = {DIRECT: 1.0, "headrace": 1.5, "vllm-router": 2.0}
    run.samples = {name: [sample("stream", 0, 1.0, ttft_ms=[ms])] for name, ms in times.items()}
    found = verdict(run, "Added TTFT")
    assert -0.5 == pytest.approx(found.measured)
    assert "pass" == found.state


def test_noise_does_not_clear_the_ttft_bar() -> None:
    """Where the load without a proxy was slower than with one, nothing can be said."""
    run = results(headrace=[1.0], vllm_router=[1.0])
    times = {DIRECT: 35.0, "headrace": 1.5, "vllm-router": 2.0}
    run.samples = {name: [sample("stream", 0, 1.0, ttft_ms=[ms])] for name, ms in times.items()}
    assert "open" == verdict(run, "Added TTFT").state


@pytest.mark.parametrize(
    ("base", "own", "state"), [(20, 60, "pass"), (20, 90, "miss"), (183, 70, "open")]
)
def test_noise_does_not_clear_the_stall_bar(base: float, own: float, state: str) -> None:
    """A harness that stalls by itself for longer than the bar allows cannot judge it."""
    run = results(headrace=[1.0])
    for name, gap in ((DIRECT, base), ("headrace", own)):
        run.add(name, sample("stall", 0, 1.0, gap_worst_ms=gap))
    assert state == verdict(run, "Stall").state


def test_a_peer_that_failed_in_some_rounds_is_not_judged() -> None:
    """One good round beside the medians of others is no comparison, and the table says so."""
    run = results(headrace=[10.0], nginx=[10.0, 20.0, 30.0])
    assert "open" == verdict(run, "nginx").state
    assert "10.0, 1 of 3 rounds" in report.markdown(run)
    assert "HEADRACE" not in report.drawing(run)


def test_a_busy_machine_is_called_unreliable() -> None:
    """Bars measured beside somebody else's load carry the warning, even if most of it was quiet."""
    run = results(nginx=[10.0])
    assert "unreliable" not in report.markdown(run)
    disturbed = dataclasses.replace(run.samples["nginx"][0], foreign_cores=0.8)
    run.samples["nginx"] = [*run.samples["nginx"] * 4, disturbed]
    assert "Bars (unreliable: other processes took 0.8 cores)" in report.markdown(run)


def test_busy_time_leaves_out_idling() -> None:
    """User, nice, system, interrupts and stolen time are load; idle and waiting are not."""
    text = "cpu  100 20 30 9000 800 4 5 41 7 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n"
    assert 2.0 == process.parse_busy(text, ticks_per_s=100)


def test_every_bar_is_open_without_measurements() -> None:
    """What was not measured is neither passed nor missed."""
    assert {"open"} == {one.state for one in bars.judge(Results(plan=FULL))}


def test_a_peer_that_is_missing_is_reported() -> None:
    """Never silently dropped: the table says why a peer has no numbers."""
    run = results(headrace=[10.0], envoy=[20.0])
    run.missing["envoy"] = "no such package"
    assert "| ENVOY | not measured: no such package |" in report.markdown(run)


def test_tables_are_rectangular() -> None:
    """Every row has as many cells as its head, whatever is missing."""
    run = results(headrace=[10.0, 11.0], nginx=[9.0], litellm=[500.0])
    run.missing["litellm"] = "offline"
    for table in report.tables(run):
        assert {len(table.head)} >= {len(row) for row in table.rows}


def test_the_chart_is_well_formed_and_cuts_what_is_far_off() -> None:
    """One bar hundreds of times longer than the rest must not flatten them."""
    rows = [chart.Row("a <b>", 10.0, ours=True), chart.Row("c", 12.0), chart.Row("d", 9_000.0)]
    assert 12.0 == chart.scale([row.value for row in rows])
    root = ET.fromstring(chart.draw("t", [("p", rows)], "n"))
    widths = [float(bar.attrib["width"]) for bar in root.iter("{http://www.w3.org/2000/svg}rect")]
    assert widths[1] == widths[2] == max(widths)
    assert 2 == len(list(root.iter("{http://www.w3.org/2000/svg}path")))


def test_a_stream_counts_only_whole() -> None:
    """A lost chunk, a missing [DONE] or an error status is a failure, however cheap it was."""
    body = b'data: {" tok"}\n\ndata: {" tak"}\n\ndata: [DONE]\n\n'
    assert not wrong_stream(200, body, 2)
    assert "2 of 3 chunks" == wrong_stream(200, body, 3)
    assert "no [DONE]" == wrong_stream(200, body[:-14], 2)
    assert "status 503" == wrong_stream(503, b"", 2)


def test_a_whole_answer_proves_that_the_prompt_arrived() -> None:
    """The engine's usage is the body's length, so a proxy that cut the prompt is found out."""
    assert not wrong_whole(200, b'{"usage":{"prompt_tokens": 2500}}', 2_400)
    assert "the prompt was cut" == wrong_whole(200, b'{"usage":{"prompt_tokens":99}}', 2_400)
    assert "no usage" == wrong_whole(200, b"{}", 2_400)


def test_prompts_are_the_same_on_every_machine() -> None:
    """Results can be compared: the same size gives the same different bodies, ending whole."""
    first, second = prompts.bodies(2_400, stream=True, tokens=5)[:2]
    assert first == prompts.bodies(2_400, stream=True, tokens=5)[0]
    assert first != second
    assert first.count(END_MARK.encode()) == 1
    assert len(first) - len(second) == 0


def test_metrics_are_as_long_as_vllms() -> None:
    """Scraping a replica costs what it costs with vLLM 0.32, whose /metrics has 59 kB."""
    assert 59_000 == pytest.approx(len(exposition.render(3)), rel=0.1)
    assert b'vllm:num_requests_running{engine="0",model_name="bench"} 3.0\n' in exposition.render(3)


def test_every_job_is_bounded() -> None:
    """Nothing the harness sends can run on for ever."""
    jobs = load(FULL, 1).values()
    assert all(0 < job.max_s <= 30 and job.rounds > 0 for job in jobs)


def test_peers_have_names_of_their_own_and_pinned_packages() -> None:
    """Two rows never share results, and a run next year installs the same programs."""
    names = [peer.name for peer in PEERS]
    assert len(set(names)) == len(names)
    assert all("==" in package for peer in PEERS for package in peer.requirements)


def test_everything_on(tmp_path: Path) -> None:
    """The key that the client sends is one that this configuration lets in, with limits."""
    config = Config.model_validate(everything.everything(tmp_path))
    book = msgspec.json.decode((tmp_path / "keys.json").read_bytes(), type=Book)
    pepper = keys.pepper_of((tmp_path / "pepper").read_text())
    (secret,) = book.keys["load"].secrets

    assert keys.is_whole(prompts.KEY.encode())
    assert secret.hash == keys.hash_of(pepper, prompts.KEY.encode()).hex()
    assert "false" == config.identity.anonymous
    assert config.limits.tenant.requests_per_minute
    assert b"authorization: Bearer " + prompts.KEY.encode() in prompts.request(1, b"{}")


def test_without_a_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    """The row that needs one says what to set, and is not measured."""
    monkeypatch.delenv("HEADRACE_BENCH_REDIS", raising=False)
    with pytest.raises(Missing, match="HEADRACE_BENCH_REDIS"):
        everything.redis()
    monkeypatch.setenv("HEADRACE_BENCH_REDIS", "redis://localhost:1/0")

    assert "redis://localhost:1/0" == everything.redis()


def test_bars_with_everything_on() -> None:
    """Such a gateway is held to the same limits beside the same peers."""
    run = results(headrace_full=[20.0], nginx=[10.0], vllm_router=[25.0])

    assert 2.0 == verdict(run, "Everything on: CPU per chunk / nginx").measured
    assert "miss" == verdict(run, "Everything on: CPU per chunk / nginx").state
    assert "pass" == verdict(run, "Everything on: CPU per chunk / cheapest LLM").state
