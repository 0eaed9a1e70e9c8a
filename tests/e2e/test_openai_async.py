"""The official OpenAI client for asyncio: the same endpoints, and many requests at one time."""

import asyncio
import json

import openai
import pytest

from tests.e2e.rig import ENDLESS, MODEL, Up, wait_until
from tests.e2e.test_openai import (
    ALICE,
    CALL,
    CHAT,
    COUNTED,
    ECHOED,
    RESPONSE,
    TEXT,
    USAGE,
    Person,
)

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300), pytest.mark.xdist_group("e2e")]

AT_ONCE = 20  # the engine has 4 slots


class TestEndpoints:
    """What the blocking client gets, this one gets too."""

    async def test_models(self, aoai: openai.AsyncOpenAI) -> None:
        """The list, and one of it."""
        listed = [model async for model in aoai.models.list()]

        assert listed == [await aoai.models.retrieve(MODEL)]

    async def test_chat(self, aoai: openai.AsyncOpenAI) -> None:
        """A whole answer with its usage and its id."""
        answer = await aoai.chat.completions.create(**CHAT)

        assert answer.choices[0].message.content == ECHOED
        assert answer.usage is not None
        assert answer._request_id

    async def test_stream(self, aoai: openai.AsyncOpenAI) -> None:
        """The text in pieces, and usage once when it is asked for."""
        chunks = [chunk async for chunk in await aoai.chat.completions.create(**CHAT, **USAGE)]

        pieces = [choice.delta.content or "" for chunk in chunks for choice in chunk.choices]
        assert "".join(pieces) == ECHOED
        assert [bool(chunk.usage) for chunk in chunks] == [False] * (len(chunks) - 1) + [True]

    async def test_call(self, aoai: openai.AsyncOpenAI) -> None:
        """A function call."""
        answer = await aoai.chat.completions.create(**CALL, tool_choice="required")

        [call] = answer.choices[0].message.tool_calls or []
        assert call.type == "function"
        assert json.loads(call.function.arguments) == {"city": "Paris"}

    async def test_parse(self, aoai: openai.AsyncOpenAI) -> None:
        """An object of a Pydantic model."""
        answer = await aoai.chat.completions.parse(
            **{**CHAT, "messages": ALICE, "max_tokens": 40}, response_format=Person
        )

        assert answer.choices[0].message.parsed == Person(name="Alice", age=30)

    async def test_completions(self, aoai: openai.AsyncOpenAI) -> None:
        """Whole and streamed."""
        whole = await aoai.completions.create(**TEXT)
        stream = await aoai.completions.create(**TEXT, stream=True)
        streamed = "".join([chunk.choices[0].text async for chunk in stream])

        assert whole.choices[0].text == streamed == COUNTED

    async def test_responses(self, aoai: openai.AsyncOpenAI) -> None:
        """
        Whole and as events. Not by ``responses.stream``, which needs each event's output_index and
        content_index: llama.cpp leaves them out.
        """
        whole = await aoai.responses.create(**RESPONSE)
        events = [event async for event in await aoai.responses.create(**RESPONSE, stream=True)]

        pieces = [event.delta for event in events if event.type == "response.output_text.delta"]
        assert whole.output_text == "".join(pieces) == ECHOED

    async def test_errors(self, aoai: openai.AsyncOpenAI) -> None:
        """The exceptions are those of the blocking client."""
        with pytest.raises(openai.NotFoundError) as missing:
            await aoai.chat.completions.create(**{**CHAT, "model": "gpt-4o"})
        with pytest.raises(openai.BadRequestError):
            await aoai.chat.completions.create(**{**CHAT, "messages": "hello"})
        with pytest.raises(openai.InternalServerError):
            await aoai.embeddings.create(model=MODEL, input="hello")

        assert missing.value.code == "model_not_found"


class TestAtOnce:
    """More requests than slots, and requests that are given up."""

    async def test_more_than_slots(self, aoai: openai.AsyncOpenAI, gateway: Up) -> None:
        """All are answered, each with its own id; nothing stays in hand."""
        asked = [
            aoai.completions.create(**{**TEXT, "max_tokens": 4}, stream=False)
            for _ in range(AT_ONCE)
        ]
        answers = await asyncio.gather(*asked)

        assert [COUNTED[:4]] * AT_ONCE == [answer.choices[0].text for answer in answers]
        assert len({answer._request_id for answer in answers}) == AT_ONCE
        assert gateway.running() == 0

    async def test_whole_answers_given_up(self, aoai: openai.AsyncOpenAI, gateway: Up) -> None:
        """Cancelled before a byte has come, endless answers free their slots all the same."""
        tasks = [
            asyncio.create_task(aoai.completions.create(**ENDLESS, stream=False)) for _ in range(4)
        ]
        await asyncio.to_thread(wait_until, lambda: gateway.running() == 4, "all run")
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

        await asyncio.to_thread(wait_until, lambda: gateway.running() == 0, "all are let go", 5)
        answer = await aoai.with_options(timeout=10).completions.create(**TEXT)
        assert answer.choices[0].text == COUNTED

    async def test_a_clients_time_out(self, aoai: openai.AsyncOpenAI, gateway: Up) -> None:
        """A client that waits no longer raises on its side and frees the engine on this one."""
        with pytest.raises(openai.APITimeoutError):
            await aoai.with_options(timeout=0.5).completions.create(**ENDLESS)

        await asyncio.to_thread(wait_until, lambda: gateway.running() == 0, "it is let go", 5)
