"""The official Anthropic client: Messages in the dialect it speaks, errors included."""

from typing import Any

import anthropic
import pytest
from anthropic.types import ToolParam

from tests.e2e.rig import MODEL, Up
from tests.e2e.test_openai import ECHO, ECHOED

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300), pytest.mark.xdist_group("e2e")]

# The client has no parameter for the temperature any more.
ASK: dict[str, Any] = {
    "model": MODEL,
    "messages": ECHO,
    "max_tokens": 16,
    "extra_body": {"temperature": 0},
}
COUNT: dict[str, Any] = {"model": MODEL, "messages": ECHO}
WEATHER: ToolParam = {
    "name": "get_weather",
    "description": "Current weather in a city",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 20}},
        "required": ["city"],
    },
}


class TestMessages:
    """``messages``."""

    def test_create(self, claude: anthropic.Anthropic) -> None:
        """Text, the reason to stop, and usage: fresh and cached input together are the prompt."""
        answer = claude.messages.create(**ASK)
        counted = claude.messages.count_tokens(**COUNT)

        assert [block.text for block in answer.content if block.type == "text"] == [ECHOED]
        assert answer.stop_reason == "end_turn"
        assert answer.model == MODEL
        usage = answer.usage
        assert counted.input_tokens == usage.input_tokens + (usage.cache_read_input_tokens or 0)
        assert usage.output_tokens > 5

    def test_stream(self, claude: anthropic.Anthropic) -> None:
        """Text in pieces, message_stop at the end, usage in the final message."""
        with claude.messages.stream(**ASK) as stream:
            events = list(stream)
            final = stream.get_final_message()

        pieces = [event.text for event in events if event.type == "text"]
        assert "".join(pieces) == ECHOED
        assert len(pieces) > 3
        assert events[0].type == "message_start"
        assert events[-1].type == "message_stop"
        assert final.stop_reason == "end_turn"
        assert final.usage.output_tokens == len(pieces) + 1  # and the end of the turn

    def test_tool(self, claude: anthropic.Anthropic) -> None:
        """A tool is used with its arguments."""
        answer = claude.messages.create(
            **{
                **ASK,
                "messages": [
                    {"role": "user", "content": "What is the weather in Paris? Use the tool."}
                ],
                "max_tokens": 50,
            },
            tools=[WEATHER],
            tool_choice={"type": "any"},
        )

        assert answer.stop_reason == "tool_use"
        uses = [block for block in answer.content if block.type == "tool_use"]
        assert [(use.name, use.input) for use in uses] == [("get_weather", {"city": "Paris"})]


class TestErrors:
    """The shape that the client's exceptions are made of."""

    def test_unknown_model(self, claude: anthropic.Anthropic) -> None:
        """Not found, as Anthropic says it."""
        with pytest.raises(anthropic.NotFoundError) as caught:
            claude.messages.create(**{**ASK, "model": "claude"})

        assert isinstance(caught.value.body, dict)
        assert caught.value.body["type"] == "error"
        assert caught.value.body["error"]["type"] == "not_found_error"
        assert "`claude`" in caught.value.body["error"]["message"]

    def test_unknown_model_to_count(self, claude: anthropic.Anthropic) -> None:
        """The other endpoint has the same shape."""
        with pytest.raises(anthropic.NotFoundError):
            claude.messages.count_tokens(**{**COUNT, "model": "claude"})

    def test_an_engines_refusal(self, claude: anthropic.Anthropic) -> None:
        """llama.cpp's own error, which has another shape, arrives in Anthropic's."""
        long = [{"role": "user", "content": "river " * 9000}]
        with pytest.raises(anthropic.BadRequestError, match="exceeds the available context") as hit:
            claude.messages.create(**{**ASK, "messages": long})

        assert isinstance(hit.value.body, dict)
        assert hit.value.body["type"] == "error"
        assert hit.value.body["error"]["type"] == "invalid_request_error"

    def test_not_json(self, claude: anthropic.Anthropic) -> None:
        """The gateway's own refusal has that shape too."""
        with pytest.raises(anthropic.BadRequestError, match="not valid JSON"):
            claude.post("/v1/messages", cast_to=object, content=b"{nope")


def test_request_id(claude: anthropic.Anthropic) -> None:
    """The client shows the id of a request, as it does with Anthropic's own API."""
    assert claude.messages.create(**ASK)._request_id


def test_cached_input_is_part_of_the_input(claude: anthropic.Anthropic, gateway: Up) -> None:
    """The log counts a prompt the same in every dialect: cached tokens are a part of it."""
    claude.messages.create(**ASK)  # so that the engine's cache has the prompt
    answer = claude.messages.with_raw_response.create(**ASK)
    prompt = claude.messages.count_tokens(**COUNT).input_tokens

    record = gateway.record(answer.headers["x-request-id"])
    assert record["tokens_cached"] > 0
    assert record["tokens_in"] == prompt
