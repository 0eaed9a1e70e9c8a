"""The admin API's part about limits: what is used of what. It is counted in quota.py."""

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query

from headrace.admission.bounds import SHAPES
from headrace.admission.limits import COST
from headrace.errors import StateLost
from headrace.gateway.accounts.quota import Shown
from headrace.gateway.admin.absent import absent
from headrace.gateway.app import Gateway
from headrace.metering.prices import exact


def limits(gateway: Gateway) -> APIRouter:
    """The routes of one gateway."""
    router = APIRouter()

    @router.get("/admin/limits")
    async def read_limits(
        tenant: Annotated[
            str | None, Query(description="Only this tenant's, and those of its keys.")
        ] = None,
    ) -> list[dict[str, Any]]:
        known = gateway.door.register.tenants
        if tenant is not None and tenant not in known:
            raise absent("tenant", tenant, known)
        try:
            found = await gateway.quota.shown(tenant)
        except StateLost as error:
            raise HTTPException(503, str(error)) from None
        return [_told(each, gateway.quota.currency) for each in found]

    return router


def _told(each: Shown, currency: str) -> dict[str, Any]:
    """
    A limit for programs: ``used`` and ``held`` are in the limit's unit, of money in the currency;
    ``resets_at`` is the end of a day or month.
    """
    bound = each.bound
    money = bound.unit == COST
    return {
        "scope": bound.scope,
        "whom": bound.whom,
        "limit": bound.name,
        "unit": SHAPES[bound.name].words.format(currency=currency),
        "most": _number(bound.most, money=money),
        "used": _number(each.used, money=money),
        "held": _number(each.held, money=money),
        "ratio": round((each.used + each.held) / bound.most, 4) if bound.most else 1.0,
        "resets_at": datetime.fromtimestamp(each.ends, UTC).isoformat() if each.ends else None,
    }


def _number(amount: float, *, money: bool) -> float | str:
    """Money as a text, so that nobody rounds it."""
    return f"{exact(int(amount)):f}" if money else round(amount, 1)
