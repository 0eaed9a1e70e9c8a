"""
Tells the other gateways what this one has done, and hears what they have. What is made of it is
routing/peers.py's, how it travels the state's; no request waits for any of it.
"""

import asyncio
import os
import socket
import time
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from headrace.config.state import State
from headrace.errors import StateLost
from headrace.fleet.discovery.source import Log
from headrace.gateway.clocks import now
from headrace.gateway.place.placement import Placement
from headrace.routing.peers import Peers, Pins, Report, learn, part
from headrace.state.channel import Channel
from headrace.state.ending import end
from headrace.state.pins import Pins as Kept
from headrace.state.redis import Link
from headrace.telemetry.peers import Company, Homes, PeerMetrics

# A gateway that was silent for so many reports, and for so long, counts as gone.
SILENT, SILENT_S = 4, 1.0
# Of one report: the blocks of prompts and the sessions at most. What is more is not told, and
# counted; it costs others a guess.
MOST_BLOCKS, MOST_PINS = 50_000, 20_000
# Blocks that are learned in one go, before others may run: about half a millisecond.
TURN = 1_000


class Peering:
    """What one gateway says and hears, from ``start`` to ``stop``."""

    def __init__(self, config: State, link: Link, placement: Placement, log: Log) -> None:
        self.name = f"{socket.gethostname()}-{os.getpid()}-{os.urandom(3).hex()}"
        self._link = link
        self._placement = placement
        self._log = log
        self._share_s = config.share_s
        self._channel = Channel(link, "peers")
        self._pins = Kept(link, config.pins_ttl_s)
        self._peers = Peers(max(SILENT_S, SILENT * config.share_s))
        self._known: frozenset[str] = frozenset()
        self._number = 0
        self._joined_at = 0.0
        self._tasks: list[asyncio.Task[None]] = []
        self.counts = {"told": 0, "lost": 0, "heard": 0, "bad": 0}
        self.untold = 0  # prompts and sessions

    def start(self) -> None:
        """Begin to tell, to hear, and to read what was pinned before."""
        self._placement.sent = []
        for seats in self._placement.models.values():
            seats.pool.sessions.take()
        loop = asyncio.get_running_loop()
        work = (self._tell(), self._channel.listen(self._hear), self._seed())
        self._tasks = [loop.create_task(each) for each in work]

    async def stop(self) -> None:
        """Say goodbye, so that nobody counts with what has ended here."""
        tasks, self._tasks = self._tasks, []
        if not tasks:
            return
        await end(tasks)
        self._placement.sent = None
        self._number += 1
        farewell = Report(self.name, self._number, {}, pins=self._pinned(), leaving=True)
        await self._say(farewell)

    def seen(self) -> Company:
        """The state of things in numbers."""
        return Company(len(self._peers), self._peers.oldest(now()), dict(self.counts), self.untold)

    # --- telling ----------------------------------------------------------------------------

    async def _tell(self) -> None:
        while True:
            await asyncio.sleep(self._share_s)
            await self._say(self._report())
            self._join(now())

    async def _say(self, report: Report) -> None:
        """One round trip: the report for those who listen, the pins for those who start later."""
        at = time.time()
        commands = [self._channel.word(_encode(report))]
        for model, pins in report.pins.items():
            commands += self._pins.words(model, pins, at)
        try:
            await self._link.batch("share", commands)
        except StateLost:
            self.counts["lost"] += 1
        else:
            self.counts["told"] += 1

    def _report(self) -> Report:
        self._number += 1
        moment = now()
        parts = {lane.name: part(lane, moment) for lane in self._placement.lanes}
        return Report(self.name, self._number, parts, self._sent(), self._pinned())

    def _sent(self) -> list[tuple[str, Sequence[int]]]:
        sent, self._placement.sent = self._placement.sent or [], []
        left = MOST_BLOCKS
        for place, (_, blocks) in enumerate(sent):
            left -= len(blocks)
            if left < 0:
                self.untold += len(sent) - place
                return sent[:place]
        return sent

    def _pinned(self) -> dict[str, Pins]:
        found: dict[str, Pins] = {}
        for model, seats in self._placement.models.items():
            pins = seats.pool.sessions.take()
            if len(pins) > MOST_PINS:
                self.untold += len(pins) - MOST_PINS
                pins = dict([*pins.items()][-MOST_PINS:])
            if pins:
                found[model] = pins
        return found

    # --- hearing ----------------------------------------------------------------------------

    async def _hear(self, message: bytes) -> None:
        try:
            report = _decode(message)
        except msgspec.MsgspecError:
            self.counts["bad"] += 1
            return
        if report.gateway == self.name or not self._peers.hear(report, now()):
            return
        self.counts["heard"] += 1
        self._adopt(report.pins)
        if now() >= self._joined_at + self._share_s / 4:  # of many gateways not each by itself
            self._join(now())
        await self._learn(report)

    def _join(self, moment: float) -> None:
        self._joined_at = moment
        self._peers.join(self._placement.lanes, moment)
        names = self._peers.names
        if names != self._known:
            for name in sorted(names - self._known):
                self._log.event("peer_joined", gateway=name, peers=len(names))
            for name in sorted(self._known - names):
                self._log.event("peer_left", gateway=name, peers=len(names))
            self._known = names

    async def _learn(self, report: Report) -> None:
        lanes = {lane.name: lane for lane in self._placement.lanes}
        done = 0
        for replica, blocks in report.sent:
            lane = lanes.get(replica)
            if lane is not None:
                learn(self._placement.index, lane, blocks)
                done += len(blocks)
            if done >= TURN:
                done = 0
                await asyncio.sleep(0)

    def _adopt(self, pins: Mapping[str, Pins]) -> None:
        for model, each in pins.items():
            seats = self._placement.models.get(model)
            if seats is not None:
                seats.pool.sessions.adopt(each)

    async def _seed(self) -> None:
        """Read what was pinned before this gateway; what it has seen itself meanwhile is newer."""
        while True:
            try:
                for model, seats in self._placement.models.items():
                    seats.pool.sessions.seed(await self._pins.load(model, time.time()))
            except StateLost:
                await asyncio.sleep(SILENT_S)
            else:
                return


def peering(
    config: State, link: Link | None, placement: Placement, log: Log, metrics: PeerMetrics
) -> Peering | None:
    """How a gateway talks to others; None where it is alone, as the metrics then say."""
    talk = Peering(config, link, placement, log) if link is not None else None
    metrics.watch(talk, lambda: homes(placement))
    return talk


def homes(placement: Placement) -> Iterator[Homes]:
    """Each model's sessions in numbers."""
    for model, seats in placement.models.items():
        sessions = seats.pool.sessions
        yield Homes(model, len(sessions), sessions.moved, sessions.repinned)


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Report).decode
