"""patterns.py: what looks like personal data and is, and what looks like it and is not."""

import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import ConfigError
from headrace.guard.patterns import ENTITIES, Patterns, apart
from headrace.guard.types import Finding
from tests.guard.growth import linear

FOUND = [
    ("EMAIL_ADDRESS", "write to anna.lee+x@mail.example.co.uk.", "anna.lee+x@mail.example.co.uk"),
    ("EMAIL_ADDRESS", "<o'neil@example.org>", "o'neil@example.org"),
    ("EMAIL_ADDRESS", "联系john@example.com谢谢", "john@example.com"),
    ("PHONE_NUMBER", "call +49 (0)30 901820-12 now", "+49 (0)30 901820-12"),
    ("PHONE_NUMBER", "0049 30 901820", "0049 30 901820"),
    ("PHONE_NUMBER", "(212) 555-0188 or", "(212) 555-0188"),
    ("PHONE_NUMBER", "1-212-555-0188 x12", "1-212-555-0188 x12"),
    ("PHONE_NUMBER", "020 7946 0958", "020 7946 0958"),
    ("PHONE_NUMBER", "my phone is 5550188123", "5550188123"),
    ("CREDIT_CARD", "card:4111-1111-1111-1111!", "4111-1111-1111-1111"),
    ("CREDIT_CARD", "3782 822463 10005", "3782 822463 10005"),
    ("CREDIT_CARD", '{"n":5555555555554444}', "5555555555554444"),
    ("IBAN_CODE", "DE89 3704 0044 0532 0130 00 BIC", "DE89 3704 0044 0532 0130 00"),
    ("IBAN_CODE", "gb29nwbk60161331926819", "gb29nwbk60161331926819"),
    ("US_SSN", "it is 078-05-1120.", "078-05-1120"),
    ("US_SSN", "SSN: 078051120", "078051120"),
    ("IP_ADDRESS", "from 203.0.113.7.", "203.0.113.7"),
    ("IP_ADDRESS", "from 2001:db8::8a2e:370:7334", "2001:db8::8a2e:370:7334"),
    ("MAC_ADDRESS", "00:1A:2b:3c:4D:5e", "00:1A:2b:3c:4D:5e"),
    ("CRYPTO", "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa", "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa"),
    ("CRYPTO", "0x" + "aB" * 20, "0x" + "aB" * 20),
]
HARMLESS = [
    "order 1234 5678 9012 3456", "4111 1111 1111 1112", "DE89 3704 0044 0532 0130 01",
    "version 1.2.3.4", "999.1.1.1", "at 12:30:45 and 12:30", "2026-11-22", "1,234,567.89",
    "user@localhost", "a @ b.org", "000-12-3456", "pages 12-34",
    "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNb",
    "ISBN 978-3-16-148410-0", "10 000 000", "def f(x): return x[1:2]", "C++ :: std",
    "sha 9f86d081884c7d65",
    "#ff8800", "3.14159265358979", "year 2024 2025 2026", "room 0 12", "1-2-3-4-5-6-7-8",
]  # fmt: skip


@pytest.mark.parametrize(("entity", "text", "thing"), FOUND)
def test_what_is_found(entity: str, text: str, thing: str) -> None:
    """With exactly its place, so that nothing around it is lost and nothing of it stays."""
    assert [(entity, thing)] == [
        (each.entity, text[each.start : each.end]) for each in Patterns().find(text)
    ]


@pytest.mark.parametrize("text", HARMLESS)
def test_what_is_not(text: str) -> None:
    """Checksums, tables and what stands around tell numbers from numbers."""
    assert [] == Patterns().find(text)


def test_only_what_is_asked_for() -> None:
    """A guard for cards lets addresses pass."""
    text = "a@b.org 4111 1111 1111 1111"

    assert ["CREDIT_CARD"] == [each.entity for each in Patterns(["CREDIT_CARD"]).find(text)]
    with pytest.raises(ConfigError, match="no pattern for 'PERSON'; there are EMAIL_ADDRESS"):
        Patterns(["PERSON"])


@given(
    st.lists(st.sampled_from([text for _, text, _ in FOUND] + HARMLESS) | st.text()).map(" ".join)
)
def test_findings_are_apart_and_within(text: str) -> None:
    """In their order, without overlaps, whatever the text."""
    found = Patterns().find(text)

    assert all(0 <= each.start < each.end <= len(text) for each in found)
    assert all(a.end <= b.start for a, b in pairwise(found))


@pytest.mark.parametrize(
    "unit", ["1", "a", "1 ", "1-", "+1", ".", "@", "a@", "a.", ":1", "(1) ", "AB12 ", "0x"]
)
@pytest.mark.parametrize("entity", ENTITIES)
def test_no_text_takes_for_ever(entity: str, unit: str) -> None:
    """Time grows with the text, not with its square: eight times the text, far less than 64."""
    detector = Patterns([entity])

    def cpu_s(size: int) -> float:
        text, took = unit * size, []
        for _ in range(3):
            began = time.thread_time()
            detector.find(text)
            took.append(time.thread_time() - began)
        return min(took)

    assert cpu_s(32_000) < 24 * max(cpu_s(4000), 0.001)


def test_many_findings_take_linear_time() -> None:
    """Also where those of one entity all stand before those of another."""

    def run(count: int) -> None:
        places = [Finding("A", 10 * index, 10 * index + 5) for index in range(2 * count)]
        early, late = places[:count], places[count:]
        assert early + late == apart(late + early)

    assert linear(run, 4000)
