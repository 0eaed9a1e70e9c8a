"""
One answer as it comes in: when its tokens came, how many there were, and whether it was whole.

The definitions are those of docs/load.md: the first token is the first event with text in it,
tokens are what the server's usage says, and where it says none, events with text.
"""

from time import perf_counter
from typing import Any

import msgspec


class Delta(msgspec.Struct):
    """What an event of a chat adds: any of these is output."""

    content: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    refusal: str | None = None
    tool_calls: list[msgspec.Raw] | None = None


class Choice(msgspec.Struct):
    """A choice of an event: ``delta`` of chats, ``text`` of completions."""

    delta: Delta | None = None
    text: str | None = None
    finish_reason: str | None = None


class Usage(msgspec.Struct):
    """What the server counted."""

    prompt_tokens: int = 0
    completion_tokens: int = 0


class Event(msgspec.Struct):
    """An event of a stream, as far as it matters here."""

    choices: list[Choice] = []
    usage: Usage | None = None
    error: Any = None


DECODE = msgspec.json.Decoder(Event).decode


class Answer:
    """Takes the body as it comes; ``marks`` are when output came (s, performance counter)."""

    __slots__ = ("_rest", "done", "error", "events", "marks", "usage")

    def __init__(self) -> None:
        self.marks: list[float] = []
        self.usage: Usage | None = None
        self.events = 0
        self.done = False  # the stream said that it is over
        self.error = ""
        self._rest = b""

    def feed(self, data: bytes) -> None:
        """Read the events that are whole now."""
        now = perf_counter()
        text = self._rest + data
        if b"\r" in text:
            text = text.replace(b"\r\n", b"\n")
        *events, self._rest = text.split(b"\n\n")
        for event in events:
            for line in event.split(b"\n"):
                if line.startswith(b"data:"):
                    self._event(line[5:].strip(), now)

    def _event(self, data: bytes, now: float) -> None:
        if data == b"[DONE]":
            self.done = True
            return
        try:
            event = DECODE(data)
        except msgspec.DecodeError:
            self.error = self.error or "an event that is no JSON of the OpenAI API"
            return
        self.events += 1
        if event.error is not None:
            self.error = self.error or f"an error in the stream: {event.error}"[:200]
        if event.usage is not None:
            self.usage = event.usage
        if any(_output(choice) for choice in event.choices):
            self.marks.append(now)


def _output(choice: Choice) -> bool:
    if choice.text:
        return True
    delta = choice.delta
    return delta is not None and bool(
        delta.content
        or delta.reasoning
        or delta.reasoning_content
        or delta.refusal
        or delta.tool_calls
    )
