"""glance.py: what the admin API tells `headrace top`."""

from datetime import UTC, datetime, timedelta
from typing import Any

from headrace.config.fleet import Admin
from headrace.config.schema import Config
from headrace.gateway.admin.api import build
from headrace.gateway.admin.glance import SHOWN, WINDOW_S, glance, look, recent, span
from headrace.gateway.app import RECORDS, Gateway
from headrace.telemetry.records import Record
from tests.gateway.admin.test_api import caller

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def a_record(ago_s: float = 1.0, **more: Any) -> Record:
    values: dict[str, Any] = {
        "time": NOW - timedelta(seconds=ago_s), "request_id": f"req-{ago_s:g}", "endpoint": "/v1/x",
        "outcome": "completed", "status": 200, "attempts": 1, "stream": True, "total_ms": 100.0,
        "tokens_in": 10, "tokens_out": 5, "tokens_cached": 0, "bytes_in": 1, "bytes_out": 1,
        "model": "m", "served": "m", "replica": "gpu-1", "tenant": "acme", "ttft_ms": 20.0,
    }  # fmt: skip
    return Record(**values | more)


def a_gateway(*records: Record) -> Gateway:
    backends = [{"url": "http://gpu:1", "name": "gpu-1", "serves": ["m"]}]
    gateway = Gateway(Config.model_validate({"backends": backends}))
    gateway.records.extend(records)
    return gateway


def test_only_the_last_minute() -> None:
    """What ended before the window is not counted."""
    old, new = a_record(WINDOW_S + 1), a_record(WINDOW_S - 1)

    assert [new] == recent([old, new], NOW)


def test_the_window_is_shorter_under_load() -> None:
    """Where the records do not reach back a minute, counts are of the time that they do."""
    few = [a_record(9.0)] * 10
    many = [a_record(9.0)] * RECORDS

    assert (WINDOW_S, 9.0) == (span(few, NOW), span(many, NOW))


def test_replicas_and_tenants() -> None:
    """Each has what its own requests were; a failure counts when it is the service's fault."""
    records = [
        a_record(5.0, ttft_ms=10.0, tokens_out=1),
        a_record(4.0, ttft_ms=30.0, outcome="upstream_failed_500"),
        a_record(3.0, replica="", tenant="globex", outcome="rejected_model", ttft_ms=None),
    ]
    seen = look(a_gateway(*records), NOW)
    (replica,) = seen.replicas

    assert (3, 1) == (seen.requests, seen.failed)
    assert ("gpu-1", 2, 1, 6) == (
        replica.name, replica.requests, replica.failed, replica.tokens_out,
    )  # fmt: skip
    assert (30.0, 30.0) == (replica.ttft_p50_ms, replica.ttft_p99_ms)
    assert [("acme", 2, 20), ("globex", 1, 10)] == [
        (each.name, each.requests, each.tokens_in) for each in seen.tenants
    ]
    assert [("m", 1, 0, 0)] == [
        (each.name, each.replicas, each.waiting, each.held) for each in seen.models
    ]


def test_the_slowest_first() -> None:
    """Requests by how long they took, so many at most."""
    records = [a_record(1.0, total_ms=float(number)) for number in range(SHOWN + 5)]
    slowest = look(a_gateway(*records), NOW).slowest

    assert [float(number) for number in range(SHOWN + 4, 4, -1)] == [
        each.total_ms for each in slowest
    ]


def test_an_engine_that_was_never_read() -> None:
    """What is not known of it is null, not zero."""
    (replica,) = look(a_gateway(), NOW).replicas

    assert (None, None, None) == (replica.kv_usage, replica.generation_tokens, replica.load_age_s)


async def test_the_route() -> None:
    """The admin API serves it as JSON."""
    gateway = a_gateway(a_record())
    app = build(gateway.fleet, gateway.keeper, Admin(), gateway.floor, glance(gateway))
    async with caller(app) as client:
        answer = await client.get("/admin/top")

    assert 200 == answer.status_code
    assert {"replicas", "models", "tenants", "slowest", "window_s"} <= answer.json().keys()
