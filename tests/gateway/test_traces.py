"""Traces of a real gateway as a collector sees them: whole trees, whatever became of requests."""

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from headrace.conformance import answers
from headrace.errors import StartError
from headrace.gateway.app import Gateway
from tests.edge.rig import CHAT_PATH, Rig, ask, eventually, streamed
from tests.telemetry.collector import CLIENT, SERVER, Collector, values

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED = f"00-{TRACE}-{PARENT}-01"


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as each:
        yield each


def traced(collector: Collector, **more: Any) -> dict[str, Any]:
    return {"endpoint": collector.url, "interval_s": 0.02, "share": 1.0, **more}


async def until(collector: Collector, enough: Callable[[], bool]) -> None:
    await asyncio.get_running_loop().run_in_executor(None, collector.wait, enough)


async def tree(collector: Collector, requests: int = 1) -> Span:
    """The server's span of the latest request, once so many have come whole."""
    await until(collector, lambda: len(collector.roots()) >= requests)
    return collector.roots()[-1]


def names(spans: list[Span]) -> list[str]:
    return [span.name for span in spans]


async def test_a_streamed_request(rig: Rig, collector: Collector) -> None:
    """One tree from the caller's span to the engine: phases, the attempt, its first byte."""
    engine = await rig.engine()
    await rig.engine()
    await rig.gateway(tracing=traced(collector))
    answer = await rig.post(streamed(max_tokens=9), traceparent=SAMPLED, tracestate="a=b")
    root = await tree(collector)
    children = collector.under(root)
    [attempt] = [span for span in children if span.kind == CLIENT]
    seen = (engine.exchanges or rig.engines[1].exchanges)[0]

    assert "POST /v1/chat/completions" == root.name
    assert (TRACE, PARENT) == (root.trace_id.hex(), root.parent_span_id.hex())
    assert ["receive", "admit", "route", "chat m"] == names(children)
    assert ["connect", "stream"] == names(collector.under(attempt))
    assert ["first_byte"] == [event.name for event in attempt.events]
    assert f"00-{TRACE}-{attempt.span_id.hex()}-01" == seen.header("traceparent")
    assert "a=b" == seen.header("tracestate")
    of_root, of_route = values(root.attributes), values(children[2].attributes)
    assert {
        "gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "m", "gen_ai.response.model": "m", "gen_ai.request.max_tokens": 9,
        "gen_ai.usage.output_tokens": 8, "http.response.status_code": 200,
        "headrace.request_id": answer.header("x-request-id"), "headrace.outcome": "completed",
    }.items() <= of_root.items()  # fmt: skip
    assert 2 == len(of_route["headrace.candidates"]) == len(of_route["headrace.candidates.cost_ms"])
    assert of_route["headrace.decision.why"]
    assert Status.STATUS_CODE_UNSET == root.status.code


async def test_times_are_within_their_parents(rig: Rig, collector: Collector) -> None:
    """Each span begins and ends within the one above it, and none is longer than the request."""
    await rig.engine()
    await rig.gateway(tracing=traced(collector))
    await rig.post(streamed())
    root = await tree(collector)

    def check(parent: Span) -> None:
        for span in collector.under(parent):
            assert parent.start_time_unix_nano <= span.start_time_unix_nano + 2000
            assert span.start_time_unix_nano <= span.end_time_unix_nano
            assert span.end_time_unix_nano <= parent.end_time_unix_nano + 2000
            check(span)

    check(root)
    assert 7 == len({span.span_id for span in collector.spans}) == len(collector.spans)
    assert {root.trace_id} == {span.trace_id for span in collector.spans}


async def test_a_retried_request(rig: Rig, collector: Collector) -> None:
    """Each attempt has its span, with its replica, its status and an id of its own upstream."""
    busy = answers.says(503, answers.error(503, "full"))
    first, second = await rig.engine(busy), await rig.engine(busy)
    await rig.engine()
    gateway = await rig.gateway(tracing=traced(collector), retries={"attempts": 3})
    for number in range(40):  # whose prompts' hashes differ
        await rig.post(ask(messages=[{"role": "user", "content": f"{number} {'x' * 400}"}]))
        if gateway.records[-1].attempts == 3:
            break
    else:
        pytest.fail("both that refuse were never tried first")
    root = await tree(collector, len(gateway.records))
    children = collector.under(root)
    attempts = [span for span in children if span.kind == CLIENT]
    sent = [(engine.exchanges[-1].header("traceparent") or "")[36:52] for engine in rig.engines]

    assert 3 == len(attempts)
    assert ["route", "chat m"] * 3 == names(children)[2:]
    assert {*sent} == {span.span_id.hex() for span in attempts}
    assert [503, 503, 200] == [
        values(span.attributes)["http.response.status_code"] for span in attempts
    ]
    assert [Status.STATUS_CODE_ERROR] * 2 == [span.status.code for span in attempts[:2]]
    assert 2 == values(attempts[2].attributes)["http.request.resend_count"]
    assert first.exchanges
    assert second.exchanges


async def test_an_aborted_request(rig: Rig, collector: Collector) -> None:
    """A client that hangs up leaves a whole tree, which is no server's error."""
    asked = asyncio.Event()

    async def silent(_exchange: Any) -> None:
        asked.set()
        await asyncio.sleep(30)

    await rig.engine(silent)
    await rig.gateway(tracing=traced(collector))
    async with rig.client() as client:
        post = asyncio.ensure_future(client.post(CHAT_PATH, streamed()))
        await asked.wait()
        client.close()
        post.cancel()  # nobody tells it that its own socket is closed
        await asyncio.gather(post, return_exceptions=True)
    root = await tree(collector)
    [attempt] = [span for span in collector.under(root) if span.kind == CLIENT]

    assert "client_gone" == values(root.attributes)["headrace.outcome"]
    assert "aborted" == values(attempt.attributes)["headrace.attempt.outcome"]
    assert Status.STATUS_CODE_UNSET == root.status.code
    assert attempt.end_time_unix_nano > attempt.start_time_unix_nano


async def test_one_id_everywhere(rig: Rig, collector: Collector, tmp_path: Path) -> None:
    """A client's trace id is in the span, the log line, the decision record and at the engine."""
    engine = await rig.engine()
    log = tmp_path / "log"
    gateway = await rig.gateway(tracing=traced(collector), logging={"requests": True, "file": log})
    await rig.post(ask(), traceparent=SAMPLED)
    root = await tree(collector)
    gateway.log.flush()
    [line] = [each for each in map(json.loads, log.read_text().splitlines()) if "status" in each]
    assert gateway.diary.ring is not None
    told = gateway.diary.ring.latest[0].tell()

    assert TRACE == root.trace_id.hex() == line["trace_id"] == told.trace_id
    assert root.span_id.hex() == line["span_id"] == told.span_id
    assert (engine.exchanges[0].header("traceparent") or "").startswith(f"00-{TRACE}-")
    assert PARENT == told.parent_id


async def test_what_is_not_sampled(rig: Rig, collector: Collector) -> None:
    """A caller's flag decides for all that come after; what fails is told nevertheless."""
    engine = await rig.engine()
    gateway = await rig.gateway(tracing=traced(collector, share=0.0))
    await rig.post(ask(), traceparent=f"00-{TRACE}-{PARENT}-00")
    await rig.post(ask())
    flags = [(exchange.header("traceparent") or "")[-2:] for exchange in engine.exchanges]
    await engine.stop()
    failed = await rig.post(ask())
    root = await tree(collector)

    assert ["00", "00"] == flags
    assert failed.header("x-request-id") == values(root.attributes)["headrace.request_id"]
    assert Status.STATUS_CODE_ERROR == root.status.code
    assert 1 == len(collector.roots())
    await eventually(lambda: gateway.diary.seen().sent.exported == len(collector.spans))
    assert all(record.trace_id for record in gateway.records)


async def test_what_was_refused(rig: Rig, collector: Collector) -> None:
    """A request that had no endpoint has a span, too, if it is sampled."""
    await rig.engine()
    await rig.gateway(tracing=traced(collector))
    async with rig.client() as client:
        await client.post("/v1/nothing", {}, [("traceparent", SAMPLED)])
    root = await tree(collector)

    assert 404 == values(root.attributes)["http.response.status_code"]
    assert TRACE == root.trace_id.hex()
    assert SERVER == root.kind


async def test_what_an_export_carries(rig: Rig, collector: Collector) -> None:
    """The service's name and version, and the configured headers."""
    await rig.engine()
    await rig.gateway(tracing=traced(collector, service="gw-1", headers={"x-scope-orgid": "t1"}))
    await rig.post(ask())
    await tree(collector)

    assert "gw-1" == collector.resources[0]["service.name"]
    assert collector.resources[0]["service.version"]
    assert "t1" == collector.headers[0]["x-scope-orgid"]


async def test_no_prompt_and_no_key_leaves(rig: Rig, collector: Collector, tmp_path: Path) -> None:
    """Neither spans nor log lines nor decision records hold what was said, or a secret."""
    await rig.engine(answers.like_vllm)
    log = tmp_path / "log"
    gateway = await rig.gateway(tracing=traced(collector), logging={"requests": True, "file": log})
    secret = {"role": "user", "content": "my diary: s3cret-words"}
    async with rig.client() as client:
        headers = [("authorization", "Bearer s3cret-key"), ("x-api-key", "s3cret-key")]
        await client.post(CHAT_PATH, streamed(messages=[secret], user="s3cret-user"), headers)
        await client.post("/v1/chat/completions?key=s3cret-key", b"{s3cret", headers)
    await tree(collector, 2)
    gateway.log.flush()
    assert gateway.diary.ring is not None
    told = [repr(kept.tell()) for kept in gateway.diary.ring.latest]

    assert 2 == len(told)
    for text in (*told, log.read_text(), *map(str, collector.spans)):
        assert "s3cret" not in text


async def test_a_missing_package_is_said(monkeypatch: pytest.MonkeyPatch, rig: Rig) -> None:
    """Without the extra the gateway does not start, and says what to install."""
    import importlib

    usual = importlib.import_module

    def without(name: str, package: str | None = None) -> Any:
        if name.startswith("opentelemetry"):
            raise ModuleNotFoundError("no", name="opentelemetry")
        return usual(name, package)

    monkeypatch.setattr(importlib, "import_module", without)
    with pytest.raises(
        StartError, match=r"needs the package opentelemetry; install `headrace\[otlp\]`"
    ):
        await rig.gateway(tracing={"endpoint": "http://127.0.0.1:9"})


async def test_a_file_of_an_authority_is_there(rig: Rig, tmp_path: Path) -> None:
    """A CA that is not there is found at the start, not at the first export."""
    tracing = {"endpoint": "https://127.0.0.1:9", "ca": tmp_path / "none.pem"}
    with pytest.raises(StartError, match=r"`tracing.ca`: there is no file"):
        await rig.gateway(tracing=tracing)


async def test_a_lost_collector_costs_nothing(rig: Rig, collector: Collector) -> None:
    """Requests go on, lost spans are counted, and the log says so once, and when it is back."""
    await rig.engine()
    gateway = await rig.gateway(tracing=traced(collector, timeout_s=10))
    told: list[str] = []
    tracing = gateway.diary.tracing
    assert tracing is not None
    tracing._event = lambda name, **_: told.append(name)
    collector.status = 400
    for _ in range(3):
        assert 200 == (await rig.post(ask())).status
    await until(collector, lambda: gateway.diary.seen().sent.failed >= 3)
    collector.status = 200
    await rig.post(ask())
    await tree(collector)
    await until(collector, lambda: "traces_back" in told)

    assert ["traces_lost", "traces_back"] == told
    assert isinstance(gateway, Gateway)
