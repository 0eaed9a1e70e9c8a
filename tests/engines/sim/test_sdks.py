"""The official clients of OpenAI and Anthropic understand the simulator."""

import json
from collections.abc import AsyncIterator
from typing import Any

import anthropic
import openai
import pytest
from pydantic import BaseModel

from tests.engines.sim.rig import simulator

TOOL = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
USER: Any = [{"role": "user", "content": "How is the weather in Paris?"}]


@pytest.fixture
async def oai() -> AsyncIterator[openai.AsyncOpenAI]:
    """OpenAI's client in front of a simulator."""
    async with (
        simulator() as server,
        openai.AsyncOpenAI(
            base_url=f"{server.urls[0]}/v1", api_key="none", max_retries=0
        ) as client,
    ):
        yield client


@pytest.fixture
async def claude() -> AsyncIterator[anthropic.AsyncAnthropic]:
    """Anthropic's client in front of a simulator."""
    async with (
        simulator() as server,
        anthropic.AsyncAnthropic(base_url=server.urls[0], api_key="none", max_retries=0) as client,
    ):
        yield client


async def test_chat(oai: openai.AsyncOpenAI) -> None:
    """A stream says what the whole answer says, and its usage is right."""
    whole = await oai.chat.completions.create(model="sim", messages=USER, max_tokens=20)
    stream = await oai.chat.completions.create(
        model="sim", messages=USER, max_tokens=20, stream=True,
        stream_options={"include_usage": True},
    )  # fmt: skip
    chunks = [chunk async for chunk in stream]

    said = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert whole.choices[0].message.content == said
    assert whole.usage is not None
    assert chunks[-1].usage is not None
    assert whole.usage.completion_tokens == chunks[-1].usage.completion_tokens


@pytest.mark.parametrize(
    ("choice", "reason"),
    [("required", "tool_calls"), ({"type": "function", "function": {"name": "look"}}, "stop")],
)
async def test_chat_tools(oai: openai.AsyncOpenAI, choice: Any, reason: str) -> None:
    """A tool that must be called is called with arguments of its schema, streamed or whole."""
    tools: Any = [{"type": "function", "function": {"name": "look", "parameters": TOOL}}]
    asked: Any = {"model": "sim", "messages": USER, "tools": tools, "tool_choice": choice}
    whole = await oai.chat.completions.create(**asked)
    async with oai.chat.completions.stream(**asked) as stream:
        final = await stream.get_final_completion()

    for found in (whole, final):
        (call,) = found.choices[0].message.tool_calls or []
        assert (reason, "look") == (found.choices[0].finish_reason, call.function.name)
        assert ["city"] == [*json.loads(call.function.arguments)]


async def test_a_tool_may_be_left_alone(oai: openai.AsyncOpenAI) -> None:
    """Tools that need not be called are not."""
    tools: Any = [{"type": "function", "function": {"name": "look", "parameters": TOOL}}]
    found = await oai.chat.completions.create(model="sim", messages=USER, tools=tools)

    assert found.choices[0].message.tool_calls is None
    assert found.choices[0].message.content


async def test_chat_schema(oai: openai.AsyncOpenAI) -> None:
    """An answer that is bound to a schema satisfies it."""

    class Weather(BaseModel):
        city: str
        degrees: float
        days: list[int]

    found = await oai.chat.completions.parse(
        model="sim", messages=USER, response_format=Weather, max_tokens=200
    )

    assert isinstance(found.choices[0].message.parsed, Weather)


async def test_chat_json(oai: openai.AsyncOpenAI) -> None:
    """An answer that must be JSON is a JSON object."""
    found = await oai.chat.completions.create(
        model="sim", messages=USER, response_format={"type": "json_object"}
    )

    assert isinstance(json.loads(found.choices[0].message.content or ""), dict)


async def test_completions(oai: openai.AsyncOpenAI) -> None:
    """Text completions, of text and of tokens."""
    one = await oai.completions.create(model="sim", prompt="Once upon", max_tokens=4)
    two = await oai.completions.create(model="sim", prompt=[1, 2, 3], max_tokens=4)

    assert one.choices[0].text
    assert two.usage is not None
    assert 3 == two.usage.prompt_tokens


async def test_responses(oai: openai.AsyncOpenAI) -> None:
    """The Responses API: whole, and as a stream whose events are numbered without a gap."""
    asked: Any = {"model": "sim", "input": "Hello", "instructions": "Be brief."}
    whole = await oai.responses.create(**asked, max_output_tokens=12)
    events = [
        e async for e in await oai.responses.create(**asked, max_output_tokens=12, stream=True)
    ]

    said = "".join(e.delta for e in events if e.type == "response.output_text.delta")
    assert whole.output_text == said
    assert [*range(len(events))] == [event.sequence_number for event in events]
    assert events[-1].type in {"response.completed", "response.incomplete"}
    assert whole.usage is not None
    assert 0 < whole.usage.output_tokens <= 12


async def test_responses_tool(oai: openai.AsyncOpenAI) -> None:
    """A function that must be called is an output of its own."""
    tools: Any = [{"type": "function", "name": "look", "parameters": TOOL}]
    asked: Any = {"model": "sim", "input": "Hello", "tools": tools, "tool_choice": "required"}
    whole: Any = (await oai.responses.create(**asked)).output[0]
    async with oai.responses.stream(**asked) as stream:
        final: Any = (await stream.get_final_response()).output[0]

    assert "function_call" == whole.type == final.type
    assert whole.arguments == final.arguments
    assert ["city"] == [*json.loads(whole.arguments)]


async def test_embeddings(oai: openai.AsyncOpenAI) -> None:
    """Vectors, which this client asks for in base64."""
    found = await oai.embeddings.create(model="sim", input=["a", "b"])

    assert [384, 384] == [len(entry.embedding) for entry in found.data]


async def test_models_and_errors(oai: openai.AsyncOpenAI) -> None:
    """The client lists the model, and raises what it should for another one."""
    assert ["sim"] == [model.id async for model in oai.models.list()]
    with pytest.raises(openai.NotFoundError):
        await oai.chat.completions.create(model="nope", messages=USER)


async def test_messages(claude: anthropic.AsyncAnthropic) -> None:
    """A stream says what the whole message says, with the same usage."""
    asked: Any = {"model": "sim", "messages": USER, "max_tokens": 20, "system": "Be brief."}
    whole = await claude.messages.create(**asked)
    async with claude.messages.stream(**asked) as stream:
        final = await stream.get_final_message()

    said: list[Any] = [whole.content[0], final.content[0]]
    assert said[0].text == said[1].text
    assert (whole.stop_reason, whole.usage.output_tokens) == (
        final.stop_reason,
        final.usage.output_tokens,
    )


async def test_messages_stop_sequence(claude: anthropic.AsyncAnthropic) -> None:
    """A stop sequence is named as the reason."""
    found = await claude.messages.create(
        model="sim", messages=USER, max_tokens=200, stop_sequences=["e"]
    )

    assert ("stop_sequence", "e") == (found.stop_reason, found.stop_sequence)


@pytest.mark.parametrize("choice", [{"type": "any"}, {"type": "tool", "name": "look"}])
async def test_messages_tool(claude: anthropic.AsyncAnthropic, choice: Any) -> None:
    """A tool that must be used is used, streamed or whole."""
    asked: Any = {
        "model": "sim", "messages": USER, "max_tokens": 200, "tool_choice": choice,
        "tools": [{"name": "look", "input_schema": TOOL}],
    }  # fmt: skip
    whole = await claude.messages.create(**asked)
    async with claude.messages.stream(**asked) as stream:
        final = await stream.get_final_message()

    for found in (whole, final):
        block: Any = found.content[0]
        assert ("tool_use", "tool_use", "look", ["city"]) == (
            found.stop_reason, block.type, block.name, [*block.input],
        )  # fmt: skip


async def test_messages_count(claude: anthropic.AsyncAnthropic) -> None:
    """Counting tokens gives what the message is billed for."""
    counted = await claude.messages.count_tokens(model="sim", messages=USER)
    billed = (await claude.messages.create(model="sim", messages=USER, max_tokens=1)).usage

    cached = billed.cache_read_input_tokens or 0
    assert counted.input_tokens == billed.input_tokens + cached
