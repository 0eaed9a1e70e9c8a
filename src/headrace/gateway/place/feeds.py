"""
Ties engines that publish KV events to the ledgers of their lanes. Reading events is
fleet/feed.py's, their meaning routing/ledger.py's.
"""

import asyncio
import math
import time
from collections.abc import Iterator

from headrace.fleet.discovery.source import Log
from headrace.fleet.feed import Feed, library
from headrace.fleet.registry import Fleet, Replica
from headrace.fleet.states import State, Transition
from headrace.gateway.place.placement import Placement
from headrace.telemetry.events import Followed


class Feeds:
    """A task for each replica with ``kv_events``, from its first seat to its end."""

    def __init__(self, fleet: Fleet, placement: Placement, log: Log) -> None:
        """Make it after the placement: that one must hear first of the fleet's changes."""
        self._placement = placement
        self._log = log
        self._feeds: dict[Replica, Feed] = {}
        self._tasks: dict[Replica, asyncio.Task[None]] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._exact: dict[Replica, bool] = {}
        self._running = False
        self._fleet = fleet
        fleet.watch(self._moved)

    def check(self) -> None:
        """
        Nothing is missing.

        Raises:
            StartError: a backend has events, and pyzmq is not installed.

        """
        if any(replica.backend.kv_events for replica in self._fleet.replicas.values()):
            library()

    def start(self) -> None:
        """Follow those that are there, and those that come."""
        self._running = True
        for replica in self._placement.ledgers:
            self._begin(replica)

    async def stop(self) -> None:
        """Follow nobody any more."""
        self._running = False
        for replica in [*self._tasks]:
            self._end(replica)
        if self._ending:
            await asyncio.wait(self._ending)

    def sweep(self, _moment: float) -> None:
        """Tell the log whose cache is known exactly, and of whose it is not any more."""
        for replica, feed in self._feeds.items():
            exact = feed.sink.exact
            if exact is not self._exact[replica]:
                self._exact[replica] = exact
                replica.cache = "exact" if exact else "approximate"
                self._log.event(
                    "kv_events_exact" if exact else "kv_events_lost",
                    replica=replica.name, gaps=feed.gaps, malformed=feed.malformed,
                )  # fmt: skip

    def seen(self) -> Iterator[Followed]:
        """Each feed in numbers."""
        now = time.monotonic()
        for replica, ledger in tuple(self._placement.ledgers.items()):
            feed = self._feeds.get(replica)
            if feed is None or not feed.heard_at:
                lag_s = age_s = math.nan
            else:
                lag_s, age_s = feed.lag_s, now - feed.heard_at
            counts = (feed.events, feed.gaps, feed.malformed) if feed is not None else (0, 0, 0)
            yield Followed(
                replica.name, ledger.exact, lag_s, age_s, len(ledger), *counts, ledger.overflows
            )

    # --- below ------------------------------------------------------------------------------

    def _moved(self, replica: Replica, step: Transition) -> None:
        """A replica gets its lane at its first seat (``Watcher``)."""
        if step.after is State.GONE:
            self._end(replica)
        elif self._running and replica not in self._feeds and replica in self._placement.ledgers:
            self._begin(replica)

    def _begin(self, replica: Replica) -> None:
        backend = replica.backend
        if not backend.kv_events:
            return
        feed = Feed(backend.kv_events, backend.kv_events_replay, self._placement.ledgers[replica])
        self._feeds[replica], self._exact[replica] = feed, False
        self._tasks[replica] = asyncio.get_running_loop().create_task(feed.run())

    def _end(self, replica: Replica) -> None:
        self._feeds.pop(replica, None)
        self._exact.pop(replica, None)
        task = self._tasks.pop(replica, None)
        if task is not None:
            task.cancel()
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)
