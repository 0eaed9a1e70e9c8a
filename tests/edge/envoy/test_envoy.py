"""Envoy's configuration: Envoy takes it, it keeps our clocks, the file that we ship is fresh."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from headrace.config.load import load
from headrace.config.schema import Config
from headrace.edge.certificate import Pair, self_signed
from headrace.edge.envoy import CERT, bootstrap, gateways, render
from headrace.edge.node import seconds
from headrace.edge.process import check

DEPLOY = Path(__file__).parents[3] / "deploy" / "envoy"
KEYS = {"issuer": "https://login.example.com/", "jwks": "https://login.example.com/keys"}
EVERYTHING: dict[str, Any] = {
    "host": "0.0.0.0",
    "http3": True,
    "gateways": ["headrace-gateway:8000", "[::1]:8000"],
    "jwt": {**KEYS, "audiences": ["headrace"], "required": False},
    "trusted_hops": 1,
    "trust_request_id": True,
    "otlp": "http://otel-collector:4317",
    "per_ip": {"requests_per_s": 7},
    "private": {"paths": ["/metrics"], "allow_from": []},
}
NOTHING: dict[str, Any] = {
    "tls": {"enabled": False},
    "per_ip": {"requests_per_s": 0},
    "private": {"paths": []},
    "access_log": False,
}


def configured(edge: dict[str, Any] | None = None, **sections: Any) -> Config:
    return Config.model_validate({"edge": edge or {}, **sections})


def manager(config: Config) -> dict[str, Any]:
    """The HTTP part of the first listener."""
    tree = bootstrap(config)
    found: list[dict[str, Any]] = tree["static_resources"]["listeners"][0]["filter_chains"][0][
        "filters"
    ]
    inner: dict[str, Any] = found[0]["typed_config"]
    return inner


def clusters(config: Config) -> dict[str, dict[str, Any]]:
    return {c["name"]: c for c in bootstrap(config)["static_resources"]["clusters"]}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return self_signed(tmp_path_factory.mktemp("tls"), ("localhost",))


@pytest.mark.parametrize("edge", [{}, EVERYTHING, NOTHING], ids=["defaults", "all", "nothing"])
async def test_envoy_takes_it(edge: dict[str, Any], pair: Pair) -> None:
    """Whatever is switched on or off, Envoy itself finds nothing wrong, and nothing deprecated."""
    assert "" == await check(render(configured(edge), pair))


async def test_what_envoy_refuses_is_told() -> None:
    """A mistake is one line with the name of the field."""
    text = render(configured(NOTHING)).replace("stat_prefix: edge", "stat_prefiks: edge")

    assert "stat_prefiks" in await check(text)


def test_the_shipped_file_is_fresh() -> None:
    """deploy/envoy/envoy.yaml is what the command renders from the file beside it."""
    shipped = (DEPLOY / "envoy.yaml").read_text(encoding="utf-8")

    assert render(load(DEPLOY / "headrace.yaml", env={})) == shipped, (
        "run: headrace edge config deploy/envoy/headrace.yaml --out deploy/envoy/envoy.yaml"
    )


def test_it_knows_no_engine() -> None:
    """Models, engines and keys of the configuration do not show in it."""
    config = configured(
        models=[{"name": "qwen-secret"}],
        backends=[{"url": "http://gpu-secret:1", "serves": ["qwen-secret"], "api_key": "k-secret"}],
    )

    assert "secret" not in render(config)
    assert ["gateway"] == list(clusters(config))


def test_no_clock_cuts_an_answer() -> None:
    """No route has a time-out, and silence may last longer than any clock of the gateway."""
    rule = {"name": "r", "target": "m", "timeouts": {"total_s": 9000}}
    config = configured(models=[{"name": "m"}], rules=[rule])
    http = manager(config)
    [host] = http["route_config"]["virtual_hosts"]

    assert ["0s"] == [route["route"]["timeout"] for route in host["routes"]]
    assert "9030s" == http["stream_idle_timeout"]
    assert "3630s" == manager(configured())["stream_idle_timeout"]
    assert "90s" == manager(configured({"timeouts": {"idle_s": 90}}))["stream_idle_timeout"]
    assert "max_stream_duration" not in http["common_http_protocol_options"]
    assert {"connect_timeout": "2s"} == {
        key: value for key, value in clusters(config)["gateway"].items() if "timeout" in key
    }


def test_limits_follow_the_gateway() -> None:
    """What the gateway would refuse, the edge refuses, unless it has limits of its own."""
    server = {"max_body_bytes": 5000, "max_header_bytes": 3000}
    own = {"limits": {"max_body_bytes": 2000, "max_header_bytes": 9000}}

    def limits(config: Config) -> tuple[int, int, int]:
        http = manager(config)
        by_name = {f["name"].rpartition(".")[2]: f["typed_config"] for f in http["http_filters"]}
        body = by_name["buffer"]["max_request_bytes"]
        said = by_name["body_size_limit"]["max_request_bytes"]
        return body, said, http["max_request_headers_kb"]

    assert (5000, 5000, 3) == limits(configured(server=server))
    assert (2000, 2000, 9) == limits(configured(own, server=server))


def test_a_pooled_connection_ends_here_first() -> None:
    """Envoy lets go of an idle connection before the gateway closes it under a request."""
    config = configured(server={"keep_alive_s": 75})
    [options] = clusters(config)["gateway"]["typed_extension_protocol_options"].values()

    assert "60s" == options["common_http_protocol_options"]["idle_timeout"]


def test_gateways() -> None:
    """By default this configuration's own; names are looked up, numbers are not."""
    here = configured(server={"host": "0.0.0.0", "port": 9000})
    others = configured({"gateways": ["headrace-gateway:8000", "[::1]:8001"]})

    assert [("127.0.0.1", 9000)] == gateways(here)
    assert [("headrace-gateway", 8000), ("::1", 8001)] == gateways(others)
    assert "STATIC" == clusters(here)["gateway"]["type"]
    assert "envoy.clusters.dns" == clusters(others)["gateway"]["cluster_type"]["name"]


def test_certificates(pair: Pair) -> None:
    """Those of the configuration, else those that were made, else where Kubernetes mounts them."""
    own = {"tls": {"cert": "/a.crt", "key": "/a.key"}}

    assert "/a.crt" in render(configured(own), pair)
    assert str(pair.cert) in render(configured(), pair)
    assert str(CERT) in render(configured())
    assert "tls_certificates" not in render(configured(NOTHING), pair)


def test_other_clusters_only_where_they_are_wanted() -> None:
    """Keys of an issuer and a collector have clusters of their own."""
    wanted = {"otlp": "http://otel:4317", "jwt": KEYS}
    found = clusters(configured(wanted))
    sockets = {
        name: c["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"]
        for name, c in found.items()
    }

    assert ["gateway", "jwks", "otlp"] == list(found)
    assert {"address": "login.example.com", "port_value": 443} == sockets["jwks"]["socket_address"]
    assert {"address": "otel", "port_value": 4317} == sockets["otlp"]["socket_address"]


def test_rendered_twice_is_the_same() -> None:
    """The file can be compared: same configuration, same text, without anchors."""
    text = render(configured(EVERYTHING))

    assert text == render(configured(EVERYTHING))
    assert not [line for line in text.splitlines() if line.lstrip("- ").startswith(("&", "*"))]
    assert yaml.safe_load(text) == bootstrap(configured(EVERYTHING))


@pytest.mark.parametrize(
    ("value", "text"), [(60, "60s"), (0.25, "0.25s"), (1 / 3, "0.333333333s"), (86_400.0, "86400s")]
)
def test_seconds(value: float, text: str) -> None:
    """A duration is written as protobuf reads it: no exponent, nine digits at most."""
    assert text == seconds(value)
