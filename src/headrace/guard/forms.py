"""
Whether an engine can be asked to follow a form: a JSON schema, a regular expression, a grammar or
a list of choices. Bounds only, and what makes engines fail; where they stand is gateway's business.

Engines compile them where all requests are served. Ones that are hostile or only wrong have ended
and stalled engines: https://nvd.nist.gov/vuln/detail/CVE-2025-48942 (a schema that is none),
CVE-2025-48943 (an expression that is none), CVE-2025-48944 (of a tool), CVE-2026-105757 (one that
compiles nowhere), https://github.com/ggml-org/llama.cpp/pull/25308 (nested groups).
"""

from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import unquote

from headrace.config.parameters import Schemas
from headrace.guard import regexes

TYPES = frozenset({"array", "boolean", "integer", "null", "number", "object", "string"})
# What stands under a keyword: a schema, a list of them, one by each name, or one or a list.
INNER = {
    "additionalItems": "schema", "additionalProperties": "schema", "contains": "schema",
    "else": "schema", "if": "schema", "not": "schema", "propertyNames": "schema", "then": "schema",
    "unevaluatedItems": "schema", "unevaluatedProperties": "schema",
    "allOf": "list", "anyOf": "list", "oneOf": "list", "prefixItems": "list",
    "$defs": "map", "definitions": "map", "dependentSchemas": "map", "patternProperties": "map",
    "properties": "map", "items": "either",
}  # fmt: skip
COUNTS = frozenset({
    "maxContains", "maxItems", "maxLength", "maxProperties", "minContains", "minItems", "minLength",
    "minProperties",
})  # fmt: skip
# Expressions and grammars of one parameter together, as many times the longest one: a millisecond
# for each thousand characters is spent where all requests are served.
TOGETHER = 8
DATA, SCHEMA, LIST, MAP = "data", "schema", "list", "map"


class Unfit(Exception):
    """It cannot; the text is half a sentence that says why."""


class Forms:
    """The forms of one parameter, counted together. ``strict``: an answer has to follow it."""

    def __init__(self, bounds: Schemas) -> None:
        self._bounds = bounds
        self.nodes = 0
        self._letters = {"regular expressions": 0, "grammars": 0}

    def schema(self, schema: object, *, strict: bool) -> None:
        """
        Look at a JSON schema (https://json-schema.org/draft/2020-12).

        Raises:
            Unfit: it is too large, refers to another place, or is wrong where it must be followed.

        """
        if strict and not isinstance(schema, dict | bool):
            raise Unfit("is no JSON schema: it must be an object")
        walk = _Walk(self, self._bounds, schema, strict=strict)
        walk.all()
        if walk.unfolded() > self._bounds.max_unfolded:
            raise Unfit(
                f"is too large: its references unfold to more than {self._bounds.max_unfolded}"
                " values"
            )

    def pattern(self, pattern: object) -> None:
        """
        Look at a regular expression.

        Raises:
            Unfit: it is too large, or none.

        """
        bounds = self._bounds
        if not isinstance(pattern, str):
            raise Unfit("has a regular expression that is no text")
        if len(pattern) > bounds.max_pattern:
            raise Unfit(f"has a regular expression of more than {bounds.max_pattern} characters")
        self._together("regular expressions", len(pattern), bounds.max_pattern)
        try:
            size = regexes.states(pattern, bounds.max_depth)
        except regexes.Malformed as error:
            raise Unfit(f"has a regular expression that {error}") from None
        if size > bounds.max_states:
            raise Unfit(
                f"has a regular expression that is larger than {bounds.max_states} when its repeats"
                " are written out"
            )

    def grammar(self, grammar: object) -> None:
        """
        Look at a grammar.

        Raises:
            Unfit: it is too large.

        """
        if not isinstance(grammar, str):
            raise Unfit("has a grammar that is no text")
        if len(grammar) > self._bounds.max_grammar:
            raise Unfit(f"has a grammar of more than {self._bounds.max_grammar} characters")
        self._together("grammars", len(grammar), self._bounds.max_grammar)
        try:
            size = regexes.rules(grammar, self._bounds.max_depth)
        except regexes.Malformed as error:
            raise Unfit(f"has a grammar that {error}") from None
        if size > self._bounds.max_unfolded:
            raise Unfit(
                f"has a grammar that is larger than {self._bounds.max_unfolded} when its repeats"
                " are written out"
            )

    def choices(self, choices: object) -> None:
        """
        Look at the texts of which an answer must be one.

        Raises:
            Unfit: they are too many, or no texts.

        """
        if not isinstance(choices, list) or not choices:
            raise Unfit("must be a list of texts, with one at least")
        if not all(isinstance(each, str) for each in choices):
            raise Unfit("must be a list of texts")
        self.enum(choices)

    def enum(self, values: list[Any]) -> None:
        """
        Look at how many values there are to choose from.

        Raises:
            Unfit: too many.

        """
        if len(values) > self._bounds.max_choices:
            raise Unfit(f"has more than {self._bounds.max_choices} values to choose from")

    def count(self, values: int) -> None:
        """
        Count values.

        Raises:
            Unfit: there are too many by now.

        """
        self.nodes += values
        if self.nodes > self._bounds.max_nodes:
            raise Unfit(f"has more than {self._bounds.max_nodes} values")

    def _together(self, kind: str, letters: int, most: int) -> None:
        """Count the characters of all expressions, or of all grammars."""
        self._letters[kind] += letters
        if self._letters[kind] > TOGETHER * most:
            raise Unfit(f"has {kind} of more than {TOGETHER * most} characters together")


class _Node(NamedTuple):
    value: Any
    depth: int
    role: str
    parent: int


class _Walk:
    """One schema, value by value. Not recursive: a client chose how deep it is."""

    def __init__(self, forms: Forms, bounds: Schemas, root: Any, *, strict: bool) -> None:
        self._forms, self._bounds, self._root, self._strict = forms, bounds, root, strict
        self._below: list[list[int]] = []  # of each object and list, those in it
        self._size: list[int] = []  # its own values
        self._times: list[int] = []  # how often what is in it has to be written out
        self._known: dict[int, int] = {}  # by the object's identity
        self._anchors: dict[str, Any] = {}
        self._refs: list[tuple[int, str]] = []

    def all(self) -> None:
        """Look at every value; see where references lead."""
        todo = [_Node(self._root, 1, SCHEMA, -1)]
        while todo:
            node = todo.pop()
            if isinstance(node.value, dict | list):
                todo += self._inside(node)
        for index, ref in self._refs:
            target = self._target(ref)
            if target is None and self._strict:
                raise Unfit(f"refers to `{ref[:100]}`, which is not in it")
            if target is not None:
                self._below[index].append(target)

    def unfolded(self) -> int:
        """
        How many values there are with each reference's in its place, and what has to be there
        many times so many times; a recursive one counts once.
        """
        sizes = [0] * len(self._below)  # 0: not seen, -1: begun
        most = self._bounds.max_unfolded + 1
        for start in range(min(1, len(sizes))):
            todo = [start]
            while todo:
                at = todo[-1]
                fresh = [each for each in self._below[at] if sizes[each] == 0]
                if sizes[at] == 0 and fresh:
                    sizes[at] = -1
                    todo += fresh
                    continue
                todo.pop()
                if sizes[at] <= 0:
                    inner = sum(max(1, sizes[each]) for each in self._below[at])
                    sizes[at] = min(most, self._size[at] + self._times[at] * inner)
        return sizes[0] if sizes else 1

    # --- below ------------------------------------------------------------------------------

    def _inside(self, node: _Node) -> Iterator[_Node]:
        value = node.value
        if node.depth > self._bounds.max_depth:
            raise Unfit(f"is nested more than {self._bounds.max_depth} deep")
        self._forms.count(len(value) + 1)
        index = len(self._below)
        self._below.append([])
        self._size.append(len(value) + 1)
        self._times.append(1)
        self._known[id(value)] = index
        if node.parent >= 0:
            self._below[node.parent].append(index)
        if isinstance(value, list):
            role = SCHEMA if node.role == LIST else DATA
            return (_Node(each, node.depth + 1, role, index) for each in value)
        if node.role == SCHEMA:
            self._look(value, index)
        return (
            _Node(each, node.depth + 1, self._role(node.role, key, each), index)
            for key, each in value.items()
        )

    def _role(self, role: str, key: str, value: Any) -> str:
        """What stands under a key of a schema, or of a map of them."""
        if role == MAP:
            return self._must(key, value, isinstance(value, dict | bool), SCHEMA)
        if role != SCHEMA or key not in INNER:
            return DATA
        inner = INNER[key]
        if inner == "either":
            inner = LIST if isinstance(value, list) else SCHEMA
        fits: Any = {SCHEMA: dict | bool, LIST: list, MAP: dict}[inner]
        return self._must(key, value, isinstance(value, fits), inner)

    def _must(self, key: str, value: Any, fits: bool, role: str) -> str:
        if fits and (role != LIST or self._all_schemas(key, value)):
            return role
        if self._strict:
            raise Unfit(f"is no JSON schema: `{key[:64]}` has no schema in it")
        return DATA

    def _all_schemas(self, key: str, value: list[Any]) -> bool:
        return all(isinstance(each, dict | bool) for each in value) and (
            bool(value) or key == "items"
        )

    def _look(self, schema: dict[str, Any], index: int) -> None:
        """The keywords that bound something, or that engines stumble over."""
        for key, value in schema.items():
            if key in COUNTS:
                self._count(key, value, index)
            elif key == "pattern":
                self._forms.pattern(value)
            elif key == "patternProperties" and isinstance(value, dict):
                for pattern in value:
                    self._forms.pattern(pattern)
            elif key in {"$ref", "$dynamicRef"}:
                self._refer(value, index)
            elif key in {"$anchor", "$dynamicAnchor"} and isinstance(value, str):
                self._anchors[value] = schema
            elif key == "enum" and isinstance(value, list):
                self._forms.enum(value)
            elif self._strict:
                _well_formed(key, value)

    def _count(self, key: str, value: Any, index: int) -> None:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if self._strict and (not number or value < 0 or value % 1):
            raise Unfit(f"is no JSON schema: `{key}` must be a whole number")
        if number and value > self._bounds.max_repeat:
            raise Unfit(f"has a `{key}` above {self._bounds.max_repeat}")
        if number and key in {"minItems", "minContains", "minProperties"}:
            self._times[index] = max(self._times[index], int(value))
        elif number and key == "minLength":
            self._size[index] += max(0, int(value))

    def _refer(self, ref: Any, index: int) -> None:
        if not isinstance(ref, str):
            if self._strict:
                raise Unfit("is no JSON schema: `$ref` must be a text")
            return
        if not ref.startswith("#") and (self._strict or ":" in ref or ref.startswith("//")):
            raise Unfit(
                f"refers to `{ref[:100]}`; only places within it may be named, as #/$defs/x"
            )
        self._refs.append((index, ref))

    def _target(self, ref: str) -> int | None:
        """Where a reference leads, if that is within: https://www.rfc-editor.org/rfc/rfc6901."""
        value: Any = self._root
        if not ref.startswith("#/"):
            value = self._root if ref == "#" else self._anchors.get(ref[1:])
            return self._known.get(id(value))
        for part in unquote(ref[2:]).split("/"):
            name = part.replace("~1", "/").replace("~0", "~")
            if isinstance(value, list) and name.isdigit() and int(name[:9]) < len(value):
                value = value[int(name[:9])]
            elif isinstance(value, dict) and name in value:
                value = value[name]
            else:
                return None
        if isinstance(value, bool):
            return 0
        return self._known.get(id(value))


def _well_formed(key: str, value: Any) -> None:
    """
    Keywords that engines take as they are.

    Raises:
        Unfit: one of them is wrong.

    """
    if key == "type":
        named = value if isinstance(value, list) and value else [value]
        if not all(isinstance(each, str) and each in TYPES for each in named):
            raise Unfit(f"is no JSON schema: `type` must be one of {', '.join(sorted(TYPES))}")
    if key == "enum":
        raise Unfit("is no JSON schema: `enum` must be a list")
    if key == "required" and not (
        isinstance(value, list) and all(isinstance(each, str) for each in value)
    ):
        raise Unfit("is no JSON schema: `required` must be a list of names")
