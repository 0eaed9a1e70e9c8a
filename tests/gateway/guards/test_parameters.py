"""parameters.py: what a client may not say to an engine, and forms that no engine is asked for."""

import json
from typing import Any, get_type_hints

import pytest
from anthropic.types import message_count_tokens_params, message_create_params
from anthropic.types.beta import message_create_params as beta
from openai.types import completion_create_params, embedding_create_params
from openai.types.audio import transcription_create_params
from openai.types.chat import completion_create_params as chat
from openai.types.responses import response_create_params

from headrace.admission.types import NOBODY, Caller
from headrace.config.parameters import CONTROLS
from headrace.config.parameters import Parameters as Settings
from headrace.errors import BadRequest
from headrace.gateway.body import scan
from headrace.gateway.guards import parameters
from headrace.gateway.guards.parameters import LOOKS, Parameters
from tests.edge.rig import Rig, anthropic_error, ask, openai_error

BAD: dict[str, Any] = {"type": "object", "properties": {"foo": "bar"}}
GOOD: dict[str, Any] = {"type": "object", "properties": {"foo": {"type": "string"}}}
NO_PATTERN = "(a"
TYPED = (
    chat.CompletionCreateParamsNonStreaming,
    completion_create_params.CompletionCreateParamsNonStreaming,
    embedding_create_params.EmbeddingCreateParams,
    response_create_params.ResponseCreateParamsNonStreaming,
    transcription_create_params.TranscriptionCreateParamsNonStreaming,
    message_create_params.MessageCreateParamsNonStreaming,
    message_count_tokens_params.MessageCountTokensParams,
    beta.MessageCreateParamsNonStreaming,
)


def check(body: dict[str, Any] | bytes, caller: Caller = NOBODY, **settings: Any) -> None:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    Parameters(Settings.model_validate(settings)).check(data, scan.read(data), caller)


def refusal(body: dict[str, Any] | bytes, **settings: Any) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        check(body, **settings)
    return caught.value


@pytest.mark.parametrize("name", CONTROLS)
def test_controls_are_refused(name: str) -> None:
    """What an operator should say is not for clients, by default; the error names the setting."""
    error = refusal({"model": "m", name: 7})

    assert (400, name, "parameter_not_allowed") == (error.status, error.param, error.code)
    assert f"`{name}`" in error.message
    assert "`parameters.allow`" in error.message
    check({"model": "m", name: None})
    check({"model": "m", name: 7}, allow=[name])


@pytest.mark.parametrize(
    ("name", "value"),
    [("priority", 0), ("id_slot", -1), ("mm_processor_kwargs", {}), ("logits_processors", [])],
)
def test_what_asks_for_nothing(name: str, value: Any) -> None:
    """Clients that write out what is so anyway ask for nothing, and pass."""
    check({"model": "m", name: value})
    refusal({"model": "m", name: [value, 1]})


def test_a_parameter_by_the_way_of_another() -> None:
    """
    What is in ``vllm_xargs`` stands beside what vLLM makes of ``kv_transfer_params``, so that a
    text would reach a connector which wants an object.
    """
    error = refusal({"model": "m", "vllm_xargs": {"mine": 1, "kv_transfer_params": "x"}})

    assert ("vllm_xargs", "parameter_not_allowed") == (error.param, error.code)
    assert "`kv_transfer_params` in `vllm_xargs`" in error.message
    check({"model": "m", "vllm_xargs": {"mine": 1}})
    check({"vllm_xargs": {"ec_transfer_params": 1}}, allow=["ec_transfer_params"])
    check({"vllm_xargs": "no object"})


def test_a_name_that_is_spelled_in_another_way() -> None:
    """Escapes and repetitions are read as engines read them: the last one counts."""
    assert "chat_template" == refusal(b'{"chat\\u005ftemplate": "{{ 1 }}"}').param
    assert "priority" == refusal(b'{"priority": null, "priority": -9}').param
    check(b'{"priority": -9, "priority": null}')


def test_trusted_tenants() -> None:
    """They may say it all the same; whoever only claims to be one may not."""
    body = {"chat_template": "x", "chat_template_kwargs": {"tokenize": True}}
    check(body, Caller(tenant="ops"), trusted=["ops"])
    refusal(body | {"user": "ops"}, trusted=["ops"])
    refusal(body, trusted=["ops"])


@pytest.mark.parametrize("typed", TYPED)
def test_what_known_clients_send(typed: Any) -> None:
    """No parameter that OpenAI's or Anthropic's SDK has a name for is refused for its name."""
    named = set(get_type_hints(typed))

    assert {"model"} < named
    assert set() == named & {*CONTROLS, "chat_template_kwargs", "vllm_xargs"}


def test_arguments_of_templates() -> None:
    """A template's own pass; the engine's own are a way around it."""
    check({"chat_template_kwargs": {"enable_thinking": False, "custom": "x"}})
    for name in ("chat_template", "tokenize"):
        error = refusal({"chat_template_kwargs": {name: True}})
        assert ("chat_template_kwargs", "parameter_not_allowed") == (error.param, error.code)
    check({"chat_template_kwargs": {"tokenize": True}}, allow=["chat_template"])
    check({"chat_template_kwargs": "no object"})


def named(schema: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("response_format", named(GOOD), named(BAD)),
        ("response_format", {"type": "json_object"}, {"type": "json_object", "schema": BAD}),
        ("response_format", {"type": "json", "value": GOOD}, {"type": "json", "value": BAD}),
        ("response_format", {"type": "text"}, {"type": "regex", "pattern": NO_PATTERN}),
        ("response_format", "text", {"type": "grammar", "grammar": 3}),
        ("response_format", {"type": "structural_tag", "structures": [{"schema": GOOD}]},
         {"type": "structural_tag", "structures": [{"begin": "<f>", "schema": BAD}]}),
        ("text", "a text", {"format": {"type": "json_schema", "name": "n", "schema": BAD}}),
        ("text", {"verbosity": "low"}, {"format": {"type": "json_schema", "schema": BAD}}),
        ("output_format", {"type": "json_schema", "schema": GOOD},
         {"type": "json_schema", "schema": BAD}),
        ("output_config", {"effort": "low"}, {"format": {"type": "json_schema", "schema": BAD}}),
        ("guided_json", GOOD, BAD),
        ("guided_json", json.dumps(GOOD), json.dumps(BAD)),
        ("guided_json", "true", "no JSON"),
        ("json_schema", GOOD, [1]),
        ("guided_regex", "a+", "foo**"),
        ("regex", "a+", NO_PATTERN),
        ("guided_choice", ["a"], []),
        ("guided_grammar", "root ::= x", "(" * 99),
        ("grammar", "root ::= x", "(((a{999}){999}){999})"),
        ("ebnf", "root ::= x", 3),
        ("structured_outputs", {"json": GOOD}, {"json": BAD}),
        ("structured_outputs", {"regex": "a"}, {"regex": NO_PATTERN}),
        ("structured_outputs", {"choice": ["a"], "json": None}, {"choice": "a"}),
        ("structured_outputs", {"json_object": True}, {"grammar": 1}),
        ("structured_outputs", {"structural_tag": json.dumps({"format": {"json_schema": GOOD}})},
         {"structural_tag": json.dumps({"format": {"json_schema": BAD}})}),
        ("structural_tag", {}, "no JSON"),
        ("functions", [{"parameters": BAD}], [{"parameters": {"pattern": NO_PATTERN}}]),
        ("tools", [{"function": {"name": "f", "parameters": GOOD}}, "odd"],
         [{"function": {"parameters": {"properties": {"a": {"pattern": NO_PATTERN}}}}}]),
        ("tools", [{"name": "f", "input_schema": BAD}],
         [{"name": "f", "input_schema": {"$ref": "http://inside/"}}]),
        ("tools", [{"type": "custom", "custom": {"format": {"type": "text"}}}],
         [{"type": "custom", "custom": {"format": {"type": "grammar", "grammar":
           {"syntax": "regex", "definition": NO_PATTERN}}}}]),
        ("tools", [], [{"type": "custom", "format": {"type": "grammar", "syntax": "lark",
                        "definition": "(" * 99}}]),
    ],
)  # fmt: skip
def test_forms(name: str, good: Any, bad: Any) -> None:
    """Every place in which an API takes one: good ones pass, bad ones are 400 and name it."""
    check({"model": "m", name: good})
    error = refusal({"model": "m", name: bad})

    assert (400, name, "invalid_schema") == (error.status, error.param, error.code)
    assert error.message.startswith(f"`{name}` ")
    check({"model": "m", name: bad}, schemas={"enabled": False})


def test_every_form_has_a_place() -> None:
    """What the scan stops at is looked at, and what is looked at stops the scan."""
    looked = {*LOOKS} - {"tools"} | {"chat_template_kwargs", "vllm_xargs"}
    assert looked == {*scan.FORMS}


def test_size() -> None:
    """A form is not even read above its bytes, and JSON nested without end is no fault of ours."""
    body = {"guided_json": {"description": "x" * 600_000}}
    assert "more than 524288 bytes" in refusal(body).message
    assert (
        "nested" in refusal(b'{"guided_json": %b}' % (b'{"a":' * 900 + b"1" + b"}" * 900)).message
    )


def test_tools_are_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """An agent's list comes with each request; what is remembered is bounded, by bytes."""
    seen = []
    monkeypatch.setitem(LOOKS, "tools", lambda _, value: seen.append(len(value)))
    monkeypatch.setattr(parameters, "KNOWN_BYTES", 60)
    looks = Parameters(Settings())

    for tools in (b'[{"a":1}]', b'[{"a":1}]', b"[1,2]", b'[{"a":1}]', b"[%b1]" % (b"1," * 40)):
        body = b'{"tools":%b}' % tools
        looks.check(body, scan.read(body), NOBODY)
    body = b'{"tools":[{"a":1}]}'
    looks.check(body, scan.read(body), NOBODY)

    assert [1, 2, 41, 1] == seen


async def test_no_engine_hears_of_it(rig: Rig) -> None:
    """A refusal has the shape of its API, and comes before anything is sent."""
    engine = await rig.engine()
    await rig.gateway()
    form = named(BAD)
    refused = await rig.post(ask(response_format=form, stream=True))
    template = await rig.post(
        ask("/v1/messages", chat_template="{% for x in range(10**9) %}{% endfor %}"), "/v1/messages"
    )
    passed = await rig.post(ask(response_format=named(GOOD)))

    assert "response_format" == openai_error(refused, 400, "invalid_schema")["param"]
    assert "invalid_request_error" == anthropic_error(template, 400)["type"]
    assert 200 == passed.status
    assert 1 == len(engine.exchanges)
    assert named(GOOD) == engine.exchanges[0].json()["response_format"]


async def test_rules_may_ask_of_bodies_too(rig: Rig) -> None:
    """Another scan is used with them, which nothing gets past; what a rule itself sets is sent."""
    engine = await rig.engine()
    rules = [{"name": "tools", "match": {"tools": True}, "parameters": {"priority": {"set": 1}}}]
    await rig.gateway(rules=rules)

    refused = await rig.post(ask(priority=-5))
    passed = await rig.post(ask(tools=[{"type": "function", "function": {"name": "f"}}]))

    assert [400, 200] == [refused.status, passed.status]
    assert [1] == [each.json()["priority"] for each in engine.exchanges]
