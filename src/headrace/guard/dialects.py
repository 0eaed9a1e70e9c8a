"""
The events of streamed answers: which texts they have, and how an answer ends by policy. One class
for each API: chat and text completions, Anthropic's messages, OpenAI's responses.
"""

import copy
from collections.abc import Awaitable, Hashable
from typing import Any, NamedTuple, Protocol

from headrace.guard import walk

FILTERED = "content_filter"
# In a delta everything else that is text was written by the model.
_SETTINGS = frozenset({"role", "id", "type", "name", "object", "call_id", "status"})


class Event(NamedTuple):
    """A frame: the lines before its data, and the data."""

    head: bytes
    body: dict[str, Any]


class Judging(Protocol):
    """The stream that events are of."""

    def push(
        self, key: Hashable, text: str, event: Event, *, quoted: bool = False
    ) -> Awaitable[str]: ...

    def flush(self, key: Hashable) -> Awaitable[str]: ...

    def open(self) -> list[tuple[Hashable, Event]]: ...

    def whole(self, tree: Any) -> Awaitable[None]: ...


class Dialect(Protocol):
    """How an API streams."""

    async def take(self, stream: Judging, event: Event) -> list[Event]:
        """The events to send in the place of this one."""

    async def leftovers(self, stream: Judging) -> list[Event]:
        """The rest of texts that nobody said were over."""

    def stopped(self) -> list[Event]:
        """The events that end the answer by policy."""


def dialect_of(first: dict[str, Any]) -> Dialect:
    """The dialect of a stream, told by its first event."""
    kind = first.get("type")
    if isinstance(kind, str) and kind.startswith("response."):
        return Responses()
    return Messages() if isinstance(kind, str) and "choices" not in first else Completions()


class Completions:
    """Chat completions (``delta``) and text completions (``text``), each with several choices."""

    def __init__(self) -> None:
        self._last: dict[str, Any] = {}
        self._choices: dict[int, bool] = {}  # whether they are over

    async def take(self, stream: Judging, event: Event) -> list[Event]:
        """Judge the deltas; the rest of a choice's texts goes with the event that ends it."""
        body = event.body
        choices = body.get("choices")
        if not isinstance(choices, list) or not choices:
            await stream.whole(body)
            return [event]
        self._last = {key: body[key] for key in body if key not in {"choices", "usage"}}
        walk.silenced(choices)
        held = [await self._choice(stream, event, each) for each in choices]
        return [] if all(held) and not body.get("usage") else [event]

    async def _choice(self, stream: Judging, event: Event, choice: Any) -> bool:
        """Whether nothing is left of it that a client could use."""
        if not isinstance(choice, dict):
            return True
        index = choice.get("index") if isinstance(choice.get("index"), int) else 0
        assert isinstance(index, int)  # noqa: S101 - for mypy
        delta = choice.get("delta")
        place: dict[str, Any] = delta if isinstance(delta, dict) else choice
        said = [key for key in place if isinstance(place[key], str) and _is_text(key, place)]
        before = any(place[key] for key in said)
        for key in said:
            place[key] = await stream.push((index, key), place[key], event)
        calls = await self._calls(stream, event, index, place)
        if isinstance(place.get("content"), list):
            await stream.whole({"content": place["content"]})
        over = choice.get("finish_reason") is not None
        self._choices[index] = over or self._choices.get(index, False)
        if over:
            await self._end(stream, index, place)
        gone = before and not any(place[key] for key in said)
        return gone and not calls and not over and "role" not in place

    async def _calls(
        self, stream: Judging, event: Event, index: int, place: dict[str, Any]
    ) -> bool:
        calls = place.get("tool_calls") or []
        legacy = place.get("function_call")
        if isinstance(legacy, dict):
            calls = [*calls, {"function": legacy}]
        for order, call in enumerate(calls):
            function = call.get("function") if isinstance(call, dict) else None
            if isinstance(function, dict) and isinstance(function.get("arguments"), str):
                key = (index, "tool_calls", call.get("index", -1 if call.get("function") is legacy
                                                      else order))  # fmt: skip
                function["arguments"] = await stream.push(
                    key, function["arguments"], event, quoted=True
                )
        return bool(calls)

    async def _end(self, stream: Judging, index: int, place: dict[str, Any]) -> None:
        """Put the rest of this choice's texts into its last event."""
        for key, _ in stream.open():
            assert isinstance(key, tuple)  # noqa: S101 - for mypy
            if key[0] != index:
                continue
            rest = await stream.flush(key)
            if rest and key[1] == "tool_calls":
                _add_arguments(place, key[2], rest)
            elif rest:
                place[key[1]] = (place.get(key[1]) or "") + rest

    async def leftovers(self, stream: Judging) -> list[Event]:
        """One more event for each choice whose end was not told."""
        made: list[Event] = []
        for index in sorted({key[0] for key, _ in stream.open() if isinstance(key, tuple)}):
            place: dict[str, Any] = {}
            await self._end(stream, index, place)
            if place:
                made.append(self._made(index, place, None))
        return made

    def stopped(self) -> list[Event]:
        """Every choice that is not over ends as filtered."""
        indices = [index for index, over in self._choices.items() if not over] or [0]
        return [self._made(index, {}, FILTERED) for index in indices]

    def _made(self, index: int, place: dict[str, Any], reason: str | None) -> Event:
        choice: dict[str, Any] = {"index": index, "finish_reason": reason}
        if self._last.get("object") == "text_completion":
            choice |= {"text": "", **place}
        else:
            choice["delta"] = place
        return Event(b"", {**self._last, "choices": [choice]})


def _is_text(key: str, place: dict[str, Any]) -> bool:
    """Whether what stands there was written by the model."""
    return key == "text" or ("finish_reason" not in place and key not in _SETTINGS)


def _add_arguments(place: dict[str, Any], order: int, rest: str) -> None:
    if order == -1:
        call = place.setdefault("function_call", {})
        call["arguments"] = (call.get("arguments") or "") + rest
        return
    calls = place.get("tool_calls") or []
    place["tool_calls"] = calls
    for call in calls:
        if call.get("index") == order:
            call["function"]["arguments"] += rest
            return
    calls.append({"index": order, "function": {"arguments": rest}})


class Messages:
    """Anthropic's messages: content blocks, each with deltas."""

    def __init__(self) -> None:
        self._open: dict[Any, bool] = {}

    async def take(self, stream: Judging, event: Event) -> list[Event]:
        """Judge the deltas; the rest of a block's text goes before the event that ends it."""
        body = event.body
        kind, index = body.get("type"), body.get("index")
        if kind == "content_block_delta" and isinstance(body.get("delta"), dict):
            return await self._delta(stream, event)
        if kind == "content_block_stop":
            self._open.pop(index, None)
            return [*await self._rest(stream, index), event]
        if kind == "content_block_start":
            self._open[index] = True
        await stream.whole(body)
        return [event]

    async def _delta(self, stream: Judging, event: Event) -> list[Event]:
        delta, index = event.body["delta"], event.body.get("index")
        key = next((key for key in delta if key in walk.TEXTS | walk.QUOTED), None)
        if key is None or not isinstance(delta[key], str):
            await stream.whole(delta)
            return [event]
        came = delta[key]
        delta[key] = await stream.push((index, key), came, event, quoted=key in walk.QUOTED)
        return [event] if delta[key] or not came else []

    async def _rest(self, stream: Judging, index: Any) -> list[Event]:
        made = []
        for key, latest in stream.open():
            assert isinstance(key, tuple)  # noqa: S101 - for mypy
            if key[0] == index and (rest := await stream.flush(key)):
                body = copy.deepcopy(latest.body)
                body["delta"][key[1]] = rest
                made.append(Event(latest.head, body))
        return made

    async def leftovers(self, stream: Judging) -> list[Event]:
        """The rest of blocks whose end was not told."""
        made: list[Event] = []
        for index in dict.fromkeys(key[0] for key, _ in stream.open() if isinstance(key, tuple)):
            made += await self._rest(stream, index)
        return made

    def stopped(self) -> list[Event]:
        """Open blocks end, and the message as refused."""
        delta = {"stop_reason": "refusal", "stop_sequence": None}
        bodies: list[dict[str, Any]] = [
            *({"type": "content_block_stop", "index": index} for index in self._open),
            {"type": "message_delta", "delta": delta, "usage": {"output_tokens": 0}},
            {"type": "message_stop"},
        ]
        return [Event(b"event: %b\n" % body["type"].encode(), body) for body in bodies]


class Responses:
    """OpenAI's responses: deltas of many kinds, then the whole text, then the whole response."""

    def __init__(self) -> None:
        self._number = -1
        self._response: dict[str, Any] = {}

    async def take(self, stream: Judging, event: Event) -> list[Event]:
        """Judge the deltas; the rest of a text goes before the event that has all of it."""
        body, made = event.body, list[Event]()
        kind = str(body.get("type"))
        if kind.endswith(".delta") and isinstance(body.get("delta"), str):
            came = body["delta"]
            key = _channel(kind.removesuffix(".delta"), body)
            body["delta"] = await stream.push(key, came, event, quoted="arguments" in kind)
            walk.silenced(body)
            made = [event] if body["delta"] or not came else []
        else:
            if isinstance(body.get("response"), dict):
                self._response = body["response"]
            if kind.endswith(".done"):
                made = await self._rest(stream, _channel(kind.removesuffix(".done"), body))
            await stream.whole(body)
            made.append(event)
        return self._numbered(made)

    async def _rest(self, stream: Judging, key: Hashable) -> list[Event]:
        for other, latest in stream.open():
            if other == key and (rest := await stream.flush(key)):
                return [Event(latest.head, {**latest.body, "delta": rest})]
        return []

    async def leftovers(self, stream: Judging) -> list[Event]:
        """The rest of texts whose end was not told."""
        made: list[Event] = []
        for key, _ in stream.open():
            made += await self._rest(stream, key)
        return self._numbered(made)

    def stopped(self) -> list[Event]:
        """The response is incomplete."""
        response = {
            **self._response,
            "status": "incomplete",
            "output": [],
            "incomplete_details": {"reason": FILTERED},
        }
        body = {"type": "response.incomplete", "response": response, "sequence_number": 0}
        return self._numbered([Event(b"event: response.incomplete\n", body)])

    def _numbered(self, made: list[Event]) -> list[Event]:
        """Their numbers without gaps: some events are held back, others come on top."""
        for event in made:
            if "sequence_number" in event.body:
                self._number += 1
                event.body["sequence_number"] = self._number
        return made


def _channel(kind: str, body: dict[str, Any]) -> Hashable:
    places = ("item_id", "output_index", "content_index", "summary_index")
    return (kind, *(body.get(place) for place in places))
