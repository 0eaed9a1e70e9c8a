"""What a real vLLM answers arrives as it was sent. What hanging up does is in test_aborts.py."""

import re
from collections.abc import Callable, Sequence
from typing import Any

import anthropic
import openai
import pytest

from tests.vllm.rig import ALIAS, CONTEXT, MODEL, Server

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(60, func_only=True)]

CAPITAL = [{"role": "user", "content": "What is the capital of France?"}]
SURE: dict[str, Any] = {"model": MODEL, "temperature": 0}
CHAT = {**SURE, "messages": CAPITAL, "max_tokens": 12}
TEXT = {**SURE, "prompt": "Once upon a time", "max_tokens": 12}
RESPONSE = {**SURE, "input": "What is the capital of France?", "max_output_tokens": 12}
MESSAGE = {**SURE, "messages": CAPITAL, "max_tokens": 12}
# The same for the SDK, which no longer has a parameter for the temperature.
ASK: dict[str, Any] = {
    "model": MODEL,
    "messages": CAPITAL,
    "max_tokens": 12,
    "extra_body": {"temperature": 0},
}
USAGE: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}
SCHEMA = {"type": "object", "properties": {"capital": {"type": "string"}}, "required": ["capital"]}
TRIES = 5
TOO_LONG = "river " * (CONTEXT + 50)

# What differs between two answers to the same question: ids and moments.
CHANGING = re.compile(
    rb'(?<="id":")[^"]+|(?<="item_id":")[^"]+|(?<="response_id":")[^"]+'
    rb'|(?<="created":)\d+|(?<="created_at":)[\d.]+'
)
# The event with usage and no choices, which vLLM sends at the end when it is asked for usage.
USAGE_EVENT = re.compile(rb'data: [^\n]*"choices":\[\],"usage":[^\n]*\n\n')

SAME = {
    "chat": ("/v1/chat/completions", CHAT),
    "chat with two choices": (
        "/v1/chat/completions",
        {**CHAT, "n": 2, "temperature": 0.5, "seed": 7},
    ),
    "chat with logprobs": ("/v1/chat/completions", {**CHAT, "logprobs": True, "top_logprobs": 2}),
    "chat with a schema": (
        "/v1/chat/completions",
        {
            **CHAT,
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "answer", "schema": SCHEMA},
            },
        },
    ),
    "chat stream with usage": ("/v1/chat/completions", {**CHAT, **USAGE}),
    "chat stream with usage in every chunk": (
        "/v1/chat/completions",
        {
            **CHAT,
            "stream": True,
            "stream_options": {"include_usage": True, "continuous_usage_stats": True},
        },
    ),
    "chat stream with usage declined": (
        "/v1/chat/completions",
        {**CHAT, "stream": True, "stream_options": {"include_usage": False}},
    ),
    "completions": ("/v1/completions", TEXT),
    "completions stream with usage": ("/v1/completions", {**TEXT, **USAGE}),
    "responses": ("/v1/responses", RESPONSE),
    "responses stream": ("/v1/responses", {**RESPONSE, "stream": True}),
    "messages": ("/v1/messages", MESSAGE),
    "messages stream": ("/v1/messages", {**MESSAGE, "stream": True}),
    "count tokens": ("/v1/messages/count_tokens", {"model": MODEL, "messages": CAPITAL}),
    "tokenize": ("/tokenize", {"model": MODEL, "prompt": "good morning"}),
    "tokenize a chat": ("/tokenize", {"model": MODEL, "messages": CAPITAL}),
    "detokenize": ("/detokenize", {"model": MODEL, "tokens": [5356, 5646]}),
}

REFUSED = {
    "answer too long": ("/v1/chat/completions", {**CHAT, "max_tokens": 99_999}),
    "prompt too long": ("/v1/completions", {**TEXT, "prompt": TOO_LONG}),
    "stream of a prompt too long": (
        "/v1/chat/completions",
        {**CHAT, "stream": True, "messages": [{"role": "user", "content": TOO_LONG}]},
    ),
    "bad temperature": ("/v1/chat/completions", {**CHAT, "temperature": -3}),
    "wrong type": ("/v1/chat/completions", {**CHAT, "messages": "hello"}),
    "message too long": ("/v1/messages", {**MESSAGE, "max_tokens": 99_999}),
    "response too long": ("/v1/responses", {**RESPONSE, "max_output_tokens": 99_999}),
    "not a token": ("/detokenize", {"model": MODEL, "tokens": ["x"]}),
}


def steady(body: bytes) -> bytes:
    """The body without what changes from one answer to the next."""
    return CHANGING.sub(b"*", body)


def alike(ask: Callable[[], Sequence[bytes]]) -> Sequence[bytes]:
    """
    Two answers that are the same, or the last two of several.

    When a busy machine reads a stream late, vLLM sends tokens together that it sends apart
    elsewhere; what a gateway changes differs every time.
    """
    answers: Sequence[bytes] = ()
    for _ in range(TRIES):
        answers = [steady(answer) for answer in ask()]
        if answers[0] == answers[1]:
            break
    return answers


class TestBytes:
    """The same request to the gateway and to vLLM itself."""

    @pytest.mark.parametrize(("path", "body"), SAME.values(), ids=SAME)
    def test_answers_are_untouched(
        self, gateway: Server, vllm: Server, path: str, body: dict[str, Any]
    ) -> None:
        """An answer has the bytes that vLLM sends, but for ids and moments."""

        def ask() -> Sequence[bytes]:
            direct = vllm.post(path, body)
            through = gateway.post(path, body)

            assert direct.status_code == 200, direct.text
            assert direct.status_code == through.status_code, through.text
            assert direct.headers["content-type"] == through.headers["content-type"]
            return direct.content, through.content

        direct, through = alike(ask)
        assert direct == through

    @pytest.mark.parametrize(
        "options",
        [{}, {"stream_options": None}, {"stream_options": {}}],
        ids=["left out", "null", "empty"],
    )
    @pytest.mark.parametrize(
        ("path", "body"), [("/v1/chat/completions", CHAT), ("/v1/completions", TEXT)]
    )
    def test_usage_nobody_asked_for_is_taken_out(
        self,
        gateway: Server,
        vllm: Server,
        path: str,
        body: dict[str, Any],
        options: dict[str, Any],
    ) -> None:
        """The gateway asks for usage for itself; a client that did not ask never sees it."""

        def ask() -> Sequence[bytes]:
            asked = vllm.post(path, {**body, **USAGE})
            through = gateway.post(path, {**body, "stream": True, **options})

            without, events = USAGE_EVENT.subn(b"", asked.content)
            assert events == 1
            return without, through.content

        without, through = alike(ask)
        assert without == through
        assert b'"usage"' not in through

    @pytest.mark.parametrize(("path", "body"), REFUSED.values(), ids=REFUSED)
    def test_errors_are_not_wrapped(
        self, gateway: Server, vllm: Server, path: str, body: dict[str, Any]
    ) -> None:
        """What vLLM refuses, the client reads in vLLM's own words, shape and status."""
        direct = vllm.post(path, body)
        through = gateway.post(path, body)

        assert 400 <= direct.status_code < 500, direct.text
        assert direct.status_code == through.status_code, through.text
        assert direct.headers["content-type"] == through.headers["content-type"]
        assert steady(direct.content) == steady(through.content)


class TestOpenAI:
    """The official OpenAI client."""

    def test_chat(self, oai: openai.OpenAI) -> None:
        """A model that really runs answers, and its tokens are counted."""
        answer = oai.chat.completions.create(**CHAT)

        assert "Paris" in str(answer.choices[0].message.content)
        assert answer.usage is not None
        assert answer.usage.prompt_tokens > 30
        assert answer.usage.completion_tokens > 5

    def test_stream_is_the_same_text(self, oai: openai.OpenAI) -> None:
        """Streamed piece by piece, the answer is the one that comes whole, without its usage."""
        whole = oai.chat.completions.create(**CHAT)
        chunks = list(oai.chat.completions.create(**CHAT, stream=True))

        pieces = [chunk.choices[0].delta.content or "" for chunk in chunks]
        assert whole.choices[0].message.content == "".join(pieces)
        assert len([piece for piece in pieces if piece]) > 3
        assert {None} == {chunk.usage for chunk in chunks}

    def test_stream_with_usage(self, oai: openai.OpenAI) -> None:
        """Usage that the client asks for comes in the last chunk, which has no choices."""
        whole = oai.chat.completions.create(**CHAT)
        *_, last = oai.chat.completions.create(**CHAT, **USAGE)

        assert last.choices == []
        assert last.usage is not None
        assert whole.usage is not None
        assert whole.usage.total_tokens == last.usage.total_tokens

    def test_completions(self, oai: openai.OpenAI) -> None:
        """The older endpoint gives the same text whole and streamed."""
        whole = oai.completions.create(**TEXT)
        chunks = oai.completions.create(**TEXT, stream=True)

        assert whole.choices[0].text
        assert whole.choices[0].text == "".join(chunk.choices[0].text for chunk in chunks)

    def test_responses(self, oai: openai.OpenAI) -> None:
        """The Responses API gives the same text whole and as typed events."""
        whole = oai.responses.create(**RESPONSE)
        events = list(oai.responses.create(**RESPONSE, stream=True))

        assert "Paris" in whole.output_text
        assert events[0].type == "response.created"
        assert events[-1].type in {"response.completed", "response.incomplete"}
        deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
        assert whole.output_text == "".join(deltas)

    def test_a_stored_response_can_be_fetched_and_continued(self, oai: openai.OpenAI) -> None:
        """A response is found again by its id alone, and the next one can go on from it."""
        first = oai.responses.create(**RESPONSE, store=True)
        again = oai.responses.retrieve(first.id)
        following = oai.responses.create(
            **{**RESPONSE, "input": "And of Spain?"}, previous_response_id=first.id
        )

        assert first.output_text == again.output_text
        assert first.usage is not None
        assert following.usage is not None
        assert following.usage.input_tokens > first.usage.input_tokens

    def test_models(self, oai: openai.OpenAI) -> None:
        """The catalogue lists the model by the name that requests may use."""
        assert MODEL in [model.id for model in oai.models.list()]

    def test_tokens_survive_a_round_trip(self, gateway: Server) -> None:
        """What /tokenize takes apart, /detokenize puts together."""
        text = {"prompt": "rivers carry 42 boats"}
        tokens = gateway.post("/tokenize", {"model": MODEL, **text}).json()
        again = gateway.post("/detokenize", {"model": MODEL, "tokens": tokens["tokens"]}).json()

        assert tokens["count"] == len(tokens["tokens"])
        assert text == again

    def test_context_too_long(self, oai: openai.OpenAI) -> None:
        """The SDK raises its own error with vLLM's words, so that a client can ask for less."""
        with pytest.raises(openai.BadRequestError, match=f"max_model_len={CONTEXT}") as caught:
            oai.chat.completions.create(**{**CHAT, "max_tokens": 99_999})

        assert caught.value.param == "max_tokens"

    def test_unknown_model(self, oai: openai.OpenAI, idle: Server) -> None:
        """A model that is not declared is refused here; vLLM never hears of it."""
        before = idle.metric("vllm:prompt_tokens_total")

        with pytest.raises(openai.NotFoundError) as caught:
            oai.chat.completions.create(**{**CHAT, "model": "nope"})

        assert caught.value.code == "model_not_found"
        assert before == idle.metric("vllm:prompt_tokens_total")


class TestAnthropic:
    """The official Anthropic client, answered by vLLM's own /v1/messages."""

    def test_message(self, claude: anthropic.Anthropic) -> None:
        """A message comes back with its usage."""
        answer = claude.messages.create(**ASK)

        assert answer.content[0].type == "text"
        assert "Paris" in answer.content[0].text
        assert answer.usage.output_tokens > 0

    def test_stream(self, claude: anthropic.Anthropic) -> None:
        """Streamed, the message is the one that comes whole."""
        whole = claude.messages.create(**ASK)
        with claude.messages.stream(**ASK) as stream:
            text = "".join(stream.text_stream)
            final = stream.get_final_message()

        assert whole.content[0].type == "text"
        assert whole.content[0].text == text
        assert whole.usage.output_tokens == final.usage.output_tokens

    def test_count_tokens(self, claude: anthropic.Anthropic) -> None:
        """The count before a request is the count that the answer reports."""
        question: dict[str, Any] = {"model": MODEL, "messages": CAPITAL}
        count = claude.messages.count_tokens(**question)
        answer = claude.messages.create(**question, max_tokens=1)

        assert count.input_tokens == answer.usage.input_tokens

    def test_unknown_model(self, claude: anthropic.Anthropic) -> None:
        """The gateway's own refusal has the shape that this SDK reads."""
        with pytest.raises(anthropic.NotFoundError) as caught:
            claude.messages.create(**{**ASK, "model": "nope"})

        assert isinstance(caught.value.body, dict)
        assert caught.value.body["error"]["type"] == "not_found_error"


class TestAlias:
    """A client that uses an alias sees nothing but the alias."""

    @pytest.mark.parametrize(
        ("path", "body"),
        [
            ("/v1/chat/completions", CHAT),
            ("/v1/chat/completions", {**CHAT, "stream": True}),
            ("/v1/completions", {**TEXT, "stream": True}),
            ("/v1/responses", RESPONSE),
            ("/v1/responses", {**RESPONSE, "stream": True}),
            ("/v1/messages", MESSAGE),
            ("/v1/messages", {**MESSAGE, "stream": True}),
        ],
        ids=lambda value: value if isinstance(value, str) else f"stream={'stream' in value}",
    )
    def test_answers_name_the_alias(self, gateway: Server, path: str, body: dict[str, Any]) -> None:
        """Whole or streamed, every `model` in the answer is the name that the client asked for."""
        answer = gateway.post(path, {**body, "model": ALIAS})

        assert answer.status_code == 200, answer.text
        assert {ALIAS} == set(re.findall(r'"model":"([^"]*)"', answer.text))
