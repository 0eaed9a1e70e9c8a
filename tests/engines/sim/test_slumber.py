"""slumber.py: a simulated replica sleeps and wakes as vLLM's API says it."""

import time
from typing import Any

import pytest

from tests.engines.sim.rig import ask, chat, metric, simulator

TAGS = ("weights", "kv_cache")


async def said(url: str, **more: Any) -> str:
    """What it answers, four tokens long."""
    answer = await ask(url, "/v1/chat/completions", chat(max_tokens=4, ignore_eos=True, **more))
    return str(answer.json()["choices"][0]["message"]["content"])


async def test_waking_takes_its_time() -> None:
    """The answer to /wake_up comes when it is awake, after ``wake_s`` of its own time."""
    async with simulator(speed=300, wake_s=60) as server:
        url = server.urls[0]
        await ask(url, "/sleep?level=1", method="POST")
        began = time.monotonic()
        woken = await ask(url, "/wake_up", method="POST")
        seconds = time.monotonic() - began

    assert {"status": "awake", "tags": None} == woken.json()
    assert 0.19 <= seconds < 60


async def test_one_pool_of_memory_after_the_other() -> None:
    """It says that it sleeps, and computes nothing, until both are there."""
    async with simulator(wake_s=0) as server:
        url = server.urls[0]
        await ask(url, "/sleep?level=1", method="POST")
        first = await ask(url, "/wake_up?tags=weights", method="POST")
        halfway = (await ask(url, "/is_sleeping")).json()
        asleep = await metric(url, 'engine_sleep_state{sleep_state="weights_offloaded"}')
        second = await ask(url, "/wake_up?tags=kv_cache", method="POST")

        assert {"status": "sleeping", "tags": ["weights"]} == first.json()
        assert ({"is_sleeping": True}, 1) == (halfway, asleep)
        assert {"status": "awake", "tags": ["kv_cache"]} == second.json()
        assert {"is_sleeping": False} == (await ask(url, "/is_sleeping")).json()


async def test_weights_that_were_dropped_must_be_loaded() -> None:
    """After level 2 it babbles, as a model without weights does, until they are read again."""
    async with simulator(wake_s=0, reload_s=0) as server:
        url = server.urls[0]
        before = await said(url)
        await ask(url, "/sleep?level=2", method="POST")
        await ask(url, "/wake_up", method="POST")
        hollow = await said(url)
        loaded = await ask(url, "/collective_rpc", {"method": "reload_weights"})
        after = await said(url)

    assert ("!!!!", before) == (hollow, after)
    assert {"results": [None]} == loaded.json()


@pytest.mark.parametrize("method", ["reload_weights", "reset_everything"])
async def test_calls_that_fail(method: str) -> None:
    """There is no memory for weights while they sleep, and no other method at all."""
    async with simulator() as server:
        url = server.urls[0]
        await ask(url, "/sleep?level=2", method="POST")
        refused = await ask(url, "/collective_rpc", {"method": method})

    assert 500 == refused.status


async def test_a_pause_is_no_sleep_of_memory() -> None:
    """Level 0 only stops the scheduler; the weights stay, and waking takes no time."""
    async with simulator(speed=1, wake_s=60) as server:
        url = server.urls[0]
        before = await said(url)
        await ask(url, "/sleep?level=0", method="POST")
        paused = (await ask(url, "/is_sleeping")).json()
        await ask(url, "/wake_up", method="POST")

        assert {"is_sleeping": True} == paused
        assert before == await said(url)
