"""
The admin API's part about causes: what `headrace why` asks. Where the series come from is decided
here, what they mean is diagnose's.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, HTTPException, Query

from headrace.diagnose.finding import Diagnosis
from headrace.diagnose.snapshot import Snapshot, known
from headrace.diagnose.table import diagnose
from headrace.errors import StartError
from headrace.gateway.admin.absent import absent
from headrace.gateway.app import Gateway
from headrace.gateway.records.prometheus import Prometheus

LONGEST_S = 3600.0

Since = Annotated[float, Query(ge=60, le=LONGEST_S, description="Seconds that are looked at.")]
At = Annotated[float | None, Query(ge=0, description="Their end, seconds since 1970.")]
Only = Annotated[str | None, Query(description="One model; by default each and all together.")]


def why(gateway: Gateway) -> APIRouter:
    """The routes of one gateway."""
    router = APIRouter()
    recorder = gateway.instruments.recorder
    config = gateway.config.diagnosis
    server = Prometheus(config) if config.prometheus is not None else None

    async def look(since_s: float, at_s: float | None) -> Snapshot:
        if server is not None:
            try:
                return await server.snapshot(since_s, at_s)
            except StartError as error:
                raise HTTPException(502, str(error)) from error
        if recorder is None:
            raise HTTPException(
                503, "No history is kept; set `diagnosis.enabled`, or `diagnosis.prometheus`."
            )
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(None, recorder.snapshot, at_s, since_s)

    @router.get("/admin/why")
    async def read_why(
        since_s: Since = 900.0, at_s: At = None, *, model: Only = None
    ) -> dict[str, Any]:
        names = [*gateway.fleet.groups]
        if model is not None and model not in names:
            raise absent("model", model, names)
        snapshot = await look(since_s, at_s)
        serves = {name: [*each.serves] for name, each in gateway.fleet.replicas.items()}
        models = [model] if model is not None else names
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(None, _all, snapshot, since_s, models, serves)
        return {
            "source": "prometheus" if server is not None else "history",
            "known_from_s": snapshot.known_s if known(snapshot.known_s) else None,
            "unseen": [*snapshot.unseen],
            "diagnoses": [_shown(each) for each in found],
        }

    return router


def _all(
    snapshot: Snapshot,
    since_s: float,
    models: Sequence[str],
    serves: Mapping[str, Sequence[str]],
) -> list[Diagnosis]:
    """One for each model, those with findings first."""
    found = [diagnose(snapshot, since_s, model, serves) for model in models]
    return sorted(found, key=lambda each: each.healthy)


def _shown(diagnosis: Diagnosis) -> dict[str, Any]:
    shown: dict[str, Any] = msgspec.to_builtins(diagnosis)
    return shown
