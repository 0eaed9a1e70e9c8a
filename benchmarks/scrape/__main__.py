"""
CPU time of a scrape: 64 replicas and 50 tenants that have all done something. ``make bench-scrape``
writes the table of docs/metrics.md; nothing listens and nothing is sent.
"""

import argparse
import itertools
import time
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

from headrace.config.schema import Config
from headrace.fleet.load import LoadView
from headrace.gateway.app import Gateway
from headrace.telemetry.records import Record, Weighed

RESULTS = Path(__file__).parent / "results" / "table.md"
OUTCOMES = ("completed", "completed", "completed", "client_gone", "upstream_failed_connect")
OPENMETRICS = "application/openmetrics-text; version=1.0.0"
PATHS = ("/v1/chat/completions", "/v1/completions")
ROUNDS = 15


def main() -> None:
    """Measure, print, and keep the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replicas", type=int, default=64)
    parser.add_argument("--tenants", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    chosen = parser.parse_args()
    text = table(chosen.replicas, chosen.tenants, chosen.rounds)
    print(text, end="")
    if (chosen.replicas, chosen.tenants) == (64, 50):
        RESULTS.write_text(text, encoding="utf-8")


def table(replicas: int, tenants: int, rounds: int) -> str:
    """The figures as Markdown."""
    made = gateway(replicas, tenants)
    rows = [
        (name, *measured(made, accept, rounds))
        for name, accept in (("Prometheus text", ""), ("OpenMetrics, with exemplars", OPENMETRICS))
    ]
    head = f"| {replicas} replicas, {tenants} tenants | CPU, ms | lines | kB |\n|---|---|---|---|\n"
    return head + "".join(
        f"| {name} | {ms:.0f} | {lines:,} | {size / 1000:,.0f} |\n"
        for name, ms, lines, size in rows
    )


def gateway(replicas: int, tenants: int) -> Gateway:
    """One that never listens, whose every series exists."""
    backends = [{"url": f"http://gpu-{n}:8000", "serves": ["m"]} for n in range(replicas)]
    made = Gateway(Config.model_validate({"backends": backends}))
    for replica in made.fleet.replicas.values():
        ward = made.keeper.ward(replica)
        assert ward is not None
        ward.load, ward.probe.took_s = LoadView(running=7, kv_usage=0.4), 0.002
    made.metrics.observe([*records(replicas, tenants)])
    return made


def records(replicas: int, tenants: int) -> Any:
    """Some thousand finished requests over all of them."""
    random = Random(1)
    tenant = itertools.cycle(f"tenant-{n}" for n in range(tenants))
    for number in range(max(replicas, tenants) * 100):
        yield Record(
            time=datetime.now(UTC), request_id=f"req_{number:016x}", endpoint=PATHS[number % 2],
            outcome=random.choice(OUTCOMES), status=200, attempts=1, stream=True,
            total_ms=random.lognormvariate(8, 1), tokens_in=random.randrange(9000),
            tokens_out=random.randrange(900), tokens_cached=0, bytes_in=1, bytes_out=1, served="m",
            replica=f"gpu-{number % replicas}:8000", tenant=next(tenant),
            ttft_ms=random.lognormvariate(5, 1.5), queue_ms=1.0,
            decision=Weighed("lowest_cost", 8, 1.0), itl_p50_ms=random.lognormvariate(3, 1),
        )  # fmt: skip


def measured(made: Gateway, accept: str, rounds: int) -> tuple[float, int, int]:
    """CPU milliseconds (the best of some rounds), lines and bytes of a scrape that is not kept."""
    took, text = [], b""
    for _ in range(rounds):
        began = time.process_time()
        text = made.metrics.render(accept).text
        took.append(time.process_time() - began)
        time.sleep(1.001)  # until the text may be made again
    return min(took) * 1000, text.count(b"\n"), len(text)


if __name__ == "__main__":
    main()
