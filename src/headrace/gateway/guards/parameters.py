"""
What a client asks of the engine beyond its prompt: refused where only an operator should say it,
and judged by its size where it is a form that answers must have. What is too large is
guard/forms.py's to say.

Engines trust whoever sends these. Templates are programs (CVE-2025-61620, CVE-2026-115911), so are
arguments of them that are the engine's own (CVE-2025-62426, CVE-2026-115918); processors load code
by request (CVE-2026-114053).
"""

from collections.abc import Callable, Iterator
from typing import Any, cast

import msgspec

from headrace.admission.types import Caller
from headrace.config.parameters import CONTROLS, USUAL
from headrace.config.parameters import Parameters as Settings
from headrace.errors import BadRequest
from headrace.gateway.body.scan import FORMS, NOTHING, Body, Usual
from headrace.guard.forms import Forms, Unfit

NOT_ALLOWED, UNFIT = "parameter_not_allowed", "invalid_schema"
# Forms that were looked at before, in bytes: agents send their tools with each request.
KNOWN_BYTES = 4 * 1024 * 1024
# Arguments of templates that are the engine's own, not a template's.
OWN = frozenset({
    "chat_template", "conversation", "max_length", "messages", "model_config", "padding",
    "processor_kwargs", "return_assistant_tokens_mask", "return_dict", "return_tensors", "tokenize",
    "tokenizer", "tokenizer_kwargs", "truncation",
})  # fmt: skip

_asked = msgspec.json.Decoder(
    msgspec.defstruct(
        "_Asked", [(name, msgspec.Raw, NOTHING) for name in ("tools", *CONTROLS, *FORMS)]
    )
)
_ABSENT = frozenset({b"", b"null"})
# With these a client asks for nothing, as if it had said nothing.
_EMPTY = frozenset({b"{}", b"[]"})
# Arguments by which vLLM hands on what it knows by another name at the top of a body, too:
# https://github.com/vllm-project/vllm/blob/main/vllm/entrypoints/openai/chat_completion/protocol.py
WITHIN = "vllm_xargs"

Look = Callable[[Forms, Any], None]


class Parameters:
    """Looks at each request that has such a parameter."""

    def __init__(self, settings: Settings) -> None:
        self._refused = {name: why for name, why in CONTROLS.items() if name not in settings.allow}
        self._trusted = frozenset(settings.trusted)
        self._bounds = settings.schemas
        self._known: dict[tuple[str, bytes], None] = {}
        self._known_bytes = 0

    def check(self, body: bytes, said: Body, caller: Caller) -> None:
        """
        Look at a body, of which these are the usual fields.

        Raises:
            BadRequest: it has what it must not have.

        """
        if type(said) is Usual:
            if said.tools is not NOTHING and self._bounds.enabled:
                self._look_once("tools", bytes(said.tools))
            return
        asked = _asked.decode(body)
        found = {
            name: data
            for name in asked.__struct_fields__
            if (data := bytes(getattr(asked, name))) not in _ABSENT
        }
        if caller.tenant not in self._trusted:
            self._controls(found)
        for name, data in found.items() if self._bounds.enabled else ():
            if name in LOOKS:
                self._look_once(name, data)

    # --- below ------------------------------------------------------------------------------

    def _controls(self, found: dict[str, bytes]) -> None:
        for name, data in found.items():
            if name in self._refused and data not in _EMPTY and not _is_usual(name, data):
                raise self._refusal(name, name)
        for name in _names(found, WITHIN):
            if name in self._refused:
                raise self._refusal(WITHIN, name)
        if "chat_template" in self._refused:
            for name in _names(found, "chat_template_kwargs"):
                if name in OWN:
                    raise BadRequest(
                        f"`chat_template_kwargs` must not have `{name}`, which is no argument of a"
                        " template but the engine's own; leave it out, or ask the operator to"
                        " allow `chat_template` (`parameters.allow`).",
                        param="chat_template_kwargs",
                        code=NOT_ALLOWED,
                    )

    def _refusal(self, param: str, name: str) -> BadRequest:
        where = "" if param == name else f" in `{param}`"
        return BadRequest(
            f"The parameter `{name}`{where} is refused here ({self._refused[name]}); leave it"
            " out, or ask the operator to allow it (`parameters.allow`).",
            param=param,
            code=NOT_ALLOWED,
        )

    def _look_once(self, name: str, data: bytes) -> None:
        """Look at a form, unless just this one was looked at before."""
        if (name, data) in self._known or data in _ABSENT:
            return
        if len(data) > self._bounds.max_bytes:
            raise _unfit(name, f"has more than {self._bounds.max_bytes} bytes")
        try:
            LOOKS[name](Forms(self._bounds), _read(name, data))
        except Unfit as error:
            raise _unfit(name, str(error)) from None
        self._known[name, data] = None
        self._known_bytes += len(data)
        while self._known_bytes > KNOWN_BYTES:
            oldest = next(iter(self._known))
            del self._known[oldest]
            self._known_bytes -= len(oldest[1])


def _names(found: dict[str, bytes], name: str) -> Iterator[str]:
    """The names within a parameter that is an object."""
    given = found.get(name, b"")
    if given[:1] == b"{":
        yield from _read(name, given)


def _is_usual(name: str, data: bytes) -> bool:
    """Whether a parameter says what is so without it."""
    return name in USUAL and _read(name, data) == USUAL[name]


def _unfit(name: str, why: str) -> BadRequest:
    return BadRequest(f"`{name}` {why}.", param=name, code=UNFIT)


def _read(name: str, data: bytes) -> Any:
    try:
        return msgspec.json.decode(data)
    except (msgspec.MsgspecError, RecursionError):
        raise _unfit(name, "is nested too deep, or no JSON") from None


# --- where forms stand -------------------------------------------------------------------------


def _schema(forms: Forms, value: Any) -> None:
    """A schema that the answer follows; engines take it as JSON in a text, too."""
    if isinstance(value, str):
        try:
            value = msgspec.json.decode(value)
        except (msgspec.MsgspecError, RecursionError):
            raise Unfit("has a schema that is no JSON") from None
    forms.schema(value, strict=True)


def _format(forms: Forms, value: Any) -> None:
    """``response_format`` and its like: the schema stands in one of several places."""
    if not isinstance(value, dict):
        return
    kind = value.get("type")
    named = value.get("json_schema")
    if isinstance(named, dict) and "schema" in named:
        _schema(forms, named["schema"])
    elif kind == "structural_tag":
        _tags(forms, value)
    elif value.get("schema") is not None:
        _schema(forms, value["schema"])
    elif kind == "regex":
        forms.pattern(value.get("pattern", value.get("value")))
    elif kind == "grammar":
        forms.grammar(value.get("grammar", value.get("definition")))
    elif kind == "json" and value.get("value") is not None:
        _schema(forms, value["value"])


def _tags(forms: Forms, value: Any) -> None:
    """Parts of answers with a form each (https://xgrammar.mlc.ai/docs/)."""
    if isinstance(value, str):
        try:
            value = msgspec.json.decode(value)
        except (msgspec.MsgspecError, RecursionError):
            raise Unfit("is no JSON") from None
    todo = [value]
    while todo:
        node = todo.pop()
        if isinstance(node, list):
            forms.count(len(node))
            todo += node
        if not isinstance(node, dict):
            continue
        forms.count(len(node))
        for key, each in node.items():
            if key in _TAGGED and each is not None:
                _TAGGED[key](forms, each)
            else:
                todo.append(each)


def _own(forms: Forms, value: Any) -> None:
    """The ``structured_outputs`` of vLLM."""
    if not isinstance(value, dict):
        return
    for key, each in value.items():
        if key in _OWN_NAMES and each is not None:
            _OWN_NAMES[key](forms, each)


def _inner(forms: Forms, value: Any) -> None:
    """``text`` of /v1/responses and ``output_config`` of /v1/messages."""
    if isinstance(value, dict):
        _format(forms, value.get("format"))


def _all_tools(forms: Forms, value: Any) -> None:
    """Tools of every API. Most engines only show them to the model, so bounds have to do."""
    for place in _places(value if isinstance(value, list) else []):
        for key in ("parameters", "input_schema"):
            if isinstance(place.get(key), dict):
                forms.schema(place[key], strict=False)
        form = place.get("format")
        if isinstance(form, dict) and form.get("type") == "grammar":
            _grammar(forms, form)


def _places(tools: list[Any]) -> Iterator[dict[str, Any]]:
    for tool in tools:
        if isinstance(tool, dict):
            yield tool
            yield from (
                tool[key] for key in ("function", "custom") if isinstance(tool.get(key), dict)
            )


def _grammar(forms: Forms, form: dict[str, Any]) -> None:
    inner = form.get("grammar")
    place = cast("dict[str, Any]", inner) if isinstance(inner, dict) else form
    text = place.get("definition", place.get("grammar"))
    if place.get("syntax") == "regex":
        forms.pattern(text)
    elif text is not None:
        forms.grammar(text)


_TAGGED: dict[str, Look] = {
    "schema": _schema, "json_schema": _schema, "pattern": Forms.pattern, "grammar": Forms.grammar,
}  # fmt: skip
_OWN_NAMES: dict[str, Look] = {
    "json": _schema, "regex": Forms.pattern, "choice": Forms.choices, "grammar": Forms.grammar,
    "structural_tag": _tags,
}  # fmt: skip
LOOKS: dict[str, Look] = {
    "response_format": _format, "output_format": _format, "text": _inner, "output_config": _inner,
    "functions": _all_tools, "tools": _all_tools, "guided_json": _schema, "json_schema": _schema,
    "guided_regex": Forms.pattern, "regex": Forms.pattern, "guided_choice": Forms.choices,
    "guided_grammar": Forms.grammar, "grammar": Forms.grammar, "ebnf": Forms.grammar,
    "structured_outputs": _own, "structural_tag": _tags,
}  # fmt: skip
"""Who looks at which parameter; those that are not here are no forms."""
