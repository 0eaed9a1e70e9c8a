"""schema.py: JSON is held against schemas, and a schema can make nobody fetch or wait."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from headrace.errors import ConfigError
from headrace.guard.schema import Schema, read, wanted

AGE = {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}


@pytest.mark.parametrize(
    ("text", "fault"),
    [('{"age": 7}', ""), ('{"age": "7"}', "NOT_VALID"), ("[]", "NOT_VALID"), ("7,", "NOT_JSON"),
     ("[" * 100_000, "NOT_JSON")],
)  # fmt: skip
def test_faults(text: str, fault: str) -> None:
    """What is no JSON, and what is not the JSON that was asked for."""
    assert fault == Schema(AGE).fault(text)


@pytest.mark.parametrize("schema", [{"type": "nope"}, 7, {"$ref": "http://127.0.0.1:9/x"}])
def test_what_is_no_schema(schema: Any) -> None:
    """One that refers to another address is none: nothing is fetched for a client."""
    with pytest.raises(ValueError, match=r".+"):
        Schema(schema)


def test_expressions_take_linear_time() -> None:
    """A client's own expression cannot hold a worker."""
    schema = Schema({"type": "string", "pattern": "^(a+)+$"})
    began = time.thread_time()
    schema.fault(json.dumps("a" * 5000 + "!"))

    assert time.thread_time() - began < 2


def test_files(tmp_path: Path) -> None:
    """A file's mistakes are told with its name."""
    file = tmp_path / "s.json"
    with pytest.raises(ConfigError, match=r"s\.json: No such file"):
        read(file)
    file.write_text('{"type": "nope"}')
    with pytest.raises(ConfigError, match=r"s\.json is no JSON schema"):
        read(file)
    file.write_text(json.dumps(AGE))
    assert "" == read(file).fault('{"age": 1}')


@pytest.mark.parametrize(
    ("body", "schema"),
    [
        ({"response_format": {"type": "json_schema", "json_schema": {"schema": AGE}}}, AGE),
        ({"text": {"format": {"type": "json_schema", "schema": AGE}}}, AGE),
        ({"response_format": {"type": "json_object"}}, None), ({"text": "x"}, None), ({}, None),
    ],
)  # fmt: skip
def test_what_a_request_asks_for(body: Any, schema: Any) -> None:
    """In the two places that the APIs have for it."""
    assert schema == wanted(json.dumps(body).encode())
