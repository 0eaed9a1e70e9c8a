"""Sources of replicas in the configuration: each type takes and needs its own settings."""

from pathlib import Path
from typing import Any

import pytest

from headrace.config.discovery import endpoint
from headrace.config.load import load
from headrace.config.schema import Config
from headrace.errors import ConfigError

GOOD: list[dict[str, Any]] = [
    {"type": "file", "path": "b.yaml", "serves": ["m"]},
    {"type": "dns", "name": "x", "port": 1, "serves": ["m"]},
    {"type": "dns", "name": "x", "record": "srv", "serves": {"m": "theirs"}},
    {"type": "kubernetes", "selector": "a=b", "serves": ["m"]},
]


def problems(tmp_path: Path, text: str) -> str:
    path = tmp_path / "headrace.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as raised:
        load(path, {})
    return str(raised.value).replace(f"{path}:", "")


@pytest.mark.parametrize("source", GOOD, ids=lambda source: str(source["type"]))
def test_good(source: dict[str, Any]) -> None:
    """What a source serves is the catalogue when no models are declared."""
    assert ("m",) == Config.model_validate({"discovery": [source]}).served


def test_order_of_the_catalogue() -> None:
    """Backends first, then the sources, each name once."""
    backend = {"url": "http://gpu", "serves": ["b", "m"]}

    assert ("b", "m") == Config.model_validate({"backends": [backend], "discovery": GOOD}).served


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ("{type: consul}", "1:discovery[0].type: 'consul' must be 'file', 'dns' or 'kubernetes'"),
        ("{type: file}", "1:discovery[0]: the type file needs `path`"),
        ("{type: dns, name: x, serves: [m]}", "the type dns needs `port`, unless `record` is srv"),
        ("{type: dns, name: x, port: 1}", "the type dns needs `serves`: DNS does not say"),
        ("{type: kubernetes, selector: a}", "the type kubernetes needs `serves` or `serves_from`"),
        (
            "{type: file, path: x, selector: a}",
            "`selector` is not a setting of the type file, which takes path, poll_s",
        ),
        ("{type: file, path: x, paht: y}", "1:discovery[0].paht: there is no such setting"),
        ("{type: file, path: x}", "1:discovery[0]: needs declared `models`, or a `serves`"),
        (
            "{type: dns, name: x, port: 1, serves: [m], nameservers: [dns.local]}",
            "'dns.local' must be an IP address, or address:port",
        ),
        (
            "{type: dns, name: x, port: 1, serves: [m], min_s: 9, max_s: 3}",
            "`min_s` must be at most `max_s`",
        ),
    ],
)
def test_mistakes(tmp_path: Path, entry: str, told: str) -> None:
    """Each mistake is a sentence with its place and what would be right."""
    assert told in problems(tmp_path, f"discovery: [{entry}]\n")


def test_undeclared_model(tmp_path: Path) -> None:
    """Like backends, sources serve what is declared."""
    text = "models: [{name: a}]\ndiscovery: [{type: file, path: x, serves: [b]}]\n"

    assert "2:discovery[0].serves: 'b' is not declared in `models`, which has a" in problems(
        tmp_path, text
    )


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("10.0.0.2", ("10.0.0.2", 53)),
        ("10.0.0.2:8600", ("10.0.0.2", 8600)),
        ("fd00::2", ("fd00::2", 53)),
        ("[fd00::2]:8600", ("fd00::2", 8600)),
    ],
)
def test_endpoint(text: str, found: tuple[str, int]) -> None:
    """Name servers by address, with another port than 53 if need be."""
    assert found == endpoint(text)


@pytest.mark.parametrize("text", ["", "name", "10.0.0.2:x", "10.0.0.2:0", "[fd00::2]:70000"])
def test_no_endpoint(text: str) -> None:
    """Anything else is a mistake."""
    with pytest.raises(ValueError, match="must"):
        endpoint(text)
