"""The smallest value that a simple JSON schema allows: what a model bound to the schema may say."""

from collections.abc import Callable, Mapping
from typing import Any

MAX_DEPTH = 16  # a schema may refer to itself
_FORMATS = {
    "date": "2026-01-01",
    "date-time": "2026-01-01T00:00:00Z",
    "time": "00:00:00Z",
    "email": "a@example.com",
    "uri": "https://example.com",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "ipv4": "192.0.2.1",
}


def instance(schema: Any, root: Any = None, depth: int = 0) -> Any:
    """
    A value that satisfies the schema.

    Known are types, enum, const, default, anyOf, oneOf, allOf (merged), $ref within the schema,
    required properties, and minimal lengths and numbers; not patterns and conditions.
    """
    root = schema if root is None else root
    if not isinstance(schema, Mapping) or depth > MAX_DEPTH:
        return None
    schema = _resolved(schema, root)
    given = [schema[word] for word in ("const", "default") if word in schema]
    if given or schema.get("enum"):
        return [*given, *schema.get("enum", ())][0]
    for word in ("anyOf", "oneOf"):
        if schema.get(word):
            return instance(schema[word][0], root, depth + 1)
    kind = _kind(schema)
    if kind == "object":
        return _object(schema, root, depth)
    if kind == "array":
        items = schema.get("items", {})
        return [instance(items, root, depth + 1) for _ in range(schema.get("minItems", 0))]
    scalar = _SCALARS.get(kind)
    return scalar(schema) if scalar else None


def _resolved(schema: Mapping[str, Any], root: Any) -> Mapping[str, Any]:
    """Follow a $ref and merge allOf."""
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference.startswith("#"):
        target = root
        for part in reference.removeprefix("#").strip("/").split("/"):
            target = target.get(part, {}) if part and isinstance(target, Mapping) else target
        rest = {key: value for key, value in schema.items() if key != "$ref"}
        schema = {**target, **rest} if target is not schema else rest
    merged = dict(schema)
    for part in merged.pop("allOf", ()):
        other = _resolved(part, root)
        required = [*merged.get("required", ()), *other.get("required", ())]
        properties = {**merged.get("properties", {}), **other.get("properties", {})}
        merged = {**other, **merged, "required": required, "properties": properties}
    return merged


def _kind(schema: Mapping[str, Any]) -> str:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = kind[0] if kind else None
    if kind is None:
        kind = "object" if "properties" in schema or "required" in schema else "string"
    return str(kind)


def _object(schema: Mapping[str, Any], root: Any, depth: int) -> dict[str, Any]:
    properties = schema.get("properties", {})
    return {
        name: instance(properties.get(name, {}), root, depth + 1)
        for name in dict.fromkeys(schema.get("required", ()))
    }


def _string(schema: Mapping[str, Any]) -> str:
    text = _FORMATS.get(schema.get("format", ""), "water")
    return text.ljust(schema.get("minLength", 0), "a")[: schema.get("maxLength")]


def _integer(schema: Mapping[str, Any]) -> int:
    step = int(schema.get("multipleOf", 1))
    least = schema.get("minimum")
    if "exclusiveMinimum" in schema:
        least = schema["exclusiveMinimum"] + 1
    if least is None:
        least = min(0, schema.get("maximum", 0), schema.get("exclusiveMaximum", 1) - 1)
    return -(-int(least) // step) * step


def _number(schema: Mapping[str, Any]) -> float:
    if schema.get("multipleOf"):
        return float(_integer({**schema, "multipleOf": max(1, round(schema["multipleOf"]))}))
    if "exclusiveMinimum" in schema:
        below = schema.get(
            "maximum", schema.get("exclusiveMaximum", schema["exclusiveMinimum"] + 2)
        )
        return float((schema["exclusiveMinimum"] + below) / 2)
    if "minimum" in schema:
        return float(schema["minimum"])
    return float(min(0, schema.get("maximum", 0), schema.get("exclusiveMaximum", 1) - 1))


_SCALARS: Mapping[str, Callable[[Mapping[str, Any]], Any]] = {
    "string": _string,
    "integer": _integer,
    "number": _number,
    "boolean": lambda _: True,
    "null": lambda _: None,
}
