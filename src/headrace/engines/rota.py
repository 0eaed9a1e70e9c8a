"""
Starts and rests the replicas of one engine as calls come and go: ``min`` of them run always.

The rules are shift.py's; how a process is kept alive is supervisor.py's; sleep is slumber.py's.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field

from headrace.config.engines import LocalEngine
from headrace.engines import slumber
from headrace.engines.roster import Floor, Log
from headrace.engines.shift import Orders, Place, Rules, Seat, decide, full
from headrace.engines.supervisor import Change, State, Supervisor

TICK_S = 0.25  # how late an idle stop may be; calls and changes are seen at once
TICKS = 10  # in a shorter idle time
COOL_S = 30.0  # after a crash loop, before requests start the engine again
SLEEP_S = 60.0  # to fall asleep: the weights are copied to main memory
BARRED = frozenset({"draining", "gone"})  # the fleet's words
ARRIVING = frozenset({"starting", "warming"})
ROUTABLE = frozenset({"ready", "degraded"})


@dataclass(slots=True, eq=False)
class Berth:
    """What is known of one replica. Times are monotonic (s)."""

    name: str
    supervisor: Supervisor
    place: Place = Place.OFF
    url: str = ""
    naps: bool = False  # idle, it is put to sleep and not stopped
    called_at: float | None = None  # since when somebody waits for it
    kind: str = "start"  # or wake
    active_at: float = 0.0
    sent: int = 0  # requests that it ever got
    again_at: float = 0.0  # FAILED: when it may be tried anew
    tasks: set[asyncio.Task[None]] = field(default_factory=set)


class Rota:
    """Owns the comings and goings of one engine's replicas from ``start`` to ``stop``."""

    def __init__(
        self, engine: LocalEngine, supervisors: dict[str, Supervisor], floor: Floor, log: Log
    ) -> None:
        self._engine = engine
        self._floor = floor
        self._log = log
        self._rules = Rules(engine.least, engine.idle_stop_s, engine.slots)
        self._tick_s = min(TICK_S, engine.idle_stop_s / TICKS)
        self._berths = {name: Berth(name, supervisor) for name, supervisor in supervisors.items()}
        self._full_at: float | None = None
        self._news = asyncio.Event()
        self._loop: asyncio.Task[None] | None = None
        floor.listen(self._on_wanted, self._on_move)

    def start(self) -> None:
        """Start ``min`` replicas, the others when they are wanted."""
        for berth in self._berths.values():
            self._tell(berth, "off", "starts when it is wanted")
        self._look()
        self._loop = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Order nothing more; what runs is the caller's to end."""
        loop, self._loop = self._loop, None
        tasks = [task for berth in self._berths.values() for task in berth.tasks]
        if loop is not None:
            tasks.append(loop)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def changed(self, name: str, change: Change) -> None:
        """A replica's process has changed. One that dies is started again by its supervisor."""
        berth = self._berths[name]
        if change.state is State.READY:
            berth.url = change.url
        elif change.state is State.DIED:
            berth.place = Place.UP
        elif change.state is State.FAILED:
            berth.place, berth.called_at = Place.FAILED, None
            berth.again_at = time.monotonic() + COOL_S
            if all(each.place is Place.FAILED for each in self._berths.values()):
                self._floor.refuse(self._engine.models, change.reason, COOL_S)
        self._news.set()

    def adopt(self, name: str, join: Callable[[], None]) -> None:
        """
        A process is ready: ``join`` puts it into the fleet, where needed after it was woken.
        """
        berth = self._berths[name]
        berth.naps = bool(self._engine.sleep_level)
        if berth.naps:
            self._do(berth, self._adopt(berth, join))
        else:
            join()

    # --- what is seen ------------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            self._news.clear()
            self._look()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._tick_s):
                    await self._news.wait()

    def _look(self) -> None:
        """Decide and order, in one turn of the loop: no request comes in between."""
        now = time.monotonic()
        seats = [self._seat(berth, now) for berth in self._berths.values()]
        waiting = self._floor.waiting(self._engine.models)
        queued = self._floor.queued(self._engine.models)
        if not full(self._rules, seats, queued):
            self._full_at = None
        elif self._full_at is None:
            self._full_at = now
        full_s = now - self._full_at if self._full_at is not None else 0.0
        orders = decide(self._rules, seats, waiting, full_s)
        if orders.start:
            self._full_at = None  # whether it is enough is seen when they are there
        self._obey(orders, now, wanted=bool(waiting or full_s))

    def _seat(self, berth: Berth, now: float) -> Seat:
        state = self._floor.state(berth.name)
        traffic = self._floor.traffic(berth.name)
        sent, inflight = traffic if traffic is not None else (berth.sent, 0)
        if inflight or sent != berth.sent or state not in ROUTABLE:
            berth.sent, berth.active_at = sent, now
        up = berth.place is Place.UP
        return Seat(
            name=berth.name,
            place=berth.place,
            arriving=up and (not state or state in ARRIVING or state == "sleeping"),
            routable=up and traffic is not None,
            barred=state in BARRED,
            again=berth.place is Place.FAILED and now >= berth.again_at,
            inflight=inflight,
            idle_s=now - berth.active_at,
        )

    def _on_wanted(self, model: str) -> None:
        if model in self._engine.models:
            self._news.set()

    def _on_move(self, name: str, state: str) -> None:
        berth = self._berths.get(name)
        if berth is None:
            return
        if state in ROUTABLE and berth.called_at is not None:
            seconds = time.monotonic() - berth.called_at
            berth.called_at = None
            self._floor.started(self._engine.names[0], berth.kind, seconds)
        if state in ARRIVING and berth.place is Place.ASLEEP:  # an operator took it back
            self._begin(berth, wanted=False)
        self._news.set()

    # --- what is done ------------------------------------------------------------------------

    def _obey(self, orders: Orders, now: float, *, wanted: bool) -> None:
        for name in orders.start:
            self._begin(self._berths[name], wanted=wanted)
        for name in orders.rest:
            berth = self._berths[name]
            reason = f"idle for {now - berth.active_at:.0f} s"
            if berth.naps and self._floor.rest(name, reason):
                berth.place = Place.LEAVING
                self._do(berth, self._doze(berth, reason))
            elif not berth.naps and self._floor.leave(name, reason):
                berth.place = Place.LEAVING
                self._do(berth, self._end(berth, reason))

    def _begin(self, berth: Berth, *, wanted: bool) -> None:
        sleeps, berth.place = berth.place is Place.ASLEEP, Place.UP
        berth.called_at = time.monotonic() if wanted else None
        berth.kind = "wake" if sleeps else "start"
        if sleeps:
            self._do(berth, self._wake(berth))
        else:
            self._tell(berth, "starting", "it is wanted")
            berth.supervisor.watch()

    async def _end(self, berth: Berth, reason: str) -> None:
        """Stop a replica that is out of the fleet."""
        self._tell(berth, "stopping", reason)
        await berth.supervisor.stop()
        berth.place = Place.OFF
        self._tell(berth, "off", reason)
        self._log.event("engine_stopped", engine=berth.name, reason=reason)
        self._floor.rested(self._engine.names[0], "stop")
        self._news.set()

    async def _doze(self, berth: Berth, reason: str) -> None:
        """Let a replica sleep that gets no requests any more; one that cannot is stopped."""
        began, level = time.monotonic(), self._engine.sleep_level
        try:
            await slumber.sleep(berth.url, level, SLEEP_S)
        except slumber.Failed as failed:
            if berth.place is Place.LEAVING:  # not: it died meanwhile, and is started again
                reason = f"{reason}, and it did not fall asleep: {failed}"
                self._floor.leave(berth.name, reason)
                await self._end(berth, reason)
            return
        if berth.place is not Place.LEAVING:
            return
        berth.place = Place.ASLEEP
        seconds = round(time.monotonic() - began, 3)
        self._log.event(
            "engine_asleep", engine=berth.name, reason=reason, level=level, seconds=seconds
        )
        self._floor.rested(self._engine.names[0], "sleep")
        self._news.set()

    async def _wake(self, berth: Berth) -> None:
        """Wake a replica; one that does not wake is stopped and started."""
        began, url = time.monotonic(), berth.url
        try:
            await slumber.wake(url, self._engine.sleep_level, self._engine.start_s)
        except slumber.Failed as failed:
            if berth.url == url and self._floor.state(berth.name) == "sleeping":
                reason = f"it did not wake: {failed}"
                self._floor.leave(berth.name, reason)
                self._log.event("engine_stopped", engine=berth.name, reason=reason)
                self._tell(berth, "stopping", reason)
                await berth.supervisor.stop()
                berth.kind = "start"
                berth.supervisor.watch()
            return
        seconds = round(time.monotonic() - began, 3)
        self._log.event("engine_woken", engine=berth.name, seconds=seconds)
        self._floor.rise(berth.name, "it was woken")

    async def _adopt(self, berth: Berth, join: Callable[[], None]) -> None:
        """One that does not know whether it sleeps is used as it is, and stopped when idle."""
        url = berth.url
        try:
            if await slumber.asleep(url):
                await slumber.wake(url, self._engine.sleep_level, self._engine.start_s)
        except slumber.Failed as failed:
            berth.naps = False
            self._log.event("engine_sleepless", engine=berth.name, reason=str(failed))
        if berth.place is Place.UP and berth.url == url:
            join()

    def _tell(self, berth: Berth, why: str, reason: str) -> None:
        self._floor.tell(berth.name, self._engine.models, why, reason)

    def _do(self, berth: Berth, action: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(action)
        berth.tasks.add(task)
        task.add_done_callback(berth.tasks.discard)
