"""keys.py: secrets are long, recognised, and kept as hashes that need the pepper."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.admission import keys
from headrace.admission.keys import Key, Secret

WHOLE = b"hr-AbCdEfGh-" + b"0123456789" * 4 + b"abc"
WHOLE += keys._check(WHOLE).encode()
NOW = datetime(2026, 11, 21, tzinfo=UTC)


def key(**more: object) -> Key:
    made = Key("app", "default", NOW, (Secret("hr-aaaaaaaa", "00"),))
    return keys.changed(made, more)


def test_secrets_have_the_form_and_differ() -> None:
    """Each secret has the documented form, its prefix in front, and 256 bits of its own."""
    minted = [keys.mint() for _ in range(200)]

    assert 200 == len({each.secret for each in minted})
    for each in minted:
        assert re.fullmatch(r"hr-[0-9A-Za-z]{8}-[0-9A-Za-z]{49}", each.secret)
        assert each.secret.startswith(f"{each.prefix}-")
        assert keys.is_whole(each.secret.encode())
    assert keys.SECRET * 5.954 >= 256  # log2(62) bits in each letter


@given(st.integers(0, 60), st.sampled_from(keys.LETTERS))
def test_typos_are_seen(place: int, letter: str) -> None:
    """A secret with one other letter is no secret."""
    whole = WHOLE.decode()
    typo = whole[:place] + letter + whole[place + 1 :]

    assert keys.is_whole(whole.encode())
    assert (typo == whole) is keys.is_whole(typo.encode())


@pytest.mark.parametrize(
    ("secret", "said"),
    [
        (b"sk-abc", "not one of this gateway"),
        (b"hr-abc", "mistyped or cut off"),
        (WHOLE, "not known, has expired or was revoked"),
        (WHOLE[:-1], "mistyped or cut off"),
    ],
)
def test_what_is_wrong_is_said(secret: bytes, said: str) -> None:
    """A caller learns whether the key is foreign, mistyped or unknown."""
    assert said in keys.wrong(secret)


def test_hashes_need_the_pepper() -> None:
    """The same secret has another hash under another pepper, and 256 bits of it are kept."""
    one, two = (keys.hash_of(keys.pepper_of(text), b"secret") for text in ("one", "two"))

    assert one != two
    assert 32 == len(one)
    assert keys.hash_of(keys.pepper_of("one"), b"secret") == one


def test_a_long_pepper_counts_as_a_whole() -> None:
    """No letter of a pepper is cut off."""
    assert keys.pepper_of("x" * 200) != keys.pepper_of("x" * 201)


def test_states() -> None:
    """Revoked comes before expired; a key is expired from its very moment on."""
    late = NOW + timedelta(days=1)

    assert "active" == key().state(NOW)
    assert "active" == key(expires_at=late).state(NOW)
    assert "expired" == key(expires_at=late).state(late)
    assert "revoked" == key(expires_at=NOW, revoked_at=NOW).state(late)


def test_renewed_keeps_one_old_secret() -> None:
    """After two rotations there are two secrets: the new one, and the one before it."""
    once = keys.renewed(key(), Secret("hr-b", "01"), NOW)
    twice = keys.renewed(once, Secret("hr-c", "02"), NOW + timedelta(days=1))

    assert ["hr-c", "hr-b"] == [each.prefix for each in twice.secrets]
    assert [None, NOW + timedelta(days=1)] == [each.until for each in twice.secrets]
