"""
What one routing decision costs: ``make bench-decision``. One process, no network, no event loop;
CPU time, the best of many rounds, so that neighbours on the machine do not count.

From the raw parts of a prompt to a lease that counts: hashing, the index, the score of each
replica, the pick, the bookkeeping, and its release. The JSON scan is paid by the gateway anyway.
"""

import argparse
import json
import time
import tracemalloc
from pathlib import Path
from typing import NamedTuple

from headrace.routing.blocks import BLOCK, chain, join
from headrace.routing.index import BLOCK_BYTES, Index
from headrace.routing.lane import Ask, Lane, Lease
from headrace.routing.queue import Pool
from headrace.types import Usage

SIZES = (2_400, 48_000, 400_000)
REPLICAS = (1, 2, 8, 64)
BUDGET_US = {(2_400, 8): 25.0, (2_400, 64): 60.0, (400_000, 8): 1000.0, (400_000, 64): 1000.0}
PER_TOKEN = 4.0
REPEATS = 400
BATCH = 32  # requests that are in flight together


class Cell(NamedTuple):
    """Microseconds for one size of prompt (bytes) and one number of replicas."""

    prompt_bytes: int
    replicas: int
    hash_us: float
    place_us: float
    end_us: float
    budget_us: float | None

    @property
    def decision_us(self) -> float:
        """Until the replica is known and counted."""
        return self.hash_us + self.place_us


def main() -> None:
    """Print the table; with ``--json`` write the raw numbers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", help="write the numbers to this file, too")
    arguments = parser.parse_args()
    cells = [measure(size, replicas) for size in SIZES for replicas in REPLICAS]
    print(table(cells))
    print(f"\nA block in the index takes {block_bytes():.0f} B (planned with {BLOCK_BYTES} B).")
    if arguments.json:
        rows = [cell._asdict() for cell in cells]
        Path(arguments.json).write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def table(cells: list[Cell]) -> str:
    """For people, as Markdown."""
    lines = [
        "| prompt | replicas | hash us | place us | **decision us** | allowed us | release us |",
        "|---|---|---|---|---|---|---|",
    ]
    for cell in cells:
        allowed = f"{cell.budget_us:.0f}" if cell.budget_us is not None else ""
        lines.append(
            f"| {cell.prompt_bytes / 1000:g} kB | {cell.replicas} | {cell.hash_us:.1f} |"
            f" {cell.place_us:.1f} | **{cell.decision_us:.1f}** | {allowed} | {cell.end_us:.1f} |"
        )
    return "\n".join(lines)


def measure(size: int, replicas: int) -> Cell:
    """A fleet at work, and requests of which half share a prefix with what is cached."""
    index = Index()
    pool = Pool(index)
    capacity = 430_000 * 4 // BLOCK
    lanes = [
        Lane(f"replica-{number}", index.open(capacity), kv_tokens=430_000.0, gate=1e12)
        for number in range(replicas)
    ]
    pool.seat(lanes, 0.0)
    prompts = [_prompt(size, number) for number in range(40)]
    now = _warm(pool, prompts[:20], replicas * 10)
    hashes: list[float] = []
    places: list[float] = []
    ends: list[float] = []
    for _ in range(max(10, min(REPEATS, 20_000_000 // size // BATCH))):
        started = time.thread_time()
        asks = [_ask(prompts[number % len(prompts)]) for number in range(BATCH)]
        hashed = time.thread_time()
        leases = [lease for ask in asks for lease in pool.offer(ask, now)]
        placed = time.thread_time()
        _end(pool, leases, now)
        ended = time.thread_time()
        for times, took in (
            (hashes, hashed - started),
            (places, placed - hashed),
            (ends, ended - placed),
        ):
            times.append(took / BATCH * 1e6)
        now += 1.0
    budget = BUDGET_US.get((size, replicas))
    return Cell(size, replicas, min(hashes), min(places), min(ends), budget)


def block_bytes(blocks: int = 100_000, replicas: int = 8) -> float:
    """Memory per block and replica of a full index, prompts of 40 blocks, each seen twice."""
    index = Index()
    slots = [index.open(blocks // replicas) for _ in range(replicas)]
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for number in range(2 * blocks // 40):
        text = b"%016d" % (number // 2) * (40 * BLOCK // 16)
        index.hold(slots[number % replicas], chain(text, 7))
    used = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    return used / len(index)


def _prompt(size: int, number: int) -> list[bytes]:
    words = b'[{"role":"user","content":"%06d ' % number
    return [words + (b"lorem ipsum dolor %d sit amet " % number * size)[: size - len(words)]]


def _ask(parts: list[bytes]) -> Ask:
    text = join(parts)
    blocks = chain(text, 17)
    return Ask(len(text) / PER_TOKEN, blocks, BLOCK / PER_TOKEN, number=blocks[0])


def _warm(pool: Pool, prompts: list[list[bytes]], requests: int) -> float:
    """Let replicas have caches, and decodes in flight that stay."""
    now = 0.0
    for number in range(requests):
        for lease in pool.offer(_ask(prompts[number % len(prompts)]), now):
            pool.first_token(lease, now + 0.05)
        now += 0.1
    return now


def _end(pool: Pool, leases: list[Lease], now: float) -> None:
    usage = Usage(600, 200, 0)
    for lease in leases:
        pool.first_token(lease, now)
        pool.end(lease, now, usage)


if __name__ == "__main__":
    main()
