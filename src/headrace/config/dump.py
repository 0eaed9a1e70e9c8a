"""The effective configuration as YAML or JSON, with secrets masked. Reading it is load.py's."""

import json
from collections.abc import Iterator, Mapping
from datetime import date
from decimal import Decimal
from pathlib import Path

import yaml
from pydantic import SecretStr

from headrace.config.fields import Keys, find, is_list, is_mapping, is_section
from headrace.config.problems import MASK
from headrace.config.schema import Config
from headrace.config.section import Section

DEFAULT = "default"
COMMENT_COLUMN = 50  # comments of longer lines follow where these end
NO_WRAPPING = 1_000_000  # PyYAML's line length


def to_json(config: Config) -> str:
    return json.dumps(plain(config), indent=2, ensure_ascii=False)


def to_yaml(
    config: Config, origins: Mapping[Keys, str] | None = None, *, reveal: bool = False
) -> str:
    """YAML that ``load`` reads back; with ``origins``, each value's comment says its source."""
    lines = list(_lines(plain(config, reveal=reveal), (), "", origins))
    width = min(COMMENT_COLUMN, max(len(text) for text, _ in lines))
    return "\n".join(f"{text:<{width}}  # {origin}" if origin else text for text, origin in lines)


def plain(value: object, *, reveal: bool = False) -> object:
    """The value as mappings, lists and scalars only. Without ``reveal`` secrets are masked."""
    if isinstance(value, SecretStr):
        return value.get_secret_value() if reveal else MASK
    if isinstance(value, Section):
        return {
            name: plain(getattr(value, name), reveal=reveal) for name in type(value).model_fields
        }
    if isinstance(value, Mapping):
        return {key: plain(inner, reveal=reveal) for key, inner in value.items()}
    if isinstance(value, list | tuple | frozenset):
        inner = sorted(value) if isinstance(value, frozenset) else value
        return [plain(each, reveal=reveal) for each in inner]
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    return str(value) if isinstance(value, Path | date) else value


def _lines(
    values: object, keys: Keys, indent: str, origins: Mapping[Keys, str] | None
) -> Iterator[tuple[str, str]]:
    """Each line with its origin. Sections and lists of them are blocks, all else is inline."""
    for name, value in values.items() if isinstance(values, dict) else ():
        place = (*keys, name)
        if is_section(find(place)) or (value and _maps_to_sections(place)):
            yield f"{indent}{name}:", ""
            yield from _lines(value, place, indent + "  ", origins)
        elif value and is_list(find(place)) and is_section(find((*place, 0))):
            yield f"{indent}{name}:", ""
            for index, entry in enumerate(value):
                inner = _lines(entry, (*place, index), indent + "    ", origins)
                first, origin = next(inner)
                yield f"{indent}  - {first.lstrip()}", origin
                yield from inner
        else:
            origin = "" if origins is None else origins.get(place, DEFAULT)
            yield f"{indent}{name}: {_inline(value)}", origin


def _maps_to_sections(place: Keys) -> bool:
    return is_mapping(find(place)) and is_section(find((*place, "")))


def _inline(value: object) -> str:
    text = _flow(value, style=None)
    # Only double quotes have escapes, and PyYAML prints some line breaks as they are.
    return text if text.isprintable() else _flow(value, style='"')


def _flow(value: object, *, style: str | None) -> str:
    text = yaml.safe_dump(
        _escaped(value),
        default_flow_style=True,
        default_style=style,
        sort_keys=False,
        width=NO_WRAPPING,
        allow_unicode=style is None,
    )
    return text.removesuffix("...\n").rstrip("\n")


def _escaped(value: object) -> object:
    """``${`` would be replaced when the text is read again."""
    if isinstance(value, dict):
        return {key: _escaped(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_escaped(inner) for inner in value]
    return value.replace("${", "$${") if isinstance(value, str) else value
