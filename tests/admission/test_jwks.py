"""jwks.py: an issuer's public keys, read from a real server that changes and fails."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from headrace.admission import jwks
from headrace.admission.jwks import Keys
from headrace.config.identity import Issuer
from tests.admission.rig import AUDIENCE, ISSUER, JwksServer, Log, Signer

ONE, TWO = Signer("one"), Signer("two")


@pytest.fixture
async def server() -> AsyncIterator[JwksServer]:
    server = await JwksServer(ONE).start()
    yield server
    await server.stop()


class Reader(Keys):
    """Public keys whose losses are counted."""

    def __init__(self, clock: Callable[[], float] = time.time, **issuer: Any) -> None:
        self.log, self.losses = Log(), 0
        super().__init__(Issuer.model_validate(issuer), self.log, self._count, clock)

    def _count(self) -> None:
        self.losses += 1


async def test_read_at_the_start_and_again(server: JwksServer) -> None:
    """They are read now and then; a key that is gone is told, one that is new is not."""
    keys = Reader(**server.issuer(refresh_s=0.02))
    keys.start()
    await until(lambda: "one" in keys.by_id)
    server.keys = [ONE.jwk, TWO.jwk]
    await until(lambda: "two" in keys.by_id)
    before = keys.losses
    server.keys = [TWO.jwk]
    await until(lambda: "one" not in keys.by_id)
    await keys.stop()

    assert (0, 1) == (before, keys.losses)
    assert [["one"], ["one", "two"], ["two"]] == [x["keys"] for x in keys.log.named("jwks_loaded")]


async def test_a_machine_that_was_suspended(
    server: JwksServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its steady clock stood still; the time of day says that keys are to be read again."""
    monkeypatch.setattr(jwks, "LOOK_S", 0.01)
    today = [1_000_000.0]
    keys = Reader(lambda: today[0], **server.issuer(refresh_s=3600))
    keys.start()
    await until(lambda: server.asked == 1 and keys.by_id)
    today[0] -= 7200  # a clock that is set back is no reason, nor one to stop
    server.keys = [TWO.jwk]
    await asyncio.sleep(0.05)
    asked = server.asked
    today[0] += 3 * 7200
    await until(lambda: "two" in keys.by_id)
    await keys.stop()

    assert 1 == asked
    assert 1 == keys.losses


async def test_one_reading_for_all_who_ask(server: JwksServer) -> None:
    """Many who ask at the same moment cause one reading, and then none for a while."""
    keys = Reader(**server.issuer(refresh_least_s=60))
    tasks = {keys.refresh() for _ in range(100)}
    asked = keys.may_refresh
    await asyncio.gather(*tasks)

    assert (1, 1, True, False) == (len(tasks), server.asked, asked, keys.may_refresh)


async def test_a_failure_keeps_what_is_known(server: JwksServer) -> None:
    """An issuer that fails is named once; its keys stay in use, and recovery is told."""
    keys = Reader(**server.issuer())
    await keys.refresh()
    server.status = 503
    for _ in range(2):
        await keys.refresh()
    known = set(keys.by_id)
    server.status = 200
    await keys.refresh()

    assert {"one"} == known
    assert [{"issuer": ISSUER, "error": "it answered 503"}] == keys.log.named("jwks_failed")
    assert 2 == len(keys.log.named("jwks_loaded"))


async def test_redirects_are_not_followed(server: JwksServer) -> None:
    """Keys come from where the configuration says, and nowhere else."""
    server.status = 302
    keys = Reader(**server.issuer())
    await keys.refresh()

    assert ({}, None) == (keys.by_id, keys.read_at)


async def test_from_a_file(tmp_path: Path) -> None:
    """A file will do; it is read again like a URL, and one that is missing is named."""
    path = tmp_path / "jwks.json"
    keys = Reader(issuer=ISSUER, audience=AUDIENCE, jwks_file=path)
    await keys.refresh()
    path.write_text(json.dumps({"keys": [ONE.jwk]}))
    await keys.refresh()

    assert {"one"} == set(keys.by_id)
    assert "No such file" in str(keys.log.named("jwks_failed")[0]["error"])


@pytest.mark.parametrize(
    ("listed", "known"),
    [
        ([{"kty": "oct", "k": "c2VjcmV0", "kid": "s"}], set()),
        ([{**ONE.jwk, "use": "enc"}], set()),
        ([{"kty": "oct", "k": "c2VjcmV0", "kid": "s"}, ONE.jwk], {"one"}),
        ([{key: value for key, value in ONE.jwk.items() if key != "kid"}], {""}),
        (["no key"], set()),
        ([], set()),
    ],
)
async def test_only_public_keys_for_signatures(
    server: JwksServer, listed: list[Any], known: set[str]
) -> None:
    """Shared secrets and keys for encryption are none."""
    server.keys = listed
    keys = Reader(**server.issuer())
    await keys.refresh()

    assert known == set(keys.by_id)


async def test_too_large(server: JwksServer) -> None:
    """An answer without end is not taken in."""
    server.keys = [{**ONE.jwk, "x5c": "x" * 1_100_000}]
    keys = Reader(**server.issuer())
    await keys.refresh()

    assert "larger than" in str(keys.log.named("jwks_failed")[0]["error"])


async def until(true: Any) -> None:
    async with asyncio.timeout(20):
        while not true():  # noqa: ASYNC110
            await asyncio.sleep(0.005)
