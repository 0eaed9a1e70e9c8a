"""What answers must look like: errors in both dialects, streams, and fields of JSON. No I/O."""

import json
from collections.abc import Collection
from typing import Any

from headrace.conformance.stage import Stage
from headrace.conformance.wire import Answer, Event


def document(answer: Answer) -> Any:
    """The answer's JSON, or None when it is none."""
    return parse(bytes(answer.body))


def parse(text: bytes | str | None) -> Any:
    """JSON, or None when it is none."""
    try:
        return json.loads(text or b"")
    except ValueError:
        return None


def field(value: Any, *path: str | int) -> Any:
    """What stands at this place of a JSON value, or None when there is no such place."""
    for step in path:
        if isinstance(step, str) and isinstance(value, dict):
            value = value.get(step)
        elif isinstance(step, int) and isinstance(value, list) and -len(value) <= step < len(value):
            value = value[step]
        else:
            return None
    return value


def tell(answer: Answer) -> str:
    """An answer as evidence: status, type, and the end of its body."""
    how = "" if answer.ended else ", cut off"
    kind = answer.header("content-type") or "no content-type"
    end = " ".join(bytes(answer.body)[-200:].decode("utf-8", "replace").split())
    return f"{answer.status} ({kind}{how}) {end}"


def is_openai_error(value: Any) -> bool:
    """Whether a JSON value is an error as OpenAI's SDK reads it, with all four fields."""
    error = field(value, "error")
    return (
        isinstance(error, dict)
        and {"message", "type", "param", "code"} <= set(error)
        and all(isinstance(error[key], str) and error[key] for key in ("message", "type"))
    )


def is_anthropic_error(value: Any) -> bool:
    """Whether a JSON value is an error as Anthropic's SDK reads it."""
    error = field(value, "error")
    return (
        field(value, "type") == "error"
        and isinstance(error, dict)
        and all(isinstance(error.get(key), str) for key in ("message", "type"))
    )


def openai_error(stage: Stage, sent: str, answer: Answer, statuses: Collection[int]) -> bool:
    """Demand a real status of these, with an error in OpenAI's shape."""
    right = answer.status in statuses and is_openai_error(document(answer))
    kind = (answer.header("content-type") or "").startswith("application/json")
    wanted = " or ".join(map(str, sorted(statuses)))
    expected = f'{wanted} with {{"error":{{message,type,param,code}}}} as JSON'
    return stage.check(sent, expected, tell(answer), passed=right and kind)


def anthropic_error(stage: Stage, sent: str, answer: Answer, statuses: Collection[int]) -> bool:
    """Demand a real status of these, with an error in Anthropic's shape."""
    right = answer.status in statuses and is_anthropic_error(document(answer))
    wanted = " or ".join(map(str, sorted(statuses)))
    expected = f'{wanted} with {{"type":"error","error":{{type,message}}}}'
    return stage.check(sent, expected, tell(answer), passed=right)


def said(answer: Answer) -> list[Event]:
    """The frames of a stream that carry data."""
    return [event for event in answer.events if event.data is not None]


def text(answer: Answer) -> str:
    """What a chat stream says, all pieces together."""
    pieces = [field(parse(event.data), "choices", 0, "delta", "content") for event in said(answer)]
    return "".join(piece for piece in pieces if isinstance(piece, str))


def ends_with_error(stage: Stage, sent: str, answer: Answer) -> bool:
    """Demand that a stream ended in order with exactly one error frame, then [DONE]."""
    frames = said(answer)
    errors = [event for event in frames if field(parse(event.data), "error") is not None]
    last = [event.data for event in frames[-2:]]
    passed = (
        answer.ended
        and len(errors) == 1
        and len(last) == 2
        and last[1] == "[DONE]"
        and is_openai_error(parse(last[0]))
    )
    expected = "one `data: {error}` frame, then `data: [DONE]`, and the stream ended in order"
    return stage.check(sent, expected, tell(answer), passed=passed)
