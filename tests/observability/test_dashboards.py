"""The dashboards: fresh, well-formed, and no query is empty before a fleet that has worked."""

import asyncio
import json
import math
import re
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from headrace.config.schema import Config
from headrace.gateway.app import Gateway
from headrace.telemetry.records import Record
from observability.__main__ import BOARDS, FOLDER, stale, written
from tests.observability.busy import TEXT, Busy
from tests.observability.monitor import KIT, Gpus, Prometheus
from tests.state.server import VALKEY, RedisServer
from tests.telemetry.exposed import exposed

pytestmark = [pytest.mark.xdist_group("observability"), pytest.mark.timeout(240)]

REPLICAS = 2
WORK_S = 6.0
# What Grafana puts in the place of its variables; all of each, and windows that fit a short test.
VARIABLES = {"$__rate_interval": "4s", "$__range": "30s", "$__interval": "1s"}
SECTIONS: dict[str, Any] = {
    "models": [{"name": "chat"}, {"name": "cold"}],
    "engines": [
        {"type": "sim", "model": "cold", "min": 0, "idle_stop_s": 1.5, "sim": {"speed": 100}},
    ],
    "limits": {"tenants": {"globex": {"concurrent_requests": 2}}},
    "guards": {
        "policies": [{"name": "words", "kind": "terms", "terms": {"words": ["turbine"]}}],
        "default": ["words"],
    },
}


@dataclass(frozen=True, slots=True)
class Asked:
    """One query of one panel."""

    board: str
    panel: str
    expr: str


def panels(board: Any) -> Iterator[Any]:
    """The panels of a dashboard, those inside of rows, too."""
    for panel in board["panels"]:
        if panel["type"] == "row":
            yield from panel.get("panels", [])
        else:
            yield panel


def boards() -> list[Any]:
    return [json.loads(path.read_text("utf-8")) for path in sorted(FOLDER.glob("*.json"))]


def asked(source: str) -> list[Asked]:
    """The queries that a source is asked by all panels."""
    return [
        Asked(board["uid"], panel["title"], target["expr"])
        for board in boards()
        for panel in panels(board)
        for target in panel["targets"]
        if target["datasource"]["type"] == source and "expr" in target
    ]


@dataclass(frozen=True, slots=True)
class Film:
    """What Prometheus saw of a fleet at work, and when."""

    prometheus: Prometheus
    start: float
    end: float


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Film]:
    """A gateway and engines that work under Prometheus' eyes; they are gone when it is asked."""
    folder = tmp_path_factory.mktemp("film")
    with (
        tempfile.TemporaryDirectory(prefix="hr-", dir="/tmp") as short,  # for the socket's path
        RedisServer(Path(short), program=VALKEY) as server,
        asyncio.Runner() as runner,
    ):
        busy, gpus, other = Busy(folder, REPLICAS, **SECTIONS), Gpus(REPLICAS), sharing(server)
        runner.run(busy.__aenter__())
        runner.run(gpus.__aenter__())
        runner.run(other.start())
        try:
            with Prometheus(folder, targets(busy, gpus, other)) as prometheus:
                start = time.time()
                runner.run(play(busy))
                yield Film(prometheus, start, time.time())
        finally:
            runner.run(other.stop(0))
            runner.run(gpus.__aexit__())
            runner.run(busy.__aexit__())


def sharing(server: RedisServer) -> Gateway:
    """A gateway that tells others what it does; nobody calls it."""
    tree = {
        "server": {"port": 0}, "models": [{"name": "chat"}], "state": {"url": server.url},
        "logging": {"requests": False},
    }  # fmt: skip
    return Gateway(Config.model_validate(tree))


def targets(busy: Busy, gpus: Gpus, other: Gateway) -> dict[str, list[dict[str, Any]]]:
    """What each job of the scrape configuration reads here."""
    engines = [
        {"targets": [url.removeprefix("http://")], "labels": {"replica": f"engine-{number}"}}
        for number, url in enumerate(busy.engines.urls)
    ]
    gateways = [each.url.removeprefix("http://") for each in (busy.gateway, other)]
    return {
        "headrace": [{"targets": gateways}],
        "engines": engines,
        "dcgm": [{"targets": [gpus.address]}],
    }


async def play(busy: Busy) -> None:
    """Work, a model that is woken by a request, and time until it is idle and stopped."""
    async with aiohttp.ClientSession(busy.gateway.url) as session:
        words = [{"role": "user", "content": TEXT}]
        cold = asyncio.create_task(
            busy.ask(session, "acme", model="cold", messages=words, max_tokens=5)
        )
        await busy.work(WORK_S)
        assert 200 == await cold
    for _ in range(60):  # seconds; a busy machine stops an idle engine late
        await busy.work(1)
        if any(name == "headrace_idle_stops_total" and value for name, _, value in
               exposed(busy.gateway.metrics)):  # fmt: skip
            break
    await busy.work(WORK_S / 2)


def sample(asked: Asked) -> str:
    """The query as Grafana would send it."""
    expr = asked.expr
    for name, value in VARIABLES.items():
        expr = expr.replace(name, value)
    return re.sub(r"\$\w+", ".*", expr)


@pytest.mark.parametrize(
    "query", asked("prometheus"), ids=lambda query: f"{query.board}: {query.panel}"
)
def test_a_query_shows_something(query: Asked, film: Film) -> None:
    """No panel is empty or in error; where values are, at least one is a number."""
    found = film.prometheus.series(sample(query), film.start, film.end)
    values = [float(value) for series in found for _, value in series["values"]]

    assert any(math.isfinite(value) for value in values), sample(query)


def test_a_mistake_shows(film: Film) -> None:
    """A metric that vLLM no longer has is empty, and broken PromQL is an error."""
    assert [] == film.prometheus.series("vllm:gpu_cache_usage_perc", film.start, film.end)
    with pytest.raises(AssertionError, match="parse error"):
        film.prometheus.series("sum by (", film.start, film.end)


def test_rules_can_be_evaluated(film: Film) -> None:
    """Every recording rule and alert has been evaluated over real series without an error."""
    groups = film.prometheus.ask("rules")["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]

    assert 50 < len(rules)
    assert [] == [(rule["name"], rule.get("lastError")) for rule in rules if rule["health"] != "ok"]


def test_a_gpu_belongs_to_its_replica(film: Film) -> None:
    """The scrape configuration gives a GPU's metrics the name of the replica that it works for."""
    found = film.prometheus.series("DCGM_FI_DEV_GPU_UTIL", film.start, film.end)

    assert {("0", "engine-0"), ("1", "engine-1")} == {
        (each["metric"]["gpu"], each["metric"]["replica"]) for each in found
    }


def test_dashboards_are_fresh() -> None:
    """The files are what the code writes, and there are no others."""
    assert [] == stale(written())
    assert len(BOARDS) == len(boards())


def test_a_stale_dashboard_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change by hand, a missing file and a leftover are all told."""
    monkeypatch.setattr("observability.__main__.FOLDER", tmp_path)
    files = {tmp_path / f"{name}.json": "{}" for name in ("fresh", "changed", "missing")}
    (tmp_path / "fresh.json").write_text("{}")
    (tmp_path / "changed.json").write_text("{ }")
    (tmp_path / "leftover.json").write_text("{}")

    assert ["changed.json", "leftover.json", "missing.json"] == stale(files)


@pytest.mark.parametrize("board", boards(), ids=lambda board: board["uid"])
def test_a_dashboard_is_well_formed(board: Any) -> None:
    """It has only what Grafana's types know; panels do not overlap and say what they mean."""
    encoder = JSONEncoder(sort_keys=True)
    assert json.loads(encoder.encode(Dashboard.from_json(board))) == board

    taken: set[tuple[int, int]] = set()
    for panel in panels(board):
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
        assert panel["title"]
        assert panel["description"].endswith("."), panel["title"]
        assert panel["targets"], panel["title"]


def test_sources_are_provisioned() -> None:
    """Every source that a panel or a variable asks is among those that Grafana is given."""
    text = (KIT / "grafana/provisioning/datasources/datasources.yaml").read_text("utf-8")
    known = set(re.findall(r"uid: (\w+)", text))
    used = set(re.findall(r'"uid": "(?!headrace)([^"]+)"', json.dumps(boards())))

    assert used == known & used
    assert {"prometheus", "loki", "tempo"} == used


def test_logql_asks_for_fields_that_there_are() -> None:
    """What log queries filter and sum by are fields of a request's line, or `event`."""
    words = {"event", "service_name", "json", "unwrap", "by", "sum", "count_over_time"}
    words |= {"quantile_over_time", "slow_ms", "request_id", "model", "tenant", "__auto"}
    for query in asked("loki"):
        bare = re.sub(r'"[^"]*"', "", query.expr)
        names = set(re.findall(r"[a-z_]{2,}", bare)) - words
        assert names <= set(Record.__struct_fields__), query
        assert bare.count("(") == bare.count(")"), query
        assert 0 == query.expr.count('"') % 2, query


def test_traceql_asks_for_attributes_that_spans_have() -> None:
    """What trace searches filter by stands in the code that makes spans."""
    spans = (KIT.parent / "src/headrace/telemetry/spans.py").read_text("utf-8")
    queries = [
        target["query"]
        for board in boards()
        for panel in panels(board)
        for target in panel["targets"]
        if target["datasource"]["type"] == "tempo"
    ]

    assert queries
    for query in queries:
        for name in re.findall(r"(?:span|resource)\.([\w.]+?)=", query):
            assert f'"{name}"' in spans, name
        assert query.count("{") - query.count("${") == query.count("}") - query.count("${")
