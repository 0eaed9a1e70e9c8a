"""After any weather: defined outcomes, whole answers whole, streams true, and nothing left."""

import asyncio
import gc
import os
import re
from pathlib import Path

import pytest
import uvloop

from tests.chaos.storm import Storm

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(280)]

USERS = 200
SECONDS = 45.0
OUTCOME = re.compile(r"completed|client_gone|(rejected|upstream_failed|timed_out)_\w+")
PAGE_KB = os.sysconf("SC_PAGE_SIZE") // 1024


def resident_kb() -> int:
    """Memory of this process: gateway, engines and users together."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_KB


def descriptors() -> int:
    """Open files and sockets of this process."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


@pytest.mark.parametrize("seed", [1])
def test_storm(tmp_path: Path, seed: int) -> None:
    """
    Eight replicas fail in every way, restart, leave, drain and return under 200 users.

    Each request has a defined outcome. Each that was not streamed succeeds, but for one in a
    thousand that all ready replicas refused while the healthy ones were still set aside. Each
    stream holds what the engine said, to its end or to an error that says so. Leases, tasks and
    sockets return to what they were, and memory does not grow.
    """

    async def play() -> tuple[Storm, list[int], int]:
        async with Storm(tmp_path, seed) as storm:
            await storm.rage(SECONDS / 3, USERS)  # what is allocated once, is by now
            sizes = []
            for _ in range(2):
                await storm.rage(SECONDS / 3, USERS)
                storm.calm()
                gc.collect()
                sizes.append(resident_kb())
            await _quiet(storm)
            fleet = storm.gateway.fleet
            leases = fleet.inflight_requests + fleet.inflight_tokens + storm.gateway.buffered_bytes
        return storm, sizes, leases

    before = descriptors()
    storm, sizes, leases = uvloop.run(play())
    gc.collect()

    ended = storm.report.ended
    print(dict(ended), sizes)
    assert [] == storm.report.wrong[:5]
    assert ended["whole refused"] * 1000 <= ended["whole"]
    assert 0 == leases
    outcomes = {record.outcome for record in storm.gateway.records}
    assert [] == [outcome for outcome in outcomes if not OUTCOME.fullmatch(outcome)]
    assert min(ended["whole"], ended["stream"], ended["left"], ended["stream cut"]) > 10
    assert descriptors() <= before + 2
    assert sizes[1] - sizes[0] < 8_000


async def _quiet(storm: Storm) -> None:
    """Wait until nobody is served any more."""
    for _ in range(100):
        if not storm.gateway.fleet.inflight_requests and not storm.gateway.clients:
            return
        await asyncio.sleep(0.05)
