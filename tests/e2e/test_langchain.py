"""``langchain-openai`` as an application uses it."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx2
import pydantic
import pytest
from langchain_openai import ChatOpenAI

from tests.e2e.rig import MODEL, SECRET, Up
from tests.e2e.test_openai import ECHO, ECHOED, Person

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300), pytest.mark.xdist_group("e2e")]

KEY = pydantic.SecretStr(SECRET)
SAY = ECHO[0]["content"]
ASK: dict[str, Any] = {
    "model": MODEL,
    "temperature": 0,
    "seed": 1,
    "max_tokens": 50,
    "max_retries": 0,
    "timeout": 30,
}


class GetWeather(pydantic.BaseModel):
    """Current weather in a city."""

    model_config = pydantic.ConfigDict(title="get_weather")

    city: str = pydantic.Field(max_length=20)


@pytest.fixture
def chat(gateway: Up) -> Iterator[ChatOpenAI]:
    """LangChain's model, with a connection of its own that ends with the test."""
    with httpx2.Client(timeout=30) as http:
        yield ChatOpenAI(base_url=f"{gateway.url}/v1", api_key=KEY, http_client=http, **ASK)


@pytest.fixture
async def achat(gateway: Up) -> AsyncIterator[ChatOpenAI]:
    """The same for asyncio."""
    async with httpx2.AsyncClient(timeout=30) as http:
        yield ChatOpenAI(base_url=f"{gateway.url}/v1", api_key=KEY, http_async_client=http, **ASK)


def test_invoke(chat: ChatOpenAI) -> None:
    """An answer with its usage."""
    answer = chat.invoke(SAY)

    assert answer.content == ECHOED
    assert answer.usage_metadata is not None
    assert answer.usage_metadata["output_tokens"] > 5


def test_stream(chat: ChatOpenAI) -> None:
    """The answer in pieces; asked for usage, one of them has it."""
    pieces = list(chat.stream(SAY, stream_usage=True))

    assert "".join(str(piece.content) for piece in pieces) == ECHOED
    assert len(pieces) > 3
    assert len([piece for piece in pieces if piece.usage_metadata]) == 1


async def test_async(achat: ChatOpenAI) -> None:
    """Three at one time, and a stream."""
    answers = await achat.abatch([SAY] * 3)
    pieces = [piece async for piece in achat.astream(SAY)]

    assert [answer.content for answer in answers] == [ECHOED] * 3
    assert "".join(str(piece.content) for piece in pieces) == ECHOED


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_structured_output(chat: ChatOpenAI, method: Any) -> None:
    """An object of a Pydantic model, by a schema and by a function call."""
    structured = chat.with_structured_output(Person, method=method)

    assert structured.invoke("Alice is 30 years old. Use the tool.") == Person(name="Alice", age=30)


def test_tools(chat: ChatOpenAI) -> None:
    """A bound tool is called with its arguments."""
    answer = chat.bind_tools([GetWeather], tool_choice="required").invoke(
        "What is the weather in Paris? Use the tool."
    )

    assert [call["args"] for call in answer.tool_calls] == [{"city": "Paris"}]


def test_responses(chat: ChatOpenAI) -> None:
    """Over the Responses API too."""
    answer = chat.model_copy(update={"use_responses_api": True, "seed": None}).invoke(SAY)

    assert answer.text == ECHOED
