"""Rows and records for the metering tests."""

from datetime import UTC, datetime
from typing import Any

from headrace.metering.rows import Row, micros
from headrace.telemetry.records import Record

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def a_row(identity: str, **more: Any) -> Row:
    """A finished request."""
    fields: dict[str, Any] = {
        "id": identity, "at_us": micros(NOON), "request_id": f"req-{identity}", "tenant": "acme",
        "key_id": "k1", "endpoint": "/v1/chat/completions", "asked": "default", "model": "m",
        "replica": "gpu-1", "tokens_in": 100, "tokens_out": 20, "tokens_cached": 40,
        "estimated": 0, "queue_ms": 1.5, "ttft_ms": 12.25, "total_ms": 80.125,
        "outcome": "completed", "status": 200, "attempts": 1, "price": "", "cost": 0,
    }  # fmt: skip
    return Row(**fields | more)


def a_record(request_id: str = "req", **more: Any) -> Record:
    """A finished request as the gateway tells of it."""
    fields: dict[str, Any] = {
        "time": NOON, "request_id": request_id, "endpoint": "/v1/chat/completions",
        "outcome": "completed", "status": 200, "attempts": 1, "stream": True, "total_ms": 80.0,
        "tokens_in": 100, "tokens_out": 20, "tokens_cached": 40, "bytes_in": 1, "bytes_out": 2,
        "model": "default", "served": "m", "replica": "gpu-1",
    }  # fmt: skip
    return Record(**fields | more)


def values(row: Row) -> tuple[Any, ...]:
    """A row as a database has it."""
    return tuple(getattr(row, name) for name in Row.__struct_fields__)
