"""The admin API's part about usage and costs. The sums are made in metering/report.py."""

from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query

from headrace.config.metering import Metering
from headrace.config.pricebook import prices
from headrace.errors import HeadraceError
from headrace.metering import report
from headrace.metering.prices import Book, exact
from headrace.metering.report import GROUPS, MOST_US, Span, Worked
from headrace.metering.stores import reading

By = Annotated[str, Query(description="What to sum up by, with commas between.")]
SinceUs = Annotated[int, Query(ge=0, le=MOST_US, description="From, in microseconds since 1970.")]
UntilUs = Annotated[int, Query(ge=0, le=MOST_US, description="Before.")]
Only = Annotated[str | None, Query()]


def bill(config: Metering) -> APIRouter:
    """The routes of one gateway. They read in threads, with a connection of their own each."""
    router = APIRouter()

    @router.get("/admin/usage")
    def read_usage(
        by: By = "tenant,model",
        since_us: SinceUs = 0,
        until_us: UntilUs = MOST_US,
        *,
        tenant: Only = None,
        model: Only = None,
    ) -> list[dict[str, Any]]:
        names = [name for name in by.split(",") if name]
        unknown = [name for name in names if name not in GROUPS]
        if unknown:
            known = ", ".join(GROUPS)
            raise HTTPException(422, f"There is no {unknown[0]!r} to sum up by; there are {known}.")
        only = {"tenant": tenant, "model": model}
        given = {name: value for name, value in only.items() if value is not None}
        try:
            with reading(config) as store:
                found = report.usage(store, names, Span(since_us, until_us), given)
            currency = prices(config).currency
        except HeadraceError as error:
            raise HTTPException(503, str(error)) from error
        return [
            dict(zip(names, each.names, strict=True)) | report.counts(each, currency)
            for each in found
        ]

    @router.get("/admin/usage/cost")
    def read_cost(since_us: SinceUs = 0, until_us: UntilUs = MOST_US) -> list[dict[str, Any]]:
        try:
            book = Book(prices(config))
            with reading(config) as store:
                found = report.worked(store, book, Span(since_us, until_us))
        except HeadraceError as error:
            raise HTTPException(503, str(error)) from error
        return [_worked(each, book.currency) for each in found]

    return router


def _worked(each: Worked, currency: str) -> dict[str, Any]:
    amounts = {"cost": each.cost, "idle_cost": each.idle_cost, "per_1k_tokens": each.per_1k}
    shown = {name: None if n is None else f"{exact(n):f}" for name, n in amounts.items()}
    counts = each._asdict() | shown | {"charged": f"{exact(each.charged):f}", "currency": currency}
    del counts["per_1k"]
    return counts
