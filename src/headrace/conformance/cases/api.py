"""Cases A1 to A12: the shapes of the API that every client counts on."""

from typing import Any

from headrace.conformance import answers, shapes
from headrace.conformance.stage import CHAT, COMPLETIONS, EMBEDDINGS, MESSAGES, Stage
from headrace.conformance.verdict import NotApplicable
from headrace.conformance.wire import Answer

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
CALL = {"id": "call_1", "type": "function",
        "function": {"name": "weather", "arguments": '{"city": "Köln"}'}}  # fmt: skip


async def models(stage: Stage) -> None:
    """GET /v1/models lists what can be asked for."""
    answer = await stage.send("GET", "/v1/models")
    listed = shapes.document(answer)
    stage.equal("GET /v1/models: status", 200, answer.status)
    stage.equal("GET /v1/models: object", "list", shapes.field(listed, "object"))
    data = shapes.field(listed, "data")
    entries = data if isinstance(data, list) else []
    names = [shapes.field(entry, "id") for entry in entries]
    stage.check("GET /v1/models: ids", f"has {stage.model}", names, passed=stage.model in names)
    kinds = {shapes.field(entry, "object") for entry in entries}
    stage.equal("GET /v1/models: kind of each entry", {"model"}, kinds)


async def chat(stage: Stage) -> None:
    """A whole chat answer is the engine's."""
    answer = await stage.post(stage.ask(stage.play()))
    body = shapes.document(answer)
    stage.equal("status", 200, answer.status)
    _json(stage, answer)
    stage.equal("object", "chat.completion", shapes.field(body, "object"))
    stage.equal("model", stage.model, shapes.field(body, "model"))
    said = shapes.field(body, "choices", 0, "message", "content")
    stage.equal("text", "By the way, hello!", said)
    stage.equal("finish_reason", "stop", shapes.field(body, "choices", 0, "finish_reason"))
    stage.equal("usage.total_tokens", 41, shapes.field(body, "usage", "total_tokens"))


def _json(stage: Stage, answer: Answer) -> None:
    kind = answer.header("content-type") or ""
    stage.check("content-type", "application/json", kind,
                passed=kind.startswith("application/json"))  # fmt: skip


async def chat_stream(stage: Stage) -> None:
    """A streamed chat answer is a stream of events that ends with [DONE]."""
    answer = await stage.post(stage.streamed(stage.play()))
    await _stream(stage, answer)
    frames = shapes.said(answer)
    last = frames[-1].data if frames else None
    stage.equal("last frame", "[DONE]", last)
    bodies = [shapes.parse(event.data) for event in frames[:-1]]
    kinds = {shapes.field(body, "object") for body in bodies}
    stage.equal("kind of each frame", {"chat.completion.chunk"}, kinds)
    stage.equal("text", "".join(answers.WORDS), shapes.text(answer))
    reasons = [shapes.field(body, "choices", 0, "finish_reason") for body in bodies]
    stage.equal("finish reasons", ["length"], [reason for reason in reasons if reason])


async def _stream(stage: Stage, answer: Answer) -> None:
    stage.equal("status", 200, answer.status)
    kind = answer.header("content-type") or ""
    stage.check("content-type", "text/event-stream", kind,
                passed=kind.startswith("text/event-stream"))  # fmt: skip
    stage.equal("ended in order", True, answer.ended)
    rest = len(answer.body) - sum(len(event.raw) for event in answer.events)
    stage.equal("bytes after the last frame", 0, rest)


async def completions(stage: Stage) -> None:
    """Plain completions, whole and streamed."""
    await _offered(stage, COMPLETIONS)
    whole = shapes.document(await stage.post(stage.ask(stage.play(), COMPLETIONS), COMPLETIONS))
    stage.equal("whole: object", "text_completion", shapes.field(whole, "object"))
    stage.equal("whole: text", "'s roasted", shapes.field(whole, "choices", 0, "text"))
    body = stage.streamed(stage.play(), COMPLETIONS)
    answer = await stage.post(body, COMPLETIONS)
    await _stream(stage, answer)
    pieces = [shapes.field(shapes.parse(e.data), "choices", 0, "text") for e in shapes.said(answer)]
    stage.equal("stream: text", "'s roasted", "".join(piece for piece in pieces if piece))
    last = [event.data for event in shapes.said(answer)][-1:]
    stage.equal("stream: last frame", ["[DONE]"], last)


async def embeddings(stage: Stage) -> None:
    """Embeddings, and how their errors look."""
    await _offered(stage, EMBEDDINGS)
    body = stage.ask(stage.play(), EMBEDDINGS)
    whole = shapes.document(await stage.post(body, EMBEDDINGS))
    vector = shapes.field(whole, "data", 0, "embedding")
    stage.equal("embedding", [0.25, -0.5], vector)
    play = stage.play(answers.says(400, answers.ERR_CONTEXT))
    answer = await stage.post(stage.ask(play, EMBEDDINGS), EMBEDDINGS)
    shapes.openai_error(stage, "the engine answers 400", answer, {400})


async def messages(stage: Stage) -> None:
    """A whole answer in Anthropic's dialect."""
    await _offered(stage, MESSAGES)
    answer = await stage.post(stage.ask(stage.play(), MESSAGES), MESSAGES)
    body = shapes.document(answer)
    stage.equal("status", 200, answer.status)
    stage.equal("type", "message", shapes.field(body, "type"))
    stage.equal("text", "Hello!", shapes.field(body, "content", 0, "text"))
    stage.equal("usage.output_tokens", 8, shapes.field(body, "usage", "output_tokens"))


async def messages_stream(stage: Stage) -> None:
    """A stream in Anthropic's dialect: named events, and no [DONE]."""
    await _offered(stage, MESSAGES)
    answer = await stage.post(stage.streamed(stage.play(), MESSAGES), MESSAGES)
    await _stream(stage, answer)
    names = [event.event for event in shapes.said(answer)]
    firm = [name for name in names if name != "ping"]
    expected = ["message_start", "content_block_start", "content_block_delta",
                "content_block_stop", "message_delta", "message_stop"]  # fmt: skip
    stage.equal("events", expected, firm)
    stage.equal("[DONE] frames", 0, bytes(answer.body).count(b"[DONE]"))


async def tools(stage: Stage) -> None:
    """Tools reach the engine as they are, and calls come back as they are."""
    message = {"role": "assistant", "content": None, "tool_calls": [CALL]}
    body: Any = shapes.parse(answers.chat_body(stage.model))
    body["choices"][0] |= {"message": message, "finish_reason": "tool_calls"}
    play = stage.play(answers.says(200, answers.dump(body)))
    choice = {"type": "function", "function": {"name": "weather"}}
    answer = await stage.post(stage.ask(play, tools=[WEATHER], tool_choice=choice))
    seen: Any = play.exchanges[0].json() if play.exchanges else {}
    stage.equal("tools at the engine", [WEATHER], seen.get("tools"))
    stage.equal("tool_choice at the engine", choice, seen.get("tool_choice"))
    calls = shapes.field(shapes.document(answer), "choices", 0, "message", "tool_calls")
    function = shapes.field(calls, 0, "function")
    stage.equal("call at the client", CALL["function"], function)
    stage.equal("id of the call", "call_1", shapes.field(calls, 0, "id"))


async def unknown_model(stage: Stage) -> None:
    """A model that nobody serves is 404, streamed or not."""
    for stream in (False, True):
        body = stage.ask(stage.play(), stream=stream) | {"model": "nobody-serves-this"}
        told = f"unknown model, stream={stream}"
        shapes.openai_error(stage, told, await stage.post(body), {404})


async def wrong_method(stage: Stage) -> None:
    """An endpoint asked with the wrong method is 405."""
    for method, path in (("GET", CHAT), ("DELETE", CHAT), ("POST", "/v1/models")):
        body: dict[str, Any] | None = {} if method == "POST" else None
        answer = await stage.send(method, path, body)
        shapes.openai_error(stage, f"{method} {path}", answer, {405})


async def bad_json(stage: Stage) -> None:
    """A body that is not a JSON object is 400."""
    for body in (b"{", b"[1]", b'"text"', b"\xff\xfe", b""):
        answer = await stage.post(body)
        shapes.openai_error(stage, f"body {body!r}", answer, {400})


async def request_ids(stage: Stage) -> None:
    """Answers have ids, and no two are the same."""
    client = await stage.client()
    seen = [
        (await client.post(CHAT, stage.ask(stage.play()), stage.headers())).header("x-request-id")
        for _ in range(8)
    ]
    stage.equal("8 requests on one connection: different x-request-id", 8, len(set(seen) - {None}))


async def _offered(stage: Stage, path: str) -> None:
    if not await stage.supports(path):
        raise NotApplicable(f"the gateway does not offer {path}")
