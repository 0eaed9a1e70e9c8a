"""Cases 12 and 13: which headers pass, and the id of every answer."""

import re

from headrace.conformance import answers
from headrace.conformance.stage import CHAT, Stage
from headrace.conformance.wire import Answer

SECRET = "sk-conformance-of-the-client"  # noqa: S105 - a bait that must not reach the engine
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
SAFE = re.compile(r"[A-Za-z0-9._:/+=-]{1,200}")
UNSAFE_IDS = ("a b", 'a"b', "a{b}", "<script>", "x" * 600)


async def hop_by_hop(stage: Stage) -> None:
    """Hop-by-hop headers stop at the gateway both ways; tracing and retry hints pass."""
    hop = [("connection", "keep-alive, x-only-here"), ("x-only-here", "1")]
    play = stage.play(
        answers.says(200, answers.chat_body(stage.model), *hop, ("x-should-retry", "false"))
    )
    sent = [*hop, ("traceparent", TRACE), ("te", "trailers"), ("cookie", SECRET)]
    answer = await stage.post(stage.ask(play), headers=sent)
    stage.equal("request: status", 200, answer.status)
    if play.exchanges:
        seen = play.exchanges[0]
        stage.equal("request with `Connection: x-only-here`: x-only-here at the engine", None,
                    seen.header("x-only-here"))  # fmt: skip
        trace = seen.header("traceparent") or ""
        told = "request with traceparent: its trace id at the engine"
        stage.check(told, TRACE[:35], trace, passed=trace[:35] == TRACE[:35])
    stage.equal("answer with `Connection: x-only-here`: x-only-here at the client", None,
                answer.header("x-only-here"))  # fmt: skip
    stage.equal("answer with x-should-retry", "false", answer.header("x-should-retry"))
    framings = [
        name for name, _ in answer.headers if name in {"content-length", "transfer-encoding"}
    ]
    stage.equal("answer: how often its framing is stated", 1, len(framings))
    await _secrets(stage)


async def _secrets(stage: Stage) -> None:
    play = stage.play()
    key = stage.key or SECRET
    given = [("authorization", f"Bearer {key}"), ("x-api-key", key)]
    await stage.post(stage.ask(play), headers=given)
    heads = b"".join(exchange.head for exchange in play.exchanges)
    leaked = key.encode() in heads
    seen = "the engine got it" if leaked else "the engine did not get it"
    stage.check("request with the client's own key", "the engine does not get it", seen,
                passed=not leaked and bool(play.exchanges))  # fmt: skip


async def request_id(stage: Stage) -> None:
    """A safe id is kept, an unsafe one is replaced, and every answer has one."""
    play = stage.play()
    given = [("x-request-id", "conf-abc.123"), ("traceparent", TRACE)]
    answer = await stage.post(stage.ask(play), headers=given)
    stage.equal("request with a safe id: id of the answer", "conf-abc.123", _id(answer))
    upstream = [exchange.header("x-request-id") for exchange in play.exchanges]
    stage.equal("request with a safe id: id at the engine", ["conf-abc.123"], upstream)
    for value in UNSAFE_IDS:
        answer = await stage.post(stage.ask(stage.play()), headers=[("x-request-id", value)])
        seen = _id(answer)
        right = seen is not None and SAFE.fullmatch(seen) is not None and seen != value
        told = f"request with the id {value[:20]!r}: id of the answer"
        stage.check(told, "another, safe id", seen, passed=right)
    everywhere = {
        "whole answer": await stage.post(stage.ask(stage.play())),
        "stream": await stage.post(stage.streamed(stage.play())),
        "unknown path": await stage.send("GET", "/v1/nowhere"),
        "wrong method": await stage.send("DELETE", CHAT),
        "bad JSON": await stage.post(b"{"),
        "replicas that break": await stage.post(stage.ask(stage.play(answers.resets))),
    }
    for told, answer in everywhere.items():
        stage.check(f"{told}: id of the answer", "some id", _id(answer),
                    passed=bool(_id(answer)))  # fmt: skip


def _id(answer: Answer) -> str | None:
    return answer.header("x-request-id")
