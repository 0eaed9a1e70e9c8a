"""
A decision record as a tree of spans, made after the request from its phases. Imported only where
there is a collector: it knows the OpenTelemetry SDK, and nothing else does.

Names follow https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/ and
https://opentelemetry.io/docs/specs/semconv/http/http-spans/; what is ours begins with `headrace.`.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import msgspec
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.id_generator import IdGenerator, RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from headrace.telemetry.decisions import Candidate, Phase, Story, Tried

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
US = timedelta(microseconds=1)

# What an endpoint is called in gen_ai.operation.name; others do not generate anything.
OPERATIONS = {
    "/v1/chat/completions": "chat",
    "/v1/messages": "chat",
    "/v1/responses": "chat",
    "/v1/completions": "text_completion",
    "/v1/embeddings": "embeddings",
}
# The phases of an attempt that its own span shows; all others are children of the server's span.
OF_ATTEMPTS = {"connect", "prefill", "decode", "answer", "failed"}
NAMES = {"connect": "connect", "decode": "stream"}
SAMPLED = TraceFlags(TraceFlags.SAMPLED)

Values = Mapping[str, object]


class Spans:
    """Makes spans. For one thread."""

    def __init__(self, service: str, version: str) -> None:
        self._ids = _Ids()
        self._done = _Done()
        provider = TracerProvider(
            resource=Resource.create({"service.name": service, "service.version": version}),
            sampler=ALWAYS_ON,  # what comes here was chosen before
            id_generator=self._ids,
            shutdown_on_exit=False,
        )
        provider.add_span_processor(self._done)
        self._tracer = provider.get_tracer("headrace", version)

    def of(self, story: Story) -> list[ReadableSpan]:
        """The tree of one request, children before their parents."""
        began = (story.began - EPOCH) // US * 1000
        trace = int(story.trace_id, 16)
        before = story.phases[0] if story.phases and story.phases[0].what == "edge" else None
        # An edge that traces has a span of its own for its time; for any other, ours has it.
        start = began + _ns(before.end_ms) if before and story.parent_id else began
        end = max((story.ended - EPOCH) // US * 1000, start)
        root = self._begin(
            f"{story.facts.method} {story.facts.endpoint}",
            (trace, int(story.span_id, 16), int(story.parent_id, 16) if story.parent_id else 0),
            SpanKind.SERVER,
            start,
            _of_request(story),
        )
        if _is_failure(story):
            root.set_status(Status(StatusCode.ERROR, story.error or story.outcome))
        for phase in story.phases:
            if phase.what not in OF_ATTEMPTS and (phase is not before or not story.parent_id):
                self._phase(phase, root, began, story)
        for number, each in enumerate(story.attempts, 1):
            self._attempt(story, each, number, (root, began))
        for told in story.told:
            root.add_event(
                f"headrace.{told.who}",
                {"outcome": told.outcome, "detail": told.detail},
                began + _ns(told.at_ms),
            )
        root.end(end)
        return self._done.take()

    # --- below -----------------------------------------------------------------------------

    def _phase(self, phase: Phase, parent: Span, began: int, story: Story) -> None:
        context = parent.get_span_context()
        attributes: dict[str, object] = {}
        if phase.attempt:
            attributes["headrace.attempt"] = phase.attempt
        if phase.what == "route" and phase.attempt <= len(story.attempts):
            attributes |= _of_decision(story.attempts[phase.attempt - 1])
        span = self._begin(
            NAMES.get(phase.what, phase.what),
            (context.trace_id, 0, context.span_id),
            SpanKind.INTERNAL,
            began + _ns(phase.start_ms),
            attributes,
        )
        span.end(began + _ns(phase.end_ms))

    def _attempt(self, story: Story, each: Tried, number: int, under: tuple[Span, int]) -> None:
        root, began = under
        above = root.get_span_context()
        operation = OPERATIONS.get(story.facts.endpoint)
        span = self._begin(
            f"{operation} {story.served}" if operation else f"attempt {number}",
            (above.trace_id, int(each.span_id or "0", 16), above.span_id),
            SpanKind.CLIENT,
            began + _ns(each.started_ms),
            _of_attempt(story, each, number),
        )
        if each.outcome in {"failed", "refused"}:
            span.set_status(Status(StatusCode.ERROR, each.error))
        for phase in story.phases:
            if phase.attempt != number or phase.what not in OF_ATTEMPTS:
                continue
            if phase.what == "decode":
                span.add_event("first_byte", timestamp=began + _ns(phase.start_ms))
            if phase.what in NAMES:
                self._phase(phase, span, began, story)
        span.end(began + _ns(each.ended_ms))

    def _begin(
        self,
        name: str,
        ids: tuple[int, int, int],
        kind: SpanKind,
        start: int,
        attributes: Values,
    ) -> Span:
        """A span with these ids: trace, its own (0: any), its parent's (0: none)."""
        trace, own, parent = ids
        self._ids.trace, self._ids.span = trace, own
        above = SpanContext(trace, parent, is_remote=kind is SpanKind.SERVER, trace_flags=SAMPLED)
        return self._tracer.start_span(  # type: ignore[return-value] # the SDK's are Spans
            name,
            context=set_span_in_context(NonRecordingSpan(above)) if parent else None,
            kind=kind,
            attributes={key: value for key, value in attributes.items() if value not in _NONE},  # type: ignore[misc] # the functions below make no others
            start_time=start,
        )


_NONE = (None, "")


class _Ids(IdGenerator):
    """The ids that the request and its attempts have had already; any for the rest."""

    def __init__(self) -> None:
        self._any = RandomIdGenerator()
        self.trace = self.span = 0

    def generate_trace_id(self) -> int:
        return self.trace

    def generate_span_id(self) -> int:
        return self.span or self._any.generate_span_id()


class _Done(SpanProcessor):
    """Collects what has ended."""

    def __init__(self) -> None:
        self._spans: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        self._spans.append(span)

    def take(self) -> list[ReadableSpan]:
        spans, self._spans = self._spans, []
        return spans


def _of_request(story: Story) -> Values:
    facts, judged = story.facts, story.judged
    return {
        "http.request.method": facts.method,
        "http.route": facts.endpoint,
        "http.response.status_code": story.status or None,
        "http.request.body.size": facts.bytes_in,
        "http.response.body.size": story.bytes_out,
        "error.type": story.outcome if _is_failure(story) else None,
        **_gen_ai(story),
        "headrace.request_id": story.request_id,
        "headrace.outcome": story.outcome,
        "headrace.replica": story.replica,
        "headrace.attempts": len(story.attempts),
        "headrace.tenant": story.tenant,
        "headrace.key": story.key,
        "headrace.rule": story.rule,
        "headrace.arm": story.arm,
        "headrace.class": judged.name if judged is not None else None,
        "headrace.usage.estimated": story.estimated or None,
        "headrace.inter_token_latency.p50_ms": story.itl_p50_ms,
        "headrace.inter_token_latency.p99_ms": story.itl_p99_ms,
    }


def _gen_ai(story: Story) -> Values:
    facts = story.facts
    operation = OPERATIONS.get(facts.endpoint)
    if operation is None:
        return {}
    ttft = story.ttft_ms / 1000 if story.ttft_ms is not None else None
    return {
        "gen_ai.operation.name": operation,
        # Whose API it is that the engine speaks; the convention knows no engines.
        "gen_ai.provider.name": "anthropic" if facts.endpoint == "/v1/messages" else "openai",
        "gen_ai.request.model": facts.model,
        "gen_ai.response.model": story.served,
        "gen_ai.request.max_tokens": facts.max_tokens or None,
        "gen_ai.request.stream": facts.stream,
        "gen_ai.response.time_to_first_chunk": ttft,
        "gen_ai.usage.input_tokens": story.tokens_in,
        "gen_ai.usage.output_tokens": story.tokens_out,
        "gen_ai.usage.cache_read.input_tokens": story.tokens_cached,
    }


def _of_attempt(story: Story, each: Tried, number: int) -> Values:
    own: dict[str, object] = {
        "http.request.method": story.facts.method,
        "http.request.resend_count": number - 1 or None,
        "http.response.status_code": each.status or None,
        "error.type": (str(each.status) if each.status else "connection")
        if each.outcome in {"failed", "refused"}
        else None,
        "headrace.attempt": number,
        "headrace.replica": each.replica,
        "headrace.attempt.outcome": each.outcome,
        "headrace.connection": each.connection,
        "headrace.predicted.cached_tokens": each.cached_tokens,
        "headrace.predicted.wait_ms": each.wait_ms,
        "headrace.predicted.prefill_ms": each.prefill_ms,
    }
    last = number == len(story.attempts)
    return {**(_gen_ai(story) if last else {}), **own}


def _of_decision(each: Tried) -> dict[str, object]:
    found: dict[str, object] = {
        "headrace.replica": each.replica,
        "headrace.decision.policy": each.policy,
        "headrace.decision.reason": each.reason,
        "headrace.decision.why": each.why,
        "headrace.decision.runner_up": each.runner_up,
        "headrace.decision.gap_ms": each.gap_ms,
        "headrace.decision.prompt_tokens": each.prompt_tokens,
        "headrace.queued_ms": each.queued_ms,
    }
    if len(each.candidates) > 1:
        found["headrace.candidates"] = [one.replica for one in each.candidates]
        found |= _scores(each.candidates)
    return found


def _scores(candidates: Sequence[Candidate]) -> dict[str, object]:
    """
    The costs as numbers beside the names; all terms as one JSON text, since each number in an
    attribute costs the library 3 us.
    """
    if any(one.cost_ms is None for one in candidates):
        return {}
    return {
        "headrace.candidates.cost_ms": [one.cost_ms for one in candidates],
        "headrace.candidates.terms": msgspec.json.encode(candidates).decode(),
    }


def _is_failure(story: Story) -> bool:
    """A server's error in HTTP's sense: what a client did wrong is none."""
    return story.status >= 500 or story.outcome.startswith(("upstream_failed", "timed_out"))


def _ns(ms: float) -> int:
    return round(ms * 1000) * 1000
