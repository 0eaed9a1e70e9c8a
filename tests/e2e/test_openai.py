"""The official OpenAI client, blocking: every endpoint it has for what Headrace serves."""

import json
from typing import Any

import httpx2
import openai
import pydantic
import pytest

from tests.e2e.rig import ENDLESS, MODEL, SECRET, Up, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300), pytest.mark.xdist_group("e2e")]

# A model of 135M parameters is sure of little; it is sure of these.
ECHO = [{"role": "user", "content": "Repeat after me: one two three four five"}]
ECHOED = "One two three four five."
COUNT = "1, 2, 3, 4, 5, 6, 7, 8,"
COUNTED = " 9, 10, 11, "
ALICE = [{"role": "user", "content": "Alice is 30 years old."}]
PARIS = [{"role": "user", "content": "What is the weather in Paris? Use the tool."}]

CHAT: dict[str, Any] = {
    "model": MODEL,
    "messages": ECHO,
    "temperature": 0,
    "seed": 1,
    "max_tokens": 16,
}
TEXT: dict[str, Any] = {"model": MODEL, "prompt": COUNT, "temperature": 0, "max_tokens": 12}
RESPONSE: dict[str, Any] = {
    "model": MODEL,
    "input": ECHO[0]["content"],
    "temperature": 0,
    "max_output_tokens": 16,
}
USAGE: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}
WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Current weather in a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "maxLength": 20}},
            "required": ["city"],
        },
    },
}
CALL: dict[str, Any] = {
    "model": MODEL,
    "messages": PARIS,
    "tools": [WEATHER],
    "temperature": 0,
    "max_tokens": 50,
}


class Person(pydantic.BaseModel):
    """What the model is made to answer with."""

    name: str = pydantic.Field(max_length=12)
    age: int = pydantic.Field(ge=1, le=99)


class TestModels:
    """The catalogue."""

    def test_list(self, oai: openai.OpenAI) -> None:
        """The one model is listed by the name that the banner shows."""
        assert [model.id for model in oai.models.list()] == [MODEL]

    def test_retrieve(self, oai: openai.OpenAI) -> None:
        """One model is the same as in the list."""
        assert oai.models.retrieve(MODEL) == oai.models.list().data[0]

    def test_retrieve_another(self, oai: openai.OpenAI) -> None:
        """What is not there is told with the name that was perhaps meant."""
        with pytest.raises(openai.NotFoundError, match=f"Did you mean `{MODEL}`") as caught:
            oai.models.retrieve("SmolLM2")

        assert caught.value.code == "model_not_found"


class TestChat:
    """``chat.completions``."""

    def test_usage_is_what_was_said(
        self, oai: openai.OpenAI, plain: httpx2.Client, gateway: Up
    ) -> None:
        """Tokens in the answer's usage, counted by the engine, and in the log are the same."""
        answer = oai.chat.completions.create(**CHAT)
        body = {"model": MODEL, "content": ECHOED}
        spoken = len(plain.post("/tokenize", json=body).json()["tokens"]) + 1  # and its end

        assert answer.choices[0].message.content == ECHOED
        assert answer.choices[0].finish_reason == "stop"
        assert answer.model == MODEL
        assert answer.usage is not None
        assert answer.usage.completion_tokens == spoken
        assert answer.usage.total_tokens == answer.usage.prompt_tokens + spoken
        record = gateway.record(answer._request_id)
        assert record["tokens_out"] == spoken
        assert record["tokens_in"] == answer.usage.prompt_tokens

    def test_stream(self, oai: openai.OpenAI, gateway: Up) -> None:
        """The whole text in pieces, one reason to finish, no usage that nobody asked for."""
        with oai.chat.completions.create(**CHAT, stream=True) as stream:
            chunks = list(stream)
            request_id = stream.response.headers["x-request-id"]

        choices = [choice for chunk in chunks for choice in chunk.choices]
        pieces = [choice.delta.content for choice in choices if choice.delta.content]
        assert "".join(pieces) == ECHOED
        assert len(pieces) > 3
        assert [c.finish_reason for c in choices if c.finish_reason] == ["stop"]
        assert all(chunk.usage is None and chunk.choices for chunk in chunks)
        record = gateway.record(request_id)
        assert record["tokens_out"] == len(pieces) + 1, record  # the engine's own count, taken out
        assert "estimated" not in record
        assert record["ttft_ms"] <= record["total_ms"]

    def test_stream_with_usage(self, oai: openai.OpenAI) -> None:
        """Usage that is asked for comes once, in the last chunk, and equals the whole answer's."""
        whole = oai.chat.completions.create(**CHAT)
        *chunks, last = oai.chat.completions.create(**CHAT, **USAGE)

        assert last.choices == []
        assert last.usage is not None
        assert whole.usage is not None
        assert last.usage.total_tokens == whole.usage.total_tokens
        assert all(chunk.usage is None for chunk in chunks)

    def test_stream_by_events(self, oai: openai.OpenAI) -> None:
        """The client's own accumulation of a stream ends with the whole message."""
        with oai.chat.completions.stream(**CHAT) as stream:
            kinds = {event.type for event in stream}
            final = stream.get_final_completion()

        assert {"chunk", "content.delta", "content.done"} <= kinds
        assert final.choices[0].message.content == ECHOED

    def test_max_tokens(self, oai: openai.OpenAI) -> None:
        """Both names of the limit cut the answer there, and the reason says so."""
        for limit in ("max_tokens", "max_completion_tokens"):
            answer = oai.chat.completions.create(**{**CHAT, "max_tokens": openai.omit, limit: 3})

            assert answer.choices[0].finish_reason == "length"
            assert answer.usage is not None
            assert answer.usage.completion_tokens == 3

    def test_stop(self, oai: openai.OpenAI) -> None:
        """The answer ends before the word at which it is to stop."""
        answer = oai.chat.completions.create(**CHAT, stop=["four"])

        assert answer.choices[0].message.content == "One two three "
        assert answer.choices[0].finish_reason == "stop"

    def test_several_choices(self, oai: openai.OpenAI) -> None:
        """``n`` answers, each with its index, whole and streamed."""
        asked = {**CHAT, "n": 2}
        whole = oai.chat.completions.create(**asked)
        texts = {0: "", 1: ""}
        for chunk in oai.chat.completions.create(**asked, stream=True):
            for choice in chunk.choices:
                texts[choice.index] += choice.delta.content or ""

        assert [choice.index for choice in whole.choices] == [0, 1]
        assert [choice.message.content for choice in whole.choices] == [ECHOED, ECHOED]
        assert texts == {0: ECHOED, 1: ECHOED}


class TestTools:
    """Function calls."""

    @pytest.mark.parametrize(
        "choice",
        ["auto", "required", {"type": "function", "function": {"name": "get_weather"}}],
        ids=["auto", "required", "named"],
    )
    def test_call(self, oai: openai.OpenAI, choice: Any) -> None:
        """
        However it is asked for, the call has the tool's name and arguments that are JSON. llama.cpp
        takes a named tool for ``auto``, so that the question has to name it too.
        """
        answer = oai.chat.completions.create(**CALL, tool_choice=choice)

        assert answer.choices[0].finish_reason == "tool_calls"
        calls = answer.choices[0].message.tool_calls
        assert calls is not None
        (call,) = calls
        assert call.type == "function"
        assert call.id
        assert call.function.name == "get_weather"
        assert json.loads(call.function.arguments) == {"city": "Paris"}

    def test_streamed_call(self, oai: openai.OpenAI) -> None:
        """The pieces of the arguments join to the same JSON."""
        name, arguments, reasons = "", "", []
        for chunk in oai.chat.completions.create(**CALL, tool_choice="required", stream=True):
            choice = chunk.choices[0]
            reasons.append(choice.finish_reason)
            for call in choice.delta.tool_calls or ():
                assert call.function is not None
                name += call.function.name or ""
                arguments += call.function.arguments or ""

        assert name == "get_weather"
        assert json.loads(arguments) == {"city": "Paris"}
        assert [reason for reason in reasons if reason] == ["tool_calls"]


class TestStructuredOutput:
    """Answers that follow a schema."""

    def test_json_schema(self, oai: openai.OpenAI) -> None:
        """A schema written by hand is obeyed."""
        answer = oai.chat.completions.create(
            **{**CHAT, "messages": ALICE, "max_tokens": 40},
            response_format={
                "type": "json_schema",
                "json_schema": {"name": "person", "schema": Person.model_json_schema()},
            },
        )

        person = Person.model_validate_json(answer.choices[0].message.content or "")
        assert person == Person(name="Alice", age=30)

    def test_parse(self, oai: openai.OpenAI) -> None:
        """A Pydantic model goes in and an object of it comes out."""
        answer = oai.chat.completions.parse(
            **{**CHAT, "messages": ALICE, "max_tokens": 40}, response_format=Person
        )

        assert answer.choices[0].message.parsed == Person(name="Alice", age=30)


class TestCompletions:
    """The older endpoint."""

    def test_whole_and_streamed(self, oai: openai.OpenAI) -> None:
        """
        The same text both ways, in several pieces, and no chunk that is only there for usage:
        llama.cpp puts it into the last piece here, asked or not.
        """
        whole = oai.completions.create(**TEXT)
        chunks = list(oai.completions.create(**TEXT, stream=True))

        assert whole.choices[0].text == COUNTED
        assert "".join(chunk.choices[0].text for chunk in chunks) == COUNTED
        assert len(chunks) > 3
        assert whole.usage is not None
        assert whole.usage.completion_tokens == 12
        assert all(chunk.choices for chunk in chunks)
        assert chunks[-1].usage is not None
        assert chunks[-1].usage.completion_tokens == 12


class TestResponses:
    """The Responses API."""

    def test_create(self, oai: openai.OpenAI) -> None:
        """Text, status and usage."""
        answer = oai.responses.create(**RESPONSE)

        assert answer.output_text == ECHOED
        assert answer.status == "completed"
        assert answer.usage is not None
        assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens

    def test_stream(self, oai: openai.OpenAI, gateway: Up) -> None:
        """Typed events from created to completed, whose pieces are the text; usage is logged."""
        with oai.responses.create(**RESPONSE, stream=True) as stream:
            events = list(stream)
            request_id = stream.response.headers["x-request-id"]

        first, last = events[0], events[-1]
        assert first.type == "response.created"
        assert last.type == "response.completed"
        assert last.response.output_text == ECHOED
        pieces = [event.delta for event in events if event.type == "response.output_text.delta"]
        assert "".join(pieces) == ECHOED
        assert last.response.usage is not None
        assert gateway.record(request_id)["tokens_out"] == last.response.usage.output_tokens

    def test_what_the_engine_cannot_do(self, oai: openai.OpenAI) -> None:
        """llama.cpp continues no stored response, and says so in its own words."""
        with pytest.raises(openai.BadRequestError, match="previous_response_id"):
            oai.responses.create(**RESPONSE, previous_response_id="resp_1")


class TestErrors:
    """What goes wrong is the exception that a program expects."""

    def test_an_engines_error(self, oai: openai.OpenAI) -> None:
        """The embedded engine makes no embeddings; its words arrive as an error of the server."""
        with pytest.raises(openai.InternalServerError) as caught:
            oai.embeddings.create(model=MODEL, input="hello")

        error = caught.value
        assert error.status_code == 501
        assert isinstance(error.body, dict)
        assert "does not support embeddings" in error.body["message"]
        assert error.type == "not_supported_error"
        assert error.body["code"] == 501  # llama.cpp's codes are the status, as a number
        assert error.request_id

    def test_unknown_model(self, oai: openai.OpenAI, gateway: Up) -> None:
        """404 with the code that clients look for; the engine never hears of it."""
        with pytest.raises(openai.NotFoundError) as caught:
            oai.chat.completions.create(**{**CHAT, "model": "gpt-4o"})

        assert caught.value.code == "model_not_found"
        assert caught.value.param == "model"
        record = gateway.record(caught.value.request_id)
        assert record["outcome"] == "rejected_model"
        assert record["attempts"] == 0

    def test_unknown_model_in_a_stream(self, oai: openai.OpenAI) -> None:
        """A stream that cannot begin is an exception at the call, not in the loop."""
        with pytest.raises(openai.NotFoundError):
            oai.chat.completions.create(**{**CHAT, "model": "gpt-4o"}, stream=True)

    @pytest.mark.parametrize(
        "wrong",
        [{"messages": "hello"}, {"temperature": "hot"}, {"max_tokens": "many"}],
        ids=lambda wrong: next(iter(wrong)),
    )
    def test_a_wrong_field(self, oai: openai.OpenAI, wrong: dict[str, Any]) -> None:
        """What the engine refuses is a bad request."""
        with pytest.raises(openai.BadRequestError) as caught:
            oai.chat.completions.create(**{**CHAT, **wrong})

        assert caught.value.type == "invalid_request_error"
        assert caught.value.request_id

    def test_too_long(self, oai: openai.OpenAI) -> None:
        """A prompt over the context is a bad request, with both numbers in the sentence."""
        with pytest.raises(openai.BadRequestError, match=r"9001 tokens.*8192 tokens"):
            oai.completions.create(**{**TEXT, "prompt": "river " * 9000})

    def test_not_json(self, oai: openai.OpenAI) -> None:
        """A broken body is refused with its place."""
        with pytest.raises(openai.BadRequestError, match=r"not valid JSON.*byte 1") as caught:
            oai.post("/chat/completions", cast_to=object, content=b"{nope")

        assert caught.value.code == "invalid_json"

    def test_an_endpoint_that_is_not_there(self, oai: openai.OpenAI) -> None:
        """What Headrace does not serve is not found, and its path is told."""
        with pytest.raises(openai.NotFoundError, match="/v1/images/generations") as caught:
            oai.images.generate(model=MODEL, prompt="a river")

        assert caught.value.code == "not_found"


class TestRequestId:
    """One id from the client to the log."""

    def test_is_set(self, oai: openai.OpenAI, gateway: Up) -> None:
        """Every answer has one, no two the same, and the log has it too."""
        answers = [oai.chat.completions.create(**{**CHAT, "max_tokens": 1}) for _ in range(2)]

        first, second = (answer._request_id for answer in answers)
        assert first != second
        assert gateway.record(first)["endpoint"] == "/v1/chat/completions"

    def test_can_be_chosen(self, oai: openai.OpenAI, gateway: Up) -> None:
        """A client's own id is kept."""
        answer = oai.completions.create(
            **{**TEXT, "max_tokens": 1}, extra_headers={"x-request-id": "mine-1"}
        )

        assert answer._request_id == "mine-1"
        assert gateway.record("mine-1")["outcome"] == "completed"


class TestHangingUp:
    """A client that leaves frees what it held."""

    def test_streams_closed_early(self, oai: openai.OpenAI, gateway: Up) -> None:
        """With all slots taken by endless answers, closing them makes room at once."""
        streams = [oai.completions.create(**ENDLESS, stream=True) for _ in range(4)]
        for stream in streams:
            next(stream)
        assert gateway.running() == 4
        for stream in streams:
            stream.close()

        wait_until(lambda: gateway.running() == 0, "the gateway has let go", 5)
        assert oai.with_options(timeout=10).completions.create(**TEXT).choices[0].text == COUNTED
        record = gateway.record(streams[0].response.headers["x-request-id"])
        assert record["outcome"] == "client_gone"
        assert record["tokens_out"] < 4000


def test_the_key_is_not_logged(oai: openai.OpenAI, gateway: Up) -> None:
    """A client's key stands nowhere in the log, neither for an answer nor for an error."""
    whole = oai.completions.create(**{**TEXT, "max_tokens": 1})
    with pytest.raises(openai.NotFoundError) as caught:
        oai.completions.create(**{**TEXT, "model": "none"})
    gateway.record(whole._request_id)
    gateway.record(caught.value.request_id)

    assert oai.api_key == SECRET
    assert SECRET not in gateway.log.read_text() + gateway.out.read_text()
