"""
What may be configured: a JSON Schema for editors and the reference in docs/configuration.md.

Both are made from the schema; ``python -m headrace.config.describe docs/configuration.md`` renews
the reference there, below the marker. What is configured is dump.py's.
"""

import json
import sys
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from headrace.config.dump import plain
from headrace.config.fields import (
    Keys,
    bare,
    dotted,
    is_list,
    is_mapping,
    sections,
    settings,
    variable,
)
from headrace.config.schema import Config

MARKER = "<!-- Generated from the schema; below this line edit the schema, not this page. -->\n"
SIZES = (("MiB", 1024 * 1024), ("KiB", 1024), ("bytes", 1))

EXAMPLE = {
    "server": {"port": 8000},
    "models": [{"name": "qwen3-8b", "aliases": ["default"]}],
    "backends": [{"url": "http://gpu-1:8000", "serves": ["qwen3-8b"], "api_key": "${GPU_1_KEY}"}],
}


def schema() -> dict[str, Any]:
    """The JSON Schema of headrace.yaml, for completion and checks in an editor."""
    generated = _cleaned(Config.model_json_schema())
    generated["$defs"]["Variable"] = {
        "type": "string",
        "pattern": r"\$\{",
        "description": "A value with ${NAME} or ${NAME:-default} from the environment.",
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "headrace.yaml",
        **generated,
        "examples": [EXAMPLE],
    }


def reference() -> str:
    """The reference of all settings as Markdown: one table for each section."""
    return "\n".join(_tables())


def renewed(page: str) -> str:
    """A Markdown page with the reference below its marker made anew."""
    head, marker, _ = page.partition(MARKER)
    if not marker:
        raise ValueError(f"the page has no line {MARKER.strip()!r}")
    return f"{head}{MARKER}\n{reference()}"


def _cleaned(part: Any) -> Any:
    """Without Pydantic's titles; numbers and switches may also be a ``${VARIABLE}``."""
    if isinstance(part, list):
        return [_cleaned(inner) for inner in part]
    if not isinstance(part, dict):
        return _plain_text(part) if isinstance(part, str) else part
    cleaned = {key: _cleaned(inner) for key, inner in part.items() if key != "title"}
    if isinstance(part.get("title"), dict):
        cleaned["title"] = _cleaned(part["title"])  # a setting of this name
    kind = cleaned.get("type")  # or what a setting of this name is
    if isinstance(kind, str) and kind in {"integer", "number", "boolean"}:
        return _with_variable(cleaned)
    return cleaned


def _with_variable(part: dict[str, Any]) -> dict[str, Any]:
    inner = {key: value for key, value in part.items() if key not in {"default", "description"}}
    outer = {key: value for key, value in part.items() if key not in inner}
    return {"anyOf": [inner, {"$ref": "#/$defs/Variable"}], **outer}


def _tables() -> Iterator[str]:
    for place, section in sections():
        rows = [(keys, field) for keys, field in settings() if keys[:-1] == place]
        if not rows:
            continue
        yield f"### `{_pattern(place)}`\n"
        yield f"{_plain_text(section.__doc__ or '')}\n"
        yield "| key | type | default | variable | meaning |"
        yield "|---|---|---|---|---|"
        yield from (_row(keys, field) for keys, field in rows)
        yield ""


def _plain_text(docstring: str) -> str:
    return docstring.strip().replace("``", "`")


def _row(keys: Keys, field: FieldInfo) -> str:
    cells = (
        f"`{keys[-1]}`",
        f"{_sort(field)}{_bounds(keys, field)}",
        _default(keys, field),
        f"`{variable(keys)}`",
        field.description or "",
    )
    return f"| {' | '.join(cells)} |"


def _sort(field: FieldInfo) -> str:
    """The type in words; a mapping is a list, too, where a validator makes one of it."""
    annotation = bare(field.annotation)
    return "mapping" if is_mapping(annotation) and not field.metadata else _kind(annotation)


def _pattern(keys: Keys) -> str:
    return dotted(keys).replace("[0]", "[]")


def _kind(annotation: Any) -> str:
    """The type in words."""
    if is_list(annotation):
        return f"list of {_kind(bare(get_args(annotation)[0]))}"
    if is_mapping(annotation):
        return "list or mapping"
    if get_origin(annotation) is Literal:
        return " or ".join(f"`{word}`" for word in get_args(annotation))
    names = {
        int: "integer", float: "number", Decimal: "number", bool: "switch", SecretStr: "secret",
        Path: "path", date: "date",
    }  # fmt: skip
    return names.get(annotation, "text")


def _bounds(keys: Keys, field: FieldInfo) -> str:
    """``, 1 to 10``; empty where the schema sets none."""
    limits = {
        name: _number(keys, getattr(item, name))
        for item in field.metadata
        for name in ("ge", "gt", "le")
        if hasattr(item, name)
    }
    if "ge" in limits and "le" in limits:
        return f", {limits['ge']} to {limits['le']}"
    words = {"ge": "at least", "gt": "above", "le": "at most"}
    return "".join(f", {words[name]} {limit}" for name, limit in limits.items())


def _number(keys: Keys, value: float) -> str:
    if str(keys[-1]).endswith("_bytes"):
        return next(f"{value // size} {unit}" for unit, size in SIZES if value % size == 0)
    return str(value).removesuffix(".0")


def _default(keys: Keys, field: FieldInfo) -> str:
    default: Any = plain(field.get_default(call_default_factory=True))
    if default is PydanticUndefined:
        return "required"
    if default is None or default in ([], {}, ""):
        return "none"
    if str(keys[-1]).endswith("_bytes"):
        return f"`{default}` ({_number(keys, default)})"
    text = default if isinstance(default, str) else json.dumps(default)
    return f"`{text.removesuffix('.0')}`"


if __name__ == "__main__":
    for name in sys.argv[1:]:
        path = Path(name)
        path.write_text(renewed(path.read_text(encoding="utf-8")), encoding="utf-8")
