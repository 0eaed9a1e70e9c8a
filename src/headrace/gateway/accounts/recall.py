"""
What was used of budgets before this gateway started, from the ledger: a restart renews no day and
no month. Nothing without a ledger; with one, what a crash has ended is in it a minute later.
"""

import asyncio
from collections.abc import Iterable

from headrace.admission.bounds import Plan
from headrace.admission.limits import COST, Calendar, window
from headrace.admission.types import Caller
from headrace.config.metering import Metering
from headrace.errors import HeadraceError
from headrace.gateway.accounts.purse import Clocks, Purse
from headrace.metering.past import NO_PAST, Past, Spent, past
from headrace.telemetry.writer import Writer

# The ledger is read again after this: by then it has what a crash has ended.
AGAIN_S = 90.0
SPANS = ("day", "month")


class Recall:
    """Reads the ledger when the gateway starts, and once more. ``version`` tells readings apart."""

    def __init__(
        self, config: Metering, purse: Purse, calendar: Calendar, clocks: Clocks, log: Writer
    ) -> None:
        self._config = config
        self._purse = purse
        self._calendar = calendar
        self._clocks = clocks
        self._log = log
        self._past: Past = NO_PAST
        self._task: asyncio.Task[None] | None = None
        self.version = 0

    async def start(self) -> None:
        """Read it, and again later."""
        if self._config.address:
            await self.read()
            self._task = asyncio.get_running_loop().create_task(self._again())

    async def stop(self) -> None:
        """Read no more."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait({task})

    async def read(self) -> None:
        """Read what was used today and this month."""
        now_s = self._clocks.day()
        since_s = {span: self._calendar.begins(span, now_s) for span in SPANS}
        try:
            self._past = await asyncio.to_thread(past, self._config, since_s)
        except HeadraceError as error:
            self._log.event("limits_past_unknown", reason=str(error))
        self.version += 1

    def lift(self, caller: Caller, model: str, plan: Plan) -> None:
        """The budgets of a plan have been used at least as far as the ledger says."""
        period = self._calendar.at(self._clocks.day())
        for bound in plan.bounds:
            if bound.kind == "window":
                rows = self._rows(bound.span, bound.scope, caller, model)
                least = sum(each.cost if bound.unit == COST else each.tokens for each in rows)
                if least:
                    self._purse.lift(bound, window(bound.span, period), least)

    def _rows(self, span: str, scope: str, caller: Caller, model: str) -> Iterable[Spent]:
        """What counts for a scope."""
        for each in self._past.get(span, ()):
            mine = scope == "model" or each.tenant == caller.tenant
            if scope == "key":
                mine = mine and each.key == caller.key
            elif scope != "tenant":
                mine = mine and each.model == model
            if mine:
                yield each

    async def _again(self) -> None:
        await asyncio.sleep(AGAIN_S)
        await self.read()
