"""presidio.py: the library finds what it promises, and asks nobody for it."""

import socket
from typing import Any

import pytest

from headrace.config.guards import Pii
from headrace.errors import StartError
from headrace.guard.presidio import ENTITIES, Presidio


@pytest.fixture(scope="module")
def presidio() -> Presidio:
    return Presidio(Pii(engine="presidio"))


@pytest.mark.parametrize(
    ("entity", "thing"),
    [
        ("EMAIL_ADDRESS", "anna.lee@example.org"), ("CREDIT_CARD", "4111 1111 1111 1111"),
        ("IBAN_CODE", "DE89 3704 0044 0532 0130 00"), ("PHONE_NUMBER", "+1 (212) 555-0188"),
        ("IP_ADDRESS", "203.0.113.7"), ("MAC_ADDRESS", "00:1A:2B:3C:4D:5E"),
    ],
)  # fmt: skip
def test_what_is_found(
    presidio: Presidio, monkeypatch: pytest.MonkeyPatch, entity: str, thing: str
) -> None:
    """Without a word to the network, which the library's own check of addresses would need."""

    def refuse(*_: Any) -> None:
        raise AssertionError("it asked for an address")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    text = f"Please note {thing} for later."

    assert [(entity, thing)] == [
        (each.entity, text[each.start : each.end]) for each in presidio.find(text)
    ]


def test_words_around_make_it_sure(presidio: Presidio) -> None:
    """A number of nine digits is somebody's once the text says whose."""
    assert {"US_SSN"}.isdisjoint(e.entity for e in presidio.find("We made 078051120 of them."))
    assert ["US_SSN"] == [e.entity for e in presidio.find("My social security number: 536-22-8726")]
    assert {*ENTITIES} > {"US_SSN"}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"entities": ["NOPE"]}, "no recogniser of 'NOPE' for 'en'"),
        ({"model": "en_core_web_nope"}, "The spaCy model 'en_core_web_nope' is not installed"),
    ],
)
def test_what_there_is_not(settings: dict[str, Any], said: str) -> None:
    """It is told when it starts, with what would help."""
    with pytest.raises(StartError, match=said):
        Presidio(Pii(engine="presidio", **settings))
