"""door.py: who enters with what, how soon changes count, and what becomes of a lost book."""

import asyncio
import math
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from headrace.admission import door as module
from headrace.admission.book import Tenant
from headrace.admission.door import Door
from headrace.admission.shared import NAME, SharedStore
from headrace.admission.types import NOBODY, Caller
from headrace.config import identity as config
from headrace.errors import ConfigError, StartError, Unauthorized
from headrace.state.redis import Link, Silent
from headrace.state.table import Table
from tests.admission.rig import Place, bearer
from tests.state.server import RedisServer

LOOPBACK, ANYWHERE = "127.0.0.1", "0.0.0.0"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path, "acme")


def who(door: Door, secret: str) -> Caller:
    found = door.enter(bearer(secret))
    assert isinstance(found, Caller)
    return found


class TestWhoMayEnter:
    async def test_a_key(self, place: Place) -> None:
        """Who has a key is its caller."""
        issued = await place.issue(tenant="acme", admin=True)
        door = place.door()
        await door.open(ANYWHERE)

        assert ("acme", "app") == (who(door, issued.secret).tenant, who(door, issued.secret).key)
        assert door.admin(issued.secret.encode()) == who(door, issued.secret)

    @pytest.mark.parametrize("scheme", ["Bearer ", "bearer ", ""])
    async def test_spellings_of_bearer(self, place: Place, scheme: str) -> None:
        """The scheme may be lower case; a bare key is understood."""
        issued = await place.issue()
        door = place.door()
        await door.open(ANYWHERE)
        found = door.enter({b"authorization": f"{scheme}{issued.secret}".encode()})

        assert who(door, issued.secret) == found

    async def test_where_anthropics_sdk_puts_it(self, place: Place) -> None:
        """On its paths x-api-key counts, and wins; elsewhere it does not."""
        one, two = await place.issue("one"), await place.issue("two")
        door = place.door()
        await door.open(ANYWHERE)
        head = {**bearer(two.secret), b"x-api-key": one.secret.encode()}

        assert who(door, one.secret) == door.enter(head, anthropic=True)
        assert who(door, two.secret) == door.enter(bearer(two.secret), anthropic=True)
        assert who(door, two.secret) == door.enter(head)

    @pytest.mark.parametrize(
        "given",
        [
            {}, {b"authorization": b""}, {b"authorization": b"Bearer "},
            {b"authorization": b"Bearer sk-1"}, {b"authorization": b"Basic YTpi"},
            {b"authorization": b"\xff\xfe"}, {b"x-api-key": b"hr-"},
            {b"authorization": b"Bearer hr-aaaaaaaa-" + b"a" * 49},
            {b"authorization": b"Bearer a.b.c"}, {b"authorization": b"Bearer " + b"x" * 60_000},
        ],
    )  # fmt: skip
    async def test_strangers(self, place: Place, given: dict[bytes, bytes]) -> None:
        """No key, or none of ours, is refused."""
        await place.issue()
        door = place.door()
        await door.open(ANYWHERE)
        with pytest.raises(Unauthorized):
            door.enter(given)

    async def test_two_keys_in_one_head(self, place: Place) -> None:
        """A header that is given twice arrives joined, and is no key."""
        issued = await place.issue()
        door = place.door()
        await door.open(ANYWHERE)
        with pytest.raises(Unauthorized):
            door.enter({b"authorization": f"Bearer {issued.secret}, Bearer x".encode()})

    async def test_ends(self, place: Place) -> None:
        """An expired key and the old half of a rotation are good until their moment, not after."""
        now = datetime.now(UTC)
        clock = [now.timestamp()]
        first = await place.issue()
        await place.office.rotate("me", "app", timedelta(hours=1))
        timed = await place.issue("timed", expires_at=now + timedelta(hours=1))
        door = place.door(clock=lambda: clock[0])
        await door.open(ANYWHERE)
        before = [who(door, each.secret).key for each in (first, timed)]
        clock[0] += 3601
        for each in (first, timed):
            with pytest.raises(Unauthorized, match="expired"):
                who(door, each.secret)

        assert ["app", "timed"] == before
        assert 1 == door.active

    async def test_next_expiry(self, place: Place) -> None:
        """The soonest of the good keys; not one that is over or revoked, and not of none."""
        now = datetime.now(UTC)
        await place.issue("forever")
        door = place.door()
        await door.open(ANYWHERE)
        never = door.next_expiry
        soon = await place.issue("soon", expires_at=now + timedelta(hours=1))
        await place.issue("late", expires_at=now + timedelta(hours=2))
        await door.look()
        first = door.next_expiry
        await place.office.revoke("tester", soon.key.name)
        await door.look()

        assert math.isnan(never)
        assert (now + timedelta(hours=1)).timestamp() == pytest.approx(first)
        assert (now + timedelta(hours=2)).timestamp() == pytest.approx(door.next_expiry)

    async def test_admin_needs_the_scope(self, place: Place) -> None:
        """A good key without the scope, and no key at all, are no admin."""
        issued = await place.issue()
        door = place.door()
        await door.open(ANYWHERE)

        assert [None, None] == [door.admin(given) for given in (issued.secret.encode(), b"x")]


class TestAnonymous:
    async def test_on_loopback_without_keys(self, place: Place) -> None:
        """Nobody is asked, and that is all that a request looks at."""
        door = place.door()
        await door.open(LOOPBACK)

        assert door.watched is False
        assert None is door.admin(b"anything")

    @pytest.mark.parametrize("host", [ANYWHERE, "::", "10.0.0.7", "gateway.example"])
    async def test_others_need_keys(self, place: Place, host: str) -> None:
        """On an address that others can reach, it does not start, and says what to do."""
        with pytest.raises(StartError, match="headrace keys create"):
            await place.door().open(host)

    async def test_from_the_first_key_on(self, place: Place) -> None:
        """With a key, even a revoked one, callers on loopback need one."""
        await place.issue()
        await place.office.revoke("me", "app")
        door = place.door()
        await door.open(LOOPBACK)

        assert door.watched
        with pytest.raises(Unauthorized):
            door.enter({})

    async def test_refused_by_configuration(self, tmp_path: Path) -> None:
        """`false`: nobody enters without, and the gateway starts without a key."""
        door = Place(tmp_path, anonymous=False).door()
        await door.open(ANYWHERE)
        with pytest.raises(Unauthorized, match="has no key"):
            door.enter({})

    async def test_allowed_by_configuration(self, tmp_path: Path) -> None:
        """`true`: foreign keys are nobody's, keys of ours are checked, and known ones known."""
        place = Place(tmp_path, anonymous=True)
        door = place.door()
        await door.open(ANYWHERE)
        watched = [door.watched]
        issued = await place.issue()
        await door.look()

        assert [False, True] == [*watched, door.watched]
        assert [NOBODY, NOBODY] == [door.enter({}), door.enter(bearer("sk-foreign"))]
        assert "app" == who(door, issued.secret).key
        with pytest.raises(Unauthorized, match="mistyped"):
            who(door, issued.secret[:-1])

    async def test_a_tenant_for_them(self, tmp_path: Path) -> None:
        """A declared tenant of that name is theirs."""
        place = Place(tmp_path, "anonymous")
        door = place.door()
        await door.open(LOOPBACK)

        assert "anonymous" == getattr(door.enter({}), "tenant", None)


class TestChanges:
    @pytest.fixture(autouse=True)
    def fast(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "TOUCH_S", 0.0)

    async def test_revoked_within_a_second(self, place: Place) -> None:
        """A key that is revoked elsewhere is refused within a second, without a restart."""
        issued = await place.issue()
        door = place.door()
        await door.open(ANYWHERE)
        door.start()
        who(door, issued.secret)
        await place.office.revoke("me", "app")
        await refused(door, issued.secret)
        await door.stop()

        assert 2 * module.POLL_S < 1
        assert [{"action": "key_revoked", "subject": "app", "actor": "me"}] == [
            {k: v for k, v in note.items() if k != "at"} for note in place.log.named("audit")
        ]

    async def test_in_a_shared_book(self, tmp_path: Path) -> None:
        """With Redis all gateways follow; while it is away what was known stays."""
        server = RedisServer(tmp_path).start()
        link = Link(server.config(), Silent(), Silent())
        place = Place(tmp_path, store=SharedStore(Table(link, NAME)))
        issued, other = await place.issue(), await place.issue("other")
        doors = [place.door(), place.door()]
        for door in doors:
            await door.open(ANYWHERE)
            door.start()
        await place.office.revoke("me", "app")
        for door in doors:
            await refused(door, issued.secret)
        server.kill()
        await asyncio.sleep(0.6)
        lost = [who(door, other.secret).key for door in doors]
        server.start()
        await place.office.revoke("me", "other")
        for door in doors:
            await refused(door, other.secret)
            await door.stop()
        await link.stop()
        server.kill()

        assert ["other", "other"] == lost

    async def test_a_shared_book_that_was_lost(self, tmp_path: Path) -> None:
        """An emptied Redis is told the keys again: neither they nor a revocation are lost by it."""
        server = RedisServer(tmp_path).start()
        link = Link(server.config(), Silent(), Silent())
        place = Place(tmp_path, store=SharedStore(Table(link, NAME)))
        issued, revoked = await place.issue(), await place.issue("gone")
        await place.office.revoke("me", "gone")
        doors = [place.door(), place.door()]
        for door in doors:
            await door.open(ANYWHERE)
        await link.ask("test", "FLUSHALL")
        new = await place.issue("new")  # before any gateway has looked
        for door in doors:
            await door.look()
        for door in doors:
            await door.look()
        book = await place.store.load()
        found = [[who(door, each.secret).key for each in (issued, new)] for door in doors]
        for door in doors:
            await refused(door, revoked.secret)
        await link.stop()
        server.kill()

        assert [["app", "new"]] * 2 == found
        assert {"app", "gone", "new"} == {*book.keys}
        assert book.keys["gone"].revoked_at is not None
        assert ["key_created", "key_created", "key_revoked", "key_created"] == [
            note.action for note in book.audit
        ]
        assert [{"keys": 2}] == place.log.named("keys_restored")

    async def test_last_use_is_kept(self, place: Place) -> None:
        """It is written off the path of requests, and is no change of the book."""
        issued = await place.issue()
        stamp = await place.store.stamp()
        door = place.door()
        await door.open(ANYWHERE)
        door.start()
        who(door, issued.secret)
        async with asyncio.timeout(20):
            while not (used := (await place.store.load()).used):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        await door.stop()

        assert abs(used["app"].timestamp() - time.time()) < 60
        assert stamp == await place.store.stamp()

    async def test_last_use_is_kept_at_the_end(self, place: Place) -> None:
        """A gateway that stops writes what it knows."""
        issued = await place.issue()
        door = place.door()
        await door.open(ANYWHERE)
        door.start()
        who(door, issued.secret)
        await door.stop()

        assert {"app"} == set((await place.store.load()).used)

    @pytest.mark.parametrize("damage", ["gone", "empty", "garbage", "another pepper"])
    async def test_a_lost_book_changes_nothing(self, place: Place, damage: str) -> None:
        """What was known stays in force, said once; a good book counts again."""
        issued = await place.issue()
        door = place.door()
        await door.open(LOOPBACK)
        good = place.config.file.read_text()
        spoil(place, damage, good)
        for _ in range(2):
            await door.look()
        kept = who(door, issued.secret).key
        with pytest.raises(Unauthorized):
            door.enter({})
        place.config.file.write_text(good)
        await door.look()

        assert "app" == kept == who(door, issued.secret).key
        assert 1 == len(place.log.named("keys_refused"))

    async def test_a_tenant_that_goes(self, place: Place) -> None:
        """Keys of a tenant that is gone are refused, and named in the log."""
        await place.office.keep("me", Tenant("guest"))
        issued = await place.issue(tenant="guest")
        door = place.door()
        await door.open(ANYWHERE)
        who(door, issued.secret)
        text = place.config.file.read_text().replace('"guest"', '"ghost"', 1)
        place.config.file.write_text(text.replace('"name": "guest"', '"name": "ghost"', 1))
        await door.look()

        assert ["app"] == place.log.named("keys_loaded")[-1]["homeless"]
        with pytest.raises(Unauthorized):
            who(door, issued.secret)


class TestStart:
    async def test_without_the_pepper(self, place: Place) -> None:
        """Keys without their pepper are of no use, and that is said at the start."""
        await place.issue()
        place.config.pepper_file.unlink()
        with pytest.raises(ConfigError, match="not the pepper"):
            await place.door().open(LOOPBACK)

    async def test_with_another_pepper(self, place: Place, tmp_path: Path) -> None:
        """So is another pepper."""
        await place.issue()
        with pytest.raises(ConfigError, match="another pepper"):
            await Place(tmp_path, pepper="another").door().open(LOOPBACK)

    async def test_without_redis(self, tmp_path: Path) -> None:
        """A gateway whose keys are in Redis does not start without it."""
        nowhere = RedisServer(tmp_path)
        link = Link(nowhere.config(), Silent(), Silent())
        place = Place(tmp_path, store=SharedStore(Table(link, NAME)))
        with pytest.raises(StartError, match="keys are not known"):
            await place.door().open(LOOPBACK)
        await link.stop()

    async def test_tokens_without_pyjwt(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """An issuer without the extra is an error that says what to install."""
        monkeypatch.setitem(__import__("sys").modules, "headrace.admission.tokens", None)
        issuer = {"issuer": "i", "audience": "a", "jwks_file": tmp_path / "jwks"}
        with pytest.raises(StartError, match=r"pip install 'headrace\[jwt\]'"):
            await Place(tmp_path, jwt=[issuer]).door().open(ANYWHERE)

    async def test_salts_need_a_pepper(self, tmp_path: Path) -> None:
        """One is made where there is none; each tenant's salt is its own, and stays."""
        place = Place(tmp_path, cache_salt="tenant")
        tenants = tuple(config.Tenant(name=name) for name in ("a", "b"))
        doors = [place.door(*tenants), place.door(*tenants)]
        for door in doors:
            await door.open(LOOPBACK)
        salts: list[Any] = [door.register.caller("a") for door in doors]

        assert salts[0].salt == salts[1].salt != ""
        assert salts[0].salt != getattr(doors[0].register.caller("b"), "salt", "")
        assert doors[0].watched


async def refused(door: Door, secret: str) -> None:
    """Wait until a key is refused."""
    async with asyncio.timeout(20):
        while True:
            try:
                door.enter(bearer(secret))
            except Unauthorized:
                return
            await asyncio.sleep(0.01)


def spoil(place: Place, damage: str, good: str) -> None:
    """Do this to the book."""
    file = place.config.file
    if damage == "gone":
        file.unlink()
    elif damage == "another pepper":
        file.write_text(good.replace('"pepper": "', '"pepper": "0'))
    else:
        file.write_text("" if damage == "empty" else "{")
