"""salt.py: each body leaves with its tenant's salt, however the client spells its own."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.gateway.body import scan
from headrace.gateway.body.salt import mixed, salted

SALT = "A" * 24


def sent(body: bytes, salt: str = SALT) -> Any:
    """The body as an engine reads it."""
    return json.loads(salted(body, scan.read(body), salt))


@pytest.mark.parametrize("body", [b"{}", b'{"model":"m"}', b' { "a" : [1, {"b": 2}] } '])
def test_put_in_front(body: bytes) -> None:
    """A body without a salt gets it; nothing else changes."""
    assert {**json.loads(body), "cache_salt": SALT} == sent(body)


# Fields that the scan reads have types; these are others.
names = st.text(max_size=12).filter(lambda name: name not in scan.Body.__struct_fields__)
SPELLINGS = [
    b'{"cache_salt":"mine","a":1}',
    b'{"a":1,"cache_salt" : "mine"}',
    b'{"a":1,"cache_salt":null}',
    b'{"cache_salt":{"a":"cache_salt"},"a":1}',
    b'{"c\\u0061che_salt":"mine","a":1}',
    b'{"cache_salt":"x","a":1,"cache_salt":"mine"}',
    b'{"cache_salt":"mine","a":1,"c\\u0061che_salt":""}',
]


@pytest.mark.parametrize("body", SPELLINGS)
def test_the_clients_own_is_mixed_in(body: bytes) -> None:
    """However it is spelled, only the mixed one leaves, and for each tenant another."""
    one, two = sent(body), sent(body, "B" * 24)

    assert {"a", "cache_salt"} == set(one)
    assert 3 == len({one["cache_salt"], two["cache_salt"], SALT})
    assert 24 == len(one["cache_salt"])


def test_equal_salts_stay_equal() -> None:
    """What a client sends twice is one salt; two of them are two."""
    assert mixed(SALT, b'"a"') == mixed(SALT, b'"a"')
    assert mixed(SALT, b'"a"') != mixed(SALT, b'"b"')


def test_routing_looks_with_the_same_salt() -> None:
    """What is noted for routing is what the engine gets."""
    for body in (b"{}", *SPELLINGS):
        fields = scan.read(body)
        seen = json.loads(salted(body, fields, SALT))

        assert seen["cache_salt"] == json.loads(bytes(fields.cache_salt))


def test_the_salt_within_a_message_is_text() -> None:
    """Only the top level counts."""
    body = b'{"messages":[{"cache_salt":"x"}],"text":"\\"cache_salt\\":1"}'

    assert {**json.loads(body), "cache_salt": SALT} == sent(body)


@given(st.dictionaries(names | st.just("cache_salt"), st.text() | st.integers()))
def test_any_object(tree: dict[str, Any]) -> None:
    """Of any body, an engine sees our salt and all else as it was."""
    body = msgspec.json.encode(tree)
    seen = sent(body)

    assert {k: v for k, v in tree.items() if k != "cache_salt"} == {
        k: v for k, v in seen.items() if k != "cache_salt"
    }
    assert seen["cache_salt"] not in {tree.get("cache_salt"), ""}
