"""book.py: changes of keys and tenants, each with its note, and those that are refused."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from headrace.admission.book import MAX_AUDIT, Book, Clerk, Tenant
from headrace.admission.keys import Key, Secret
from headrace.errors import ConfigError

NOW = datetime(2026, 11, 21, tzinfo=UTC)
CLERK = Clerk("me", NOW)
KEY = Key("app", "acme", NOW, (Secret("hr-aaaaaaaa", "00"),))
BOOK = CLERK.create(CLERK.keep(Book(), Tenant("acme")), KEY, "pepper")


def test_creating() -> None:
    """The key is in the book, and so is who made it."""
    note = BOOK.audit[-1]

    assert {"app": KEY} == BOOK.keys
    assert ("me", "key_created", "app", NOW) == (note.actor, note.action, note.subject, note.at)


def test_changes_leave_the_book_as_it_was() -> None:
    """A book is a value: a change gives another one."""
    CLERK.revoke(BOOK, "app")

    assert {"app": KEY} == BOOK.keys


def test_life_of_a_key() -> None:
    """Changed, rotated, revoked: each leaves its note."""
    book = CLERK.alter(BOOK, "app", {"models": ("m",)})
    book = CLERK.rotate(book, "app", Secret("hr-b", "01"), timedelta(hours=1))
    book = CLERK.revoke(book, "app")

    assert ("m",) == book.keys["app"].models
    assert NOW == book.keys["app"].revoked_at
    assert NOW + timedelta(hours=1) == book.keys["app"].secrets[1].until
    assert ["key_changed", "key_rotated", "key_revoked"] == [x.action for x in book.audit[2:]]


def test_life_of_a_tenant() -> None:
    """Created, changed, and removed once its keys are revoked."""
    book = CLERK.keep(BOOK, Tenant("acme", priority="batch"))
    book = CLERK.drop(CLERK.revoke(book, "app"), "acme")

    assert {} == book.tenants
    assert ["tenant_changed", "key_revoked", "tenant_removed"] == [x.action for x in book.audit[2:]]


REFUSED: dict[str, tuple[str, Callable[[], Book]]] = {
    "a name twice": ("already", lambda: CLERK.create(BOOK, KEY, "pepper")),
    "the name of a revoked key": (
        "already",
        lambda: CLERK.create(CLERK.revoke(BOOK, "app"), KEY, "pepper"),
    ),
    "another pepper": (
        "another pepper",
        lambda: CLERK.create(BOOK, Key("b", "acme", NOW, ()), "other"),
    ),
    "an unknown key": ("there are: app", lambda: CLERK.revoke(BOOK, "nobody")),
    "revoked twice": ("was revoked", lambda: CLERK.revoke(CLERK.revoke(BOOK, "app"), "app")),
    "an unknown tenant": ("no tenant 'x'", lambda: CLERK.drop(BOOK, "x")),
    "a tenant with keys": ("revoke them first: app", lambda: CLERK.drop(BOOK, "acme")),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str) -> None:
    """What does not fit is refused, in one sentence that says why."""
    said, act = REFUSED[case]
    with pytest.raises(ConfigError, match=said):
        act()


def test_audit_is_bounded() -> None:
    """The latest changes are remembered, not all there ever were."""
    book = BOOK
    for number in range(MAX_AUDIT + 20):
        book = CLERK.keep(book, Tenant(f"t{number % 3}"))

    assert MAX_AUDIT == len(book.audit)
    assert f"t{(MAX_AUDIT + 19) % 3}" == book.audit[-1].subject
