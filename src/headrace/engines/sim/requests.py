"""Reading the requests of OpenAI's and Anthropic's dialects into wishes, with vLLM's refusals."""

import json
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from typing import Any

from headrace.engines.sim import text
from headrace.engines.sim.ask import Refused, Wish, invalid, number
from headrace.engines.sim.instance import instance

Body = Mapping[str, Any]
IMAGE_TOKENS = 256  # of a picture, whatever its size
MAX_STOPS = 16


def parse(body: bytes) -> Body:
    """
    The JSON object that a request carries.

    Raises:
        Refused: it is none.

    """
    try:
        found = json.loads(body)
    except UnicodeDecodeError:
        raise _broken(0, "Expecting value") from None
    except json.JSONDecodeError as error:
        raise _broken(error.pos, error.msg) from None
    if not isinstance(found, dict):
        raise invalid("model_attributes_type", "body", "Input should be a valid dictionary")
    return found


def chat(body: Body) -> Wish:
    """``/v1/chat/completions``."""
    tools = [
        _mapping(_mapping(tool, "tools").get("function"), "tools") for tool in _list(body, "tools")
    ]
    choice = body.get("tool_choice")
    name = None
    if isinstance(choice, Mapping):
        name = str(_mapping(choice.get("function"), "tool_choice").get("name"))
    call = _call(tools, "parameters", name, required=choice == "required")
    name_of_limit = "max_completion_tokens" if body.get("max_completion_tokens") else "max_tokens"
    form = body.get("response_format") or {}
    return _wish(
        body,
        prompt=rendered(_turns(body, "messages"), tools),
        max_tokens_name=name_of_limit,
        call=call,
        said=_bound(_mapping(form, "response_format"), "json_schema"),
        forced=name is not None,
    )


def completion(body: Body) -> Wish:
    """``/v1/completions``."""
    prompt = body.get("prompt")
    if isinstance(prompt, list) and len(prompt) == 1 and isinstance(prompt[0], str | list):
        prompt = prompt[0]
    if isinstance(prompt, str):
        pieces = text.tokens(prompt) or ["\n"]
    elif isinstance(prompt, list) and prompt and all(type(token) is int for token in prompt):
        pieces = [f"<{token}>" for token in prompt]
    elif isinstance(prompt, list) and len(prompt) > 1:
        raise Refused("The simulator takes one prompt per request.", "prompt")
    else:
        raise invalid("missing", "prompt", "Field required")
    given = body if body.get("max_tokens") is not None else {**body, "max_tokens": 16}
    return _wish(given, prompt=pieces)


def responses(body: Body) -> Wish:
    """``/v1/responses``."""
    asked = body.get("input")
    if isinstance(asked, str):
        turns: list[Body] = [{"role": "user", "content": asked}]
    else:
        turns = [*_turns(body, "input")]
    if body.get("instructions"):
        turns.insert(0, {"role": "system", "content": body["instructions"]})
    tools = [_mapping(tool, "tools") for tool in _list(body, "tools")]
    choice = body.get("tool_choice")
    name = str(choice.get("name")) if isinstance(choice, Mapping) else None
    form = _mapping(_mapping(body.get("text") or {}, "text").get("format") or {}, "text")
    return _wish(
        body,
        prompt=rendered(turns, tools),
        max_tokens_name="max_output_tokens",
        call=_call(tools, "parameters", name, required=choice == "required"),
        said=_bound({**form, "json_schema": form}, "json_schema"),
        forced=name is not None,
    )


def messages(body: Body, *, counting: bool = False) -> Wish:
    """Anthropic's ``/v1/messages``; ``counting`` is for count_tokens, which needs no limit."""
    turns = [*_turns(body, "messages")]
    if body.get("system"):
        turns.insert(0, {"role": "system", "content": body["system"]})
    tools = [_mapping(tool, "tools") for tool in _list(body, "tools")]
    if not counting and body.get("max_tokens") is None:
        raise invalid("missing", "max_tokens", "Field required")
    choice = _mapping(body.get("tool_choice") or {}, "tool_choice")
    name = str(choice.get("name")) if choice.get("type") == "tool" else None
    call = _call(tools, "input_schema", name, required=choice.get("type") == "any")
    stops = {"stop": body.get("stop_sequences")}
    return _wish({**body, **stops}, prompt=rendered(turns, tools), call=call)


def rendered(turns: Iterable[Body], tools: Iterable[Body] = ()) -> list[str]:
    """The tokens of a conversation, as a chat template would lay it out."""
    out = ["".join(f"<|tool|>{json.dumps(tool)}<|end|>\n" for tool in tools)]
    for turn in turns:
        role = str(turn.get("role") or turn.get("type") or "user")
        out.append(f"<|{role if role.isidentifier() else 'user'}|>\n{_content(turn)}<|end|>\n")
    out.append("<|assistant|>\n")
    return text.tokens("".join(out))


def _wish(body: Body, prompt: list[str], **given: Any) -> Wish:
    """The fields that all dialects share, in OpenAI's names."""
    temperature = body.get("temperature")
    if isinstance(temperature, int | float) and temperature < 0:
        raise Refused(
            f"temperature must be non-negative, got {float(temperature)}."
            f" (parameter=temperature, value={float(temperature)})",
            "temperature",
        )
    if number(body, "n") not in {None, 1}:
        raise Refused(f"The simulator gives one answer per request, n={body['n']} asked for.", "n")
    if body.get("logprobs"):
        raise Refused("The simulator knows no log probabilities.", "logprobs")
    call, said = given.pop("call", None), given.pop("said", None)
    options = _mapping(body.get("stream_options") or {}, "stream_options")
    name = given.get("max_tokens_name", "max_tokens")
    model = body.get("model")
    return Wish(
        model=model if model is None else str(model),
        prompt=prompt,
        stream=body.get("stream") is True,
        max_tokens=number(body, name),
        min_tokens=number(body, "min_tokens", 0) or 0,
        ignore_eos=body.get("ignore_eos") is True,
        seed=number(body, "seed", -(2**63)),
        stop=_stops(body.get("stop")),
        include_usage=options.get("include_usage") is True,
        continuous_usage=options.get("continuous_usage_stats") is True,
        salt=str(body.get("cache_salt") or ""),
        said=call[1] if call else said,
        call=call[0] if call else None,
        **given,
    )


def _call(
    tools: list[Body], schema: str, name: str | None, *, required: bool
) -> tuple[str, str] | None:
    """The tool that must be called, with its arguments; None when none must be."""
    if name is None and not required:
        return None
    tool = next((tool for tool in tools if name in {None, tool.get("name")}), None)
    if tool is None:
        raise Refused(f"Tool {name!r} of `tool_choice` is not in `tools`.", "tool_choice")
    arguments = instance(tool.get(schema) or {"type": "object"})
    return str(tool.get("name")), json.dumps(arguments)


def _bound(form: Body, key: str) -> str | None:
    """What an answer says that is bound to JSON; None when it is free."""
    if form.get("type") == "json_object":
        return json.dumps({"answer": "water"})
    if form.get("type") == "json_schema":
        return json.dumps(instance(_mapping(form.get(key), key).get("schema", {})))
    return None


def _turns(body: Body, name: str) -> list[Body]:
    turns = body.get(name)
    if not isinstance(turns, list):
        raise invalid("missing", name, "Field required")
    if not turns:
        raise Refused(f"{name} must not be empty. (parameter={name})", name)
    return [_mapping(turn, name) for turn in turns]


def _content(turn: Body) -> str:
    content = turn.get("content") or turn.get("output") or ""
    if isinstance(content, str):
        said = content
    elif isinstance(content, list):
        said = "".join(_part(part) for part in content)
    else:
        said = json.dumps(content)
    calls = turn.get("tool_calls") or turn.get("arguments")
    return f"{said}<|call|>{json.dumps(calls)}" if calls else said


def _part(part: object) -> str:
    if not isinstance(part, Mapping):
        return str(part)
    if isinstance(part.get("text"), str):
        return str(part["text"])
    value = json.dumps(part)
    if "image" in str(part.get("type")):
        # Equal pictures have equal tokens, others do not.
        return f"<|{blake2b(value.encode(), digest_size=6).hexdigest()}|>" * IMAGE_TOKENS
    return value


def _stops(stop: object) -> tuple[str, ...]:
    if stop is None:
        return ()
    given = [stop] if isinstance(stop, str) else stop
    if not isinstance(given, list) or not all(isinstance(word, str) for word in given):
        raise invalid("string_type", "stop", "Input should be a valid string")
    if len(given) > MAX_STOPS:
        raise Refused(f"stop has {len(given)} strings, {MAX_STOPS} are allowed.", "stop")
    return tuple(given)


def _list(body: Body, name: str) -> list[Any]:
    value = body.get(name) or []
    if not isinstance(value, list):
        raise invalid("list_type", name, "Input should be a valid list")
    return value


def _mapping(value: object, name: str) -> Body:
    if not isinstance(value, Mapping):
        raise invalid("dict_type", name, "Input should be a valid dictionary")
    return value


def _broken(position: int, reason: str) -> Refused:
    place = f"body.{position}"
    return Refused(
        f"1 validation error:\n  {{'type': 'json_invalid', 'loc': '{place}',"
        " 'msg': 'JSON decode error', 'input': '<dict of 0 items>',"
        f" 'ctx': {{'error': '{reason}'}}}}",
        place,
        kind="Bad Request",
    )
