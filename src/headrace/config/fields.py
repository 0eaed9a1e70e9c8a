"""Which type stands at which place of the schema. Knows the tree of settings, not values."""

from collections.abc import Iterator
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from headrace.config.schema import Config
from headrace.config.section import Section

ENV_PREFIX = "HEADRACE__"

Keys = tuple[str | int, ...]
"""A place in the tree: ``("backends", 0, "url")``. A list's entries are numbers."""


def dotted(keys: Keys) -> str:
    """A place as people write it: ``backends[0].url``."""
    text = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys)
    return text.removeprefix(".")


def variable(keys: Keys) -> str:
    """The environment variable that sets a place: ``HEADRACE__BACKENDS__0__URL``."""
    return ENV_PREFIX + "__".join(str(key) for key in keys).upper()


def find(keys: Keys) -> Any:
    """The type at a place without its ``| None``, or None where the schema has no such place."""
    annotation: Any = Config
    for key in keys:
        annotation = _enter(annotation, key)
    return annotation


def describe(keys: Keys) -> str:
    """What the schema says about the setting at a place; empty where it says nothing."""
    section = find(keys[:-1])
    if is_section(section) and keys[-1] in section.model_fields:
        return section.model_fields[keys[-1]].description or ""
    return ""


def is_section(annotation: object) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Section)


def is_list(annotation: object) -> bool:
    return get_origin(annotation) in {tuple, list, frozenset, set}


def is_mapping(annotation: object) -> bool:
    return get_origin(annotation) is dict


def is_secret(keys: Keys) -> bool:
    """Whether the value at a place, or one that it is a part of, must never be shown."""
    return any(find(keys[:length]) is SecretStr for length in range(1, len(keys) + 1))


def bare(annotation: Any) -> Any:
    """A type without ``Annotated`` and without its ``| None``."""
    if get_origin(annotation) is Annotated:
        return bare(get_args(annotation)[0])
    if get_origin(annotation) in {Union, UnionType}:
        members = [member for member in get_args(annotation) if member is not NoneType]
        return bare(members[0]) if len(members) == 1 else annotation
    return annotation


def sections() -> Iterator[tuple[Keys, type[Section]]]:
    """Every section with its place; the entries of a list stand at number 0."""
    yield from _sections((), Config)


def settings() -> Iterator[tuple[Keys, FieldInfo]]:
    """Every setting that takes a value (not the sections themselves), in the schema's order."""
    for keys, section in sections():
        for name, field in section.model_fields.items():
            if _inner_section(bare(field.annotation)) is None:
                yield (*keys, name), field


def _sections(keys: Keys, section: type[Section]) -> Iterator[tuple[Keys, type[Section]]]:
    yield keys, section
    for name, field in section.model_fields.items():
        annotation = bare(field.annotation)
        inner = _inner_section(annotation)
        if inner is not None:
            yield from _sections((*keys, name, *((0,) if is_list(annotation) else ())), inner)


def _inner_section(annotation: Any) -> type[Section] | None:
    entry = _enter(annotation, 0) if is_list(annotation) else annotation
    return entry if is_section(entry) else None


def _enter(annotation: Any, key: str | int) -> Any:
    if is_section(annotation):
        field = annotation.model_fields.get(key)
        return bare(field.annotation) if field else None
    if is_list(annotation):
        return bare(get_args(annotation)[0]) if isinstance(key, int) else None
    if is_mapping(annotation):
        return bare(get_args(annotation)[1])
    return None
