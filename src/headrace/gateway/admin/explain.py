"""
The admin API's part about single requests: the latest, the slowest, the failed ones, and all that
is known of one. What is kept is diary.py's.
"""

import math
from typing import Annotated, Literal

import msgspec
from fastapi import APIRouter, HTTPException, Query, Response

from headrace.errors import StartError
from headrace.gateway.app import Gateway
from headrace.gateway.records.diary import Diary, notable
from headrace.telemetry.decisions import Kept, Story, Summary, summary
from headrace.telemetry.records import Record

MOST = 1000

Order = Annotated[
    Literal["latest", "slowest", "failed"],
    Query(description="The latest, those that took longest, or the latest that failed."),
]
Only = Annotated[str | None, Query()]
Limit = Annotated[int, Query(ge=1, le=MOST)]


class Listed(msgspec.Struct, frozen=True):
    """
    Requests, with how many there are in memory, how many there may be, and since when (UTC, ISO)
    none is missing.
    """

    requests: list[Summary]
    kept: int
    room: int
    since: str | None


def explain(gateway: Gateway) -> APIRouter:
    """The routes of one gateway. They run in threads: a list looks at some thousand records."""
    router, diary = APIRouter(), gateway.diary

    @router.get("/admin/requests")
    def read_requests(
        order: Order = "latest",
        *,
        model: Only = None,
        tenant: Only = None,
        replica: Only = None,
        outcome: Only = None,
        limit: Limit = 50,
    ) -> Response:
        given = {"served": model, "tenant": tenant, "replica": replica, "outcome": outcome}
        only = {field: value for field, value in given.items() if value is not None}
        found = [kept for kept in _all(diary) if _fits(kept.record, only)]
        if order == "failed":
            found = [kept for kept in found if notable(kept.record, math.inf) == "error"]
        elif order == "slowest":
            found.sort(key=lambda kept: kept.record.total_ms, reverse=True)
        ring = diary.ring
        since = ring.since() if ring is not None else None
        return _json(
            Listed(
                requests=[summary(kept.record) for kept in found[:limit]],
                kept=len(ring) if ring is not None else 0,
                room=ring.requests if ring is not None else 0,
                since=since.isoformat() if since is not None else None,
            )
        )

    @router.get("/admin/requests/{request_id:path}")
    def read_request(request_id: str) -> Response:
        kept = diary.ring.find(request_id) if diary.ring is not None else None
        told = kept.tell() if kept is not None else _archived(diary, request_id)
        if told is not None:
            return _json(told)
        raise HTTPException(404, _missing(diary, request_id[:200]))

    return router


def _all(diary: Diary) -> list[Kept]:
    return diary.ring.all() if diary.ring is not None else []


def _fits(record: Record, only: dict[str, str]) -> bool:
    return all(getattr(record, field) == value for field, value in only.items())


def _archived(diary: Diary, request_id: str) -> Story | None:
    """The record in the archive, whichever gateway wrote it."""
    if diary.archive is None:
        return None
    try:
        return diary.archive.find(request_id)
    except StartError as error:
        raise HTTPException(503, str(error)) from error


def _missing(diary: Diary, request_id: str) -> str:
    """What may be the matter with an id that nobody knows."""
    ring = diary.ring
    if ring is None and diary.archive is not None:
        return f"There is no request {request_id!r} in the archive of decision records."
    if ring is None:
        return "No decision records are kept here: `decisions.requests` is 0."
    since = ring.since()
    longer = (
        "" if diary.archive is not None else (" `decisions.archive.url` keeps records for days.")
    )
    when = f", since {since:%H:%M:%S} UTC" if since is not None else ""
    return (
        f"There is no request {request_id!r} among the {len(ring)} that are kept{when}. Either"
        " another gateway answered it, or it runs still, or it is older: `decisions.requests`"
        f" ({ring.requests}) makes the memory longer.{longer}"
    )


def _json(found: object) -> Response:
    return Response(msgspec.json.encode(found), media_type="application/json")
