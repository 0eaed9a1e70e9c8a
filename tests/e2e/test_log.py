"""The log as a collector reads it: one JSON object a line, the same id as in the answer."""

from datetime import datetime

import httpx2
import msgspec
import pytest

from headrace.telemetry.records import Record
from tests.e2e.rig import Up
from tests.e2e.test_openai import CHAT

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300), pytest.mark.xdist_group("e2e")]

FIELDS = {field.name for field in msgspec.structs.fields(Record)}
ALWAYS = {field.name for field in msgspec.structs.fields(Record) if field.required}
SECRETS = ("sk-log-bearer", "sk-log-key", "log-cookie", "log-query", "log-prompt")


def test_a_line(gateway: Up, plain: httpx2.Client) -> None:
    """A request's line has the fields of a record, its numbers, and the id of the answer."""
    answer = plain.post("/v1/chat/completions", json={**CHAT, "stream": True})

    line = gateway.record(answer.headers["x-request-id"])
    assert {"event", *ALWAYS} <= line.keys() <= {"event", *FIELDS}
    assert line["event"] == "request"
    assert datetime.fromisoformat(line["time"]).tzinfo is not None
    assert line["endpoint"] == "/v1/chat/completions"
    assert (line["outcome"], line["status"], line["attempts"]) == ("completed", 200, 1)
    assert line["stream"] is True
    assert (line["model"], line["served"]) == (CHAT["model"], CHAT["model"])
    assert line["replica"] == answer.headers["x-headrace-replica"]
    assert line["bytes_in"] == int(answer.request.headers["content-length"])
    assert line["bytes_out"] == len(answer.content)
    assert 0 < line["itl_p50_ms"] <= line["itl_p99_ms"] <= line["total_ms"]


def test_no_secret(gateway: Up, plain: httpx2.Client) -> None:
    """Neither keys nor cookies, nor a query, nor what was said, in an answer or in an error."""
    bearer, key, cookie, query, prompt = SECRETS
    headers = {"authorization": f"Bearer {bearer}", "x-api-key": key, "cookie": f"id={cookie}"}
    body = {**CHAT, "max_tokens": 1, "messages": [{"role": "user", "content": prompt}]}
    path = f"/v1/chat/completions?key={query}"
    answers = [
        plain.post(path, json=body, headers=headers),
        plain.post(path, json={**body, "temperature": "hot"}, headers=headers),
        plain.post(path, content=f"{{{prompt}", headers=headers),
    ]

    assert [answer.status_code for answer in answers] == [200, 400, 400]
    for answer in answers:
        gateway.record(answer.headers["x-request-id"])
    log = gateway.log.read_text()
    assert [secret for secret in SECRETS if secret in log] == []


def test_every_line_is_json(gateway: Up) -> None:
    """Also those about the program itself; the first tells where it listens."""
    first, *_ = gateway.lines()

    assert first["event"] == "gateway_started"
    assert first["url"] == gateway.url


@pytest.mark.parametrize(
    ("method", "path", "outcome"),
    [
        ("POST", "/v1/nothing", "rejected_not_found"),
        ("GET", "/v1/chat/completions", "rejected_method"),
    ],
)
def test_a_refusal_is_logged(
    gateway: Up, plain: httpx2.Client, method: str, path: str, outcome: str
) -> None:
    """An id that a user reports is found in the log, whatever the answer was."""
    answer = plain.request(method, path)
    request_id = answer.headers["x-request-id"]
    later = plain.post("/v1/completions", json={"model": "none"})
    gateway.record(later.headers["x-request-id"])  # by now the earlier one is written, if ever

    lines = [line for line in gateway.lines() if line.get("request_id") == request_id]
    assert [line["outcome"] for line in lines] == [outcome]
