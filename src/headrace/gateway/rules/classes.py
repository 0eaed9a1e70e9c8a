"""
The seam to classes of requests: the text that is judged, and the classifier if one is configured.

How it judges is classifier.py's, whose libraries not everybody has installed.
"""

import importlib
from collections.abc import Callable
from typing import NamedTuple, Protocol

import msgspec

from headrace.config.classes import Classes
from headrace.config.examples import Example
from headrace.errors import StartError
from headrace.gateway.exchange import Exchange
from headrace.routing.features import Features
from headrace.telemetry.classes import ClassMetrics
from headrace.telemetry.writer import Writer
from headrace.types import Class


class Explained(NamedTuple):
    """
    A judgement with its reasons: each class's share, examples near by with their cosine, the
    features, and how far each of these moves the logit towards the class.
    """

    verdict: Class
    shares: dict[str, float]
    neighbours: list[tuple[Example, float]]
    measured: Features
    pulls: dict[str, float]


class Classifier(Protocol):
    """Says what a request is. ``of`` and ``tier`` never raise; their deadline is short."""

    async def start(self, *, wait: bool = False) -> None: ...

    async def of(self, body: bytes) -> Class: ...

    async def tier(self, exchange: Exchange, body: bytes) -> str: ...

    async def explain(self, text: str, neighbours: int) -> Explained: ...

    async def close(self) -> None: ...


def classifier(config: Classes, metrics: ClassMetrics, log: Writer) -> Classifier:
    """
    The classifier of these classes, not yet started.

    Raises:
        StartError: a library that it needs is not installed.

    """
    try:
        found = importlib.import_module("headrace.gateway.rules.classifier")
    except ModuleNotFoundError as error:
        raise StartError(
            f"Classes need the package {error.name}; install it with"
            " `pip install 'headrace[classify]'`."
        ) from error
    make: Callable[[Classes, ClassMetrics, Writer], Classifier] = found.Judging
    return make(config, metrics, log)


class _Part(msgspec.Struct):
    text: object = None


class _Message(msgspec.Struct):
    role: object = None
    content: msgspec.Raw = msgspec.Raw(b"null")


class _Prompt(msgspec.Struct):
    messages: list[_Message] = []
    prompt: str | list[str] = ""
    input: str | list[_Message] = ""


_prompt = msgspec.json.Decoder(_Prompt)
_content = msgspec.json.Decoder(str | list[_Part])


def words(body: bytes) -> str:
    """
    What the client asks, as it says it last: the text of the last message of a user's that has any,
    or the prompt. Empty where there is none, and for bodies of other shapes.

    Bodies are scanned for this only if a rule that gets so far asks for the class; all other
    messages are skipped, not parsed.
    """
    try:
        found = _prompt.decode(body)
    except msgspec.MsgspecError:
        return ""
    if isinstance(found.input, str):
        messages, alone = found.messages, found.input or found.prompt
    else:
        messages, alone = found.messages or found.input, found.prompt
    for message in reversed(messages):
        if message.role == "user" and (text := _text(message.content)):
            return text
    return alone if isinstance(alone, str) else "\n".join(alone)


def _text(content: msgspec.Raw) -> str:
    try:
        found = _content.decode(content)
    except msgspec.MsgspecError:
        return ""
    if isinstance(found, str):
        return found
    return "\n".join(part.text for part in found if isinstance(part.text, str))
