"""Pins in a real server: what is kept, and for how long."""

from headrace.state.pins import Pins
from headrace.state.redis import Link
from tests.state.server import RedisServer

HOUR_S = 3600.0
NOW = 1_800_000_000.0


async def keep(link: Link, pins: Pins, model: str, found: dict[int, str], at: float) -> None:
    await link.batch("share", pins.words(model, found, at))


async def test_the_newest_pin_counts(server: RedisServer) -> None:
    """A session that has moved is where it was last, also when that is in another piece of time."""
    link = Link(server.config())
    pins = Pins(link, HOUR_S)
    await keep(link, pins, "m", {1: "gpu-1", 2: "gpu-1"}, NOW)
    await keep(link, pins, "m", {2: "gpu-2"}, NOW + 1)
    await keep(link, pins, "m", {1: "gpu-3"}, NOW + HOUR_S / 2)

    assert {1: "gpu-3", 2: "gpu-2"} == await pins.load("m", NOW + HOUR_S / 2)
    assert {} == await pins.load("other", NOW)
    await link.stop()


async def test_pins_live_for_their_time(server: RedisServer) -> None:
    """They are there for as long as they should be, and a quarter longer at most."""
    link = Link(server.config())
    pins = Pins(link, HOUR_S)
    await keep(link, pins, "m", {1: "gpu-1"}, NOW)
    (key,) = await link.ask("keys", "KEYS", "headrace:*")
    lives_ms = await link.ask("ttl", "PTTL", key)

    assert {1: "gpu-1"} == await pins.load("m", NOW + HOUR_S)
    assert {} == await pins.load("m", NOW + 1.5 * HOUR_S)
    assert 1.24 * HOUR_S * 1000 < lives_ms <= 1.25 * HOUR_S * 1000
    await link.stop()


async def test_many_are_read_in_pages(server: RedisServer) -> None:
    """More than one answer holds come all the same."""
    link = Link(server.config(timeout_s=5))
    pins = Pins(link, HOUR_S)
    many = {number: f"gpu-{number % 7}" for number in range(2**64 - 5000, 2**64)}
    await keep(link, pins, "m", many, NOW)

    assert many == await pins.load("m", NOW)
    await link.stop()


async def test_what_is_no_pin_is_passed_over(server: RedisServer) -> None:
    """Fields that somebody else has put there do no harm."""
    link = Link(server.config())
    pins = Pins(link, HOUR_S)
    await keep(link, pins, "m", {1: "gpu-1"}, NOW)
    (key,) = await link.ask("keys", "KEYS", "headrace:*")
    await link.ask("set", "HSET", key, b"\xffoops", b"x", "0" * 15 + "2", b"\xff")

    assert {1: "gpu-1", 2: "\ufffd"} == await pins.load("m", NOW)
    await link.stop()


async def test_nothing_to_keep_is_nothing_to_do(server: RedisServer) -> None:
    """No pins, no commands."""
    link = Link(server.config())

    assert [] == list(Pins(link, HOUR_S).words("m", {}, NOW))
    await link.stop()
