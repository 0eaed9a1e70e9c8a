"""EndpointSlices as replicas: a pure function of what the API says."""

from typing import Any

import msgspec
import pytest

from headrace.fleet.discovery.slices import Slice, fault, replicas
from tests.fleet.discovery.apiserver import a_slice, endpoint
from tests.fleet.discovery.recorder import section

POD = endpoint("10.0.0.1", "pod-1")


def read(*items: dict[str, Any]) -> list[Slice]:
    return [msgspec.convert(item, Slice) for item in items]


def urls(items: list[Slice], **settings: Any) -> dict[str, str]:
    config = section(type="kubernetes", selector="a=b", **{"serves": ["m"]} | settings)
    return {each.backend.name: each.backend.url for each in replicas(items, config)}


@pytest.mark.parametrize(
    ("conditions", "counts"),
    [
        ({"ready": True, "serving": True, "terminating": False}, True),
        ({}, True),  # unknown: as kube-proxy, take it
        ({"ready": False}, False),
        ({"ready": False, "serving": True, "terminating": True}, False),
        ({"ready": True, "serving": True, "terminating": True}, False),  # publishNotReadyAddresses
        ({"serving": True}, True),
    ],
)
def test_conditions(conditions: dict[str, bool], counts: bool) -> None:
    """Ready, or not known to be otherwise, and not terminating."""
    one = {"addresses": ["10.0.0.1"], "conditions": conditions}

    assert counts is bool(urls(read(a_slice("s", one))))


def test_ports() -> None:
    """By name, by number, or the only one."""
    ports = [{"name": "http", "port": 8000}, {"name": "metrics", "port": 9000}]
    two, one = read(a_slice("s", POD, ports=ports)), read(a_slice("s", POD))

    assert {"pod-1": "http://10.0.0.1:9000"} == urls(two, port_name="metrics")
    assert {"pod-1": "http://10.0.0.1:7000"} == urls(two, port=7000)
    assert {"pod-1": "http://10.0.0.1:8000"} == urls(one)
    assert {} == urls(two)
    assert {} == urls(two, port_name="other")


def test_one_pod_is_one_replica() -> None:
    """While it moves between slices, and with addresses of both families, it counts once."""
    six = a_slice("a", endpoint("fd00::1", "pod-1"), addressType="IPv6")

    assert {"pod-1": "http://10.0.0.1:8000"} == urls(
        read(a_slice("x", POD), a_slice("y", POD), six)
    )
    assert {"pod-1": "http://[fd00::1]:8000"} == urls(read(six))


def test_without_a_pod() -> None:
    """Endpoints that somebody wrote by hand go by their address."""
    assert {"10.0.0.9:8000": "http://10.0.0.9:8000"} == urls(
        read(a_slice("s", endpoint("10.0.0.9")))
    )


def test_empty() -> None:
    """The API leaves out or nulls what is empty."""
    assert {} == urls(read(a_slice("s", endpoints=None, ports=None)))


@pytest.mark.parametrize("place", ["annotations", "labels"])
def test_models_from_the_slice(place: str) -> None:
    """An annotation or label names the models, with the engine's own names where they differ."""
    config = section(type="kubernetes", selector="a=b", serves_from="models", serves=["fallback"])
    named = {place: {"models": "qwen3-8b, small=Qwen/Qwen3-0.6B"}}
    items = read(a_slice("s", POD, metadata=named), a_slice("t", endpoint("10.0.0.2", "pod-2")))

    assert [
        {"qwen3-8b": "qwen3-8b", "small": "Qwen/Qwen3-0.6B"},
        {"fallback": "fallback"},
    ] == [each.backend.serves for each in replicas(items, config)]


def test_models_missing() -> None:
    """A slice that nobody says the models of is no replica, and a reason says why."""
    config = section(type="kubernetes", selector="a=b", serves_from="models")
    (item,) = read(a_slice("s", POD))

    assert [] == replicas([item], config)
    assert "it has no annotation or label models" in fault(item, config)


def test_tls_and_key() -> None:
    """What the configuration says about all replicas of the source is in each."""
    config = section(
        type="kubernetes", selector="a=b", serves=["m"], tls=True, tls_verify=False, api_key="k-1"
    )
    (found,) = replicas(read(a_slice("s", POD)), config)

    assert "https://10.0.0.1:8000" == found.backend.url
    assert found.backend.tls_verify is False
    assert found.backend.api_key is not None
    assert "k-1" == found.backend.api_key.get_secret_value()
