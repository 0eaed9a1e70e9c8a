"""Whether a text is JSON that follows a schema (extra ``guard``). Nothing is fetched for it."""

import importlib
import json
from pathlib import Path
from typing import Any

import msgspec

from headrace.errors import ConfigError, StartError

NOT_JSON, NOT_VALID = "NOT_JSON", "NOT_VALID"


class Schema:
    """A schema, ready."""

    def __init__(self, schema: object) -> None:
        """
        Compile it, with expressions that take linear time: it may be a client's.

        Raises:
            ValueError: it is no schema, or one that refers to another place.
            StartError: the package is not installed.

        """
        library = module()
        try:
            self._validator = library.validator_for(
                schema, pattern_options=library.RegexOptions(), retriever=_nowhere
            )
        except (library.ValidationError, ValueError, TypeError) as error:
            raise ValueError(str(error).partition("\n")[0]) from None

    def fault(self, text: str) -> str:
        """What is wrong with a text: ``NOT_JSON``, ``NOT_VALID``, or nothing (empty)."""
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            return NOT_JSON
        return "" if self._validator.is_valid(value) else NOT_VALID


def module() -> Any:
    """
    The library.

    Raises:
        StartError: it is not installed.

    """
    try:
        return importlib.import_module("jsonschema_rs")
    except ModuleNotFoundError as error:
        raise StartError(
            "A guard needs the package jsonschema-rs; install it with"
            " `pip install 'headrace[guard]'`."
        ) from error


def read(file: Path) -> Schema:
    """
    The schema of a file.

    Raises:
        ConfigError: it cannot be read, or is no schema.
        StartError: the package is not installed.

    """
    try:
        return Schema(msgspec.json.decode(file.expanduser().read_bytes()))
    except OSError as error:
        raise ConfigError(f"`json_schema.file` {file}: {error.strerror}.") from error
    except (ValueError, msgspec.MsgspecError) as error:
        raise ConfigError(f"`json_schema.file` {file} is no JSON schema: {error}.") from error


def wanted(body: bytes) -> object:
    """The schema that a request asks its answer to follow; None where it names none."""
    try:
        asked = msgspec.json.decode(body, type=_Asked)
    except msgspec.MsgspecError:
        return None
    if asked.response_format.json_schema is not None:
        return asked.response_format.json_schema.schema
    return asked.text.format.schema if asked.text.format.type == "json_schema" else None


class _Named(msgspec.Struct):
    schema: Any = None


class _Format(msgspec.Struct):
    type: str = ""
    json_schema: _Named | None = None
    schema: Any = None


class _Text(msgspec.Struct):
    format: _Format = msgspec.field(default_factory=_Format)


class _Asked(msgspec.Struct):
    """Chat completions have it in ``response_format``, responses in ``text.format``."""

    response_format: _Format = msgspec.field(default_factory=_Format)
    text: _Text = msgspec.field(default_factory=_Text)


def _nowhere(uri: str) -> object:
    raise ValueError(f"it refers to {uri[:100]}, and nothing is fetched")
