"""spans.py: a decision record as spans, in the names of the semantic conventions."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes as gen_ai
from opentelemetry.semconv.attributes import error_attributes, http_attributes
from opentelemetry.trace import SpanKind, StatusCode

from headrace.telemetry import spans as module
from headrace.telemetry.decisions import Candidate, Facts, Phase, Story, Told, Tried
from headrace.telemetry.spans import Spans
from headrace.types import Class

BEGAN = datetime(2026, 11, 21, 12, 0, 0, 250, tzinfo=UTC)
TRACE, OWN, PARENT, TRIED = "1" * 32, "2" * 16, "3" * 16, "4" * 16
NS = 1_000_000  # in a millisecond

TOLD = Story(
    request_id="r", began=BEGAN, ended=BEGAN + timedelta(milliseconds=100), outcome="completed",
    status=200, total_ms=90.0,
    facts=Facts("/v1/chat/completions", "alias", stream=True, prompt_tokens=9, max_tokens=50),
    phases=(
        Phase("edge", 0.0, 5.0), Phase("receive", 5.0, 10.0), Phase("admit", 10.0, 11.0),
        Phase("queue", 11.0, 30.0, 1), Phase("route", 30.0, 31.0, 1),
        Phase("connect", 31.0, 32.0, 1), Phase("prefill", 32.0, 60.0, 1),
        Phase("decode", 60.0, 100.0, 1),
    ),
    attempts=(
        Tried(
            "gpu-1", "answered", "lowest cost", "lowest_cost", "Since.", "gpu-2", 4.5,
            started_ms=31.0, ended_ms=100.0, span_id=TRIED, status=200, connection="new",
            candidates=(Candidate("gpu-1", cost_ms=1.0), Candidate("gpu-2", cost_ms=5.5)),
        ),
    ),
    told=(Told("limits", "reserved", 10.5, "9 of 100"),),
    served="m", tokens_in=9, tokens_out=7, tokens_cached=4, ttft_ms=50.0, trace_id=TRACE,
    span_id=OWN, parent_id=PARENT, judged=Class("fast", 0.9, "examples"),
)  # fmt: skip


def spans(**more: Any) -> dict[str, ReadableSpan]:
    found = Spans("gw", "1").of(msgspec.structs.replace(TOLD, **more))
    return {span.name: span for span in found}


def span_id(span: ReadableSpan) -> str:
    assert span.context is not None
    return f"{span.context.span_id:016x}"


def test_the_tree() -> None:
    """The caller's span is above ours, ours above phases and attempts, theirs above a stream."""
    found = spans()
    above = {
        name: f"{span.parent.span_id:016x}" if span.parent is not None else ""
        for name, span in found.items()
    }

    assert {
        "POST /v1/chat/completions": PARENT, "receive": OWN, "admit": OWN, "queue": OWN,
        "route": OWN, "chat m": OWN, "connect": TRIED, "stream": TRIED,
    } == above  # fmt: skip
    assert (OWN, TRIED) == (span_id(found["POST /v1/chat/completions"]), span_id(found["chat m"]))
    assert {int(TRACE, 16)} == {span.context.trace_id for span in found.values() if span.context}
    assert SpanKind.SERVER is found["POST /v1/chat/completions"].kind
    assert SpanKind.CLIENT is found["chat m"].kind


def test_times() -> None:
    """To the microsecond; the edge's time is the edge's, unless it has no span of its own."""
    began = (BEGAN - module.EPOCH) // module.US * 1000
    found, alone = spans(), spans(parent_id="")
    server = found["POST /v1/chat/completions"]

    assert (began + 5 * NS, began + 100 * NS) == (server.start_time, server.end_time)
    assert (began + 11 * NS, began + 30 * NS) == (
        found["queue"].start_time, found["queue"].end_time
    )  # fmt: skip
    assert began + 31 * NS == found["chat m"].start_time
    [first_byte] = found["chat m"].events
    assert began + 60 * NS == first_byte.timestamp
    assert began == alone["POST /v1/chat/completions"].start_time == alone["edge"].start_time
    assert alone["POST /v1/chat/completions"].parent is None


def test_semantic_conventions() -> None:
    """Attributes have the names that the conventions give them, with what they mean by them."""
    found = spans()
    attributes = dict(found["POST /v1/chat/completions"].attributes or {})

    expected = {
        gen_ai.GEN_AI_OPERATION_NAME: gen_ai.GenAiOperationNameValues.CHAT.value,
        gen_ai.GEN_AI_PROVIDER_NAME: gen_ai.GenAiProviderNameValues.OPENAI.value,
        gen_ai.GEN_AI_REQUEST_MODEL: "alias",
        gen_ai.GEN_AI_RESPONSE_MODEL: "m",
        gen_ai.GEN_AI_REQUEST_MAX_TOKENS: 50,
        gen_ai.GEN_AI_REQUEST_STREAM: True,
        gen_ai.GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK: 0.05,
        gen_ai.GEN_AI_USAGE_INPUT_TOKENS: 9,
        gen_ai.GEN_AI_USAGE_OUTPUT_TOKENS: 7,
        gen_ai.GEN_AI_USAGE_CACHE_READ_INPUT_TOKENS: 4,
        http_attributes.HTTP_REQUEST_METHOD: "POST",
        http_attributes.HTTP_ROUTE: "/v1/chat/completions",
        http_attributes.HTTP_RESPONSE_STATUS_CODE: 200,
        "headrace.class": "fast",
    }
    assert expected.items() <= attributes.items()
    assert error_attributes.ERROR_TYPE not in attributes
    assert expected[gen_ai.GEN_AI_REQUEST_MODEL] == (found["chat m"].attributes or {}).get(
        gen_ai.GEN_AI_REQUEST_MODEL
    )


def test_the_decision() -> None:
    """The route span holds every candidate with its terms; the door's decisions are events."""
    found = spans()
    route = dict(found["route"].attributes or {})

    assert ("gpu-1", "gpu-2") == route["headrace.candidates"]
    assert (1.0, 5.5) == route["headrace.candidates.cost_ms"]
    terms = msgspec.json.decode(str(route["headrace.candidates.terms"]), type=list[Candidate])
    assert list(TOLD.attempts[0].candidates) == terms
    assert ("Since.", 4.5) == (route["headrace.decision.why"], route["headrace.decision.gap_ms"])
    [event] = found["POST /v1/chat/completions"].events
    assert "headrace.limits" == event.name


@pytest.mark.parametrize(
    ("outcome", "status", "code"),
    [
        ("completed", 200, StatusCode.UNSET),
        ("client_gone", 200, StatusCode.UNSET),
        ("rejected_not_found", 404, StatusCode.UNSET),
        ("rejected_overloaded", 503, StatusCode.ERROR),
        ("upstream_failed_midstream", 200, StatusCode.ERROR),
        ("timed_out_chunk", 200, StatusCode.ERROR),
    ],
)
def test_errors(outcome: str, status: int, code: StatusCode) -> None:
    """A server's span is an error when the server failed, not when the client did."""
    root = spans(outcome=outcome, status=status)["POST /v1/chat/completions"]

    assert code is root.status.status_code
    assert (code is StatusCode.ERROR) is ("error.type" in (root.attributes or {}))


def test_other_endpoints() -> None:
    """What generates nothing has no gen_ai attributes, and its attempts are numbered."""
    facts = Facts("/v1/rerank", "m", stream=False, prompt_tokens=1)
    found = spans(facts=facts)

    assert "attempt 1" in found
    assert not any(name.startswith("gen_ai") for name in found["POST /v1/rerank"].attributes or {})


def test_every_operation_is_known() -> None:
    """Operation names are those of the conventions."""
    known = {each.value for each in gen_ai.GenAiOperationNameValues}

    assert set(module.OPERATIONS.values()) <= known
