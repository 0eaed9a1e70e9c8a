"""
vLLM's sleep mode: to sleep, to wake, and to ask. When that is done is rota.py's.

The calls are those of vLLM 0.32 (https://docs.vllm.ai/en/latest/features/sleep_mode/). The server
has them with VLLM_SERVER_DEV_MODE=1 only.
"""

from typing import Any

import httpx2

ASK_S = 10.0  # an engine that is well says at once whether it sleeps
RELOAD: dict[str, Any] = {"method": "reload_weights"}


class Failed(Exception):
    """The engine did not do it; the text says what it was asked, and what it said."""


async def sleep(url: str, level: int, within_s: float) -> None:
    """
    Give up the GPU's memory: at level 1 the weights move to main memory, at level 2 they are lost.

    Raises:
        Failed: it did not.

    """
    async with _client(url, within_s) as client:
        await _ask(client, "POST", "/sleep", params={"level": level})


async def wake(url: str, level: int, within_s: float) -> None:
    """
    Return when the engine computes again. After level 2 its weights are read from where they lie
    before memory is taken for the cache, as vLLM's documentation has it.

    Raises:
        Failed: it did not wake in time, or is still asleep.

    """
    async with _client(url, within_s) as client:
        if level == 1:
            await _ask(client, "POST", "/wake_up")
        else:
            await _ask(client, "POST", "/wake_up", params={"tags": "weights"})
            await _ask(client, "POST", "/collective_rpc", json=RELOAD)
            await _ask(client, "POST", "/wake_up", params={"tags": "kv_cache"})
        if await _asleep(client):
            raise Failed("POST /wake_up went well, and it still says that it sleeps")


async def asleep(url: str) -> bool:
    """
    Whether an engine sleeps.

    Raises:
        Failed: it does not know: it is no vLLM, or without its development mode.

    """
    async with _client(url, ASK_S) as client:
        return await _asleep(client)


def _client(url: str, within_s: float) -> httpx2.AsyncClient:
    """Plain HTTP on loopback: to load certificates for it would hold up the gateway for 20 ms."""
    return httpx2.AsyncClient(base_url=url, timeout=within_s, trust_env=False, verify=False)


async def _asleep(client: httpx2.AsyncClient) -> bool:
    answer = await _ask(client, "GET", "/is_sleeping")
    try:
        said = answer.json()
    except ValueError:
        said = None
    if not isinstance(said, dict) or "is_sleeping" not in said:
        raise Failed("GET /is_sleeping was answered without saying so")
    return bool(said["is_sleeping"])


async def _ask(
    client: httpx2.AsyncClient, method: str, path: str, **options: Any
) -> httpx2.Response:
    try:
        answer = await client.request(method, path, **options)
    except httpx2.HTTPError as error:
        raise Failed(f"{method} {path}: {str(error) or type(error).__name__}") from None
    if answer.status_code != 200:
        raise Failed(f"{method} {path} was answered {answer.status_code}")
    return answer
