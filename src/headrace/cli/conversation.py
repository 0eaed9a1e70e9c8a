"""A conversation with a gateway: requests, streamed answers, their timing. No terminal."""

import json
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import httpx2

from headrace.errors import HeadraceError, StartError

CONNECT_S = 5.0
READ_S = 3600.0  # the gateway's clocks end a request that hangs; they know why
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


class ChatError(HeadraceError):
    """The gateway refused a request or an answer broke off. The text is one sentence."""


@dataclass(frozen=True, slots=True)
class Target:
    """Whom to talk to, and how. None: what the gateway or the engine does by default."""

    url: str
    model: str
    temperature: float | None = None
    max_tokens: int | None = None


@dataclass(slots=True)
class Answer:
    """One answer while it arrives."""

    text: str = ""
    parts: int = 0
    reported: int | None = None
    started_at: float = field(default_factory=time.monotonic)
    first_at: float = 0.0
    last_at: float = 0.0

    @property
    def tokens(self) -> int:
        """Tokens of the answer as the engine counted them, or else its parts."""
        return self.parts if self.reported is None else self.reported

    def arrived(self) -> None:
        """A part has come."""
        self.last_at = time.monotonic()
        self.first_at = self.first_at or self.last_at
        self.parts += 1

    def stats(self) -> str:
        """``TTFT 123 ms · 45 tokens · 31.2 tokens/s``; the rate is that between first and last."""
        if not self.parts:
            return "no tokens"
        line = f"TTFT {(self.first_at - self.started_at) * 1000:.0f} ms"
        line += f" · {self.tokens} token{'' if self.tokens == 1 else 's'}"
        spent_s = self.last_at - self.first_at
        if self.tokens > 1 and spent_s > 0:
            line += f" · {(self.tokens - 1) / spent_s:.1f} tokens/s"
        return line


class Conversation:
    """The messages so far, and the connection over which the next one goes."""

    def __init__(self, target: Target, api_key: str | None, system: str | None) -> None:
        self.target = target
        self.system = system
        self._messages: list[dict[str, str]] = []
        self._client = httpx2.Client(
            base_url=target.url,
            headers={"authorization": f"Bearer {api_key}"} if api_key else {},
            timeout=httpx2.Timeout(READ_S, connect=CONNECT_S),
            trust_env=urlsplit(target.url).hostname not in LOOPBACK,  # no proxy to this machine
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._client.close()

    def models(self) -> list[str]:
        """
        What the gateway serves.

        Raises:
            StartError: nothing answers at the URL.
            ChatError: the gateway refuses.

        """
        try:
            response = self._client.get("/v1/models")
        except (httpx2.TransportError, httpx2.InvalidURL) as error:
            raise StartError(_unreachable(self.target.url, error)) from None
        _check(response)
        try:
            return [str(model["id"]) for model in response.json()["data"]]
        except (ValueError, KeyError, TypeError):
            raise ChatError(f"{self.target.url} does not speak the OpenAI API.") from None

    def reset(self) -> None:
        """Forget what was said; the system prompt stays."""
        self._messages.clear()

    def say(self, text: str, answer: Answer) -> Generator[str]:
        """
        Send a message; yields the parts of the answer as they come.

        What came is remembered even when the caller stops in the middle.

        Raises:
            StartError: nothing answers at the URL.
            ChatError: the gateway refused, or the answer broke off.

        """
        self._messages.append({"role": "user", "content": text})
        try:
            for part in self._stream(answer):
                answer.text += part
                yield part
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            raise StartError(_unreachable(self.target.url, error)) from None
        except httpx2.TransportError as error:
            raise ChatError(
                f"The answer broke off: {str(error) or type(error).__name__}."
            ) from None
        finally:
            if answer.text:
                self._messages.append({"role": "assistant", "content": answer.text})
            else:
                self._messages.pop()

    def _stream(self, answer: Answer) -> Iterator[str]:
        with self._client.stream("POST", "/v1/chat/completions", json=self._body()) as response:
            _check(response)
            for event in httpx2.EventSource(response):
                if event.data == "[DONE]":
                    return
                yield from _part(event.data, answer)
        raise ChatError("The answer broke off before its end.")

    def _body(self) -> dict[str, object]:
        system = [{"role": "system", "content": self.system}] if self.system else []
        body: dict[str, object] = {
            "model": self.target.model,
            "messages": [*system, *self._messages],
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if self.target.temperature is not None:
            body["temperature"] = self.target.temperature
        if self.target.max_tokens is not None:
            body["max_tokens"] = self.target.max_tokens
        return body


def _part(data: str, answer: Answer) -> Iterator[str]:
    """The text in one event, if any; its usage goes into the answer."""
    try:
        event = json.loads(data)
    except ValueError:
        raise ChatError("The answer is not what the OpenAI API sends.") from None
    if "error" in event:
        raise ChatError(_sentence(event) or "The answer broke off.")
    if usage := event.get("usage"):
        answer.reported = usage.get("completion_tokens")
    for choice in event.get("choices", ()):
        delta = choice.get("delta", {})
        if text := delta.get("content"):
            answer.arrived()
            yield text
        elif delta.get("reasoning_content") or delta.get("reasoning"):
            answer.arrived()


def _check(response: httpx2.Response) -> None:
    if response.is_success:
        return
    response.read()
    try:
        sentence = _sentence(response.json())
    except ValueError:
        sentence = ""
    raise ChatError(sentence or f"The gateway answered with status {response.status_code}.")


def _sentence(body: object) -> str:
    """The message of an OpenAI error, or empty."""
    error = body.get("error") if isinstance(body, dict) else None
    message = error.get("message") if isinstance(error, dict) else error
    return message if isinstance(message, str) else ""


def _unreachable(url: str, error: Exception) -> str:
    when = " in time" if isinstance(error, httpx2.ConnectTimeout) else ""
    return f"Nothing answers at {url}{when}; start a gateway with `headrace up`, or give its --url."
