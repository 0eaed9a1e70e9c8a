"""
What the configured backends are: asked in the background, told in the log, used by nobody.

Whether a backend is well is the fleet's question; here is which program it runs, which models it
really serves, and whether our key is right.
"""

import asyncio
import json
import ssl
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import httpx2

from headrace.config.backends import Backend
from headrace.engines.roster import Log
from headrace.upstream import trust

TIMEOUT_S = 10.0
FIRST_S, CAP_S = 2.0, 60.0  # between tries until a backend has answered
AGAIN_S = 300.0  # then: it may be replaced by another version under the same address
MAX_BYTES = 4 * 1024 * 1024  # of an answer; a provider's list of 300 models has 200 kB
SHOWN = 20  # names in one event; a hosted provider has hundreds
UNAUTHORIZED = frozenset({401, 403})
OWNERS = {"vllm": "vllm", "sglang": "sglang", "llamacpp": "llamacpp"}


@dataclass(frozen=True, slots=True)
class Nature:
    """What a backend is: ``kind`` is vllm, sglang, tgi, llamacpp or openai (any other)."""

    kind: str
    version: str
    models: tuple[str, ...]


class Refused(Exception):
    """The backend does not accept our key, or that there is none."""


async def ask(client: httpx2.AsyncClient) -> Nature:
    """
    What the backend at the client's address is.

    Raises:
        Refused: it answered 401 or 403.
        httpx2.HTTPError: it could not be asked.
        ValueError: its answer is none that an OpenAI API gives.

    """
    status, said = await _get(client, "/v1/models")
    if status in UNAUTHORIZED:
        raise Refused(f"it answered {status}")
    listed = said.get("data")
    entries = [e for e in listed if isinstance(e, dict)] if isinstance(listed, list) else []
    models = tuple(entry["id"] for entry in entries if isinstance(entry.get("id"), str))
    owners = {str(entry.get("owned_by", "")).lower() for entry in entries}
    kind = next((kind for owner, kind in OWNERS.items() if owner in owners), "")
    version = str((await _peek(client, "/version")).get("version", ""))
    if not kind:
        about = await _peek(client, "/info")  # of text-generation-inference
        if "model_id" in about and "max_input_tokens" in about:
            kind, version = "tgi", str(about.get("version", version))
    return Nature(kind or "openai", version, models)


async def _get(client: httpx2.AsyncClient, path: str) -> tuple[int, dict[str, Any]]:
    """
    A status and the JSON object that came with it; an empty one with 401 and 403.

    Raises:
        httpx2.HTTPError: no answer, or another status that is an error.
        ValueError: no JSON object, or one of more than ``MAX_BYTES``.

    """
    body = bytearray()
    async with client.stream("GET", path) as answer:
        if answer.status_code in UNAUTHORIZED:
            return answer.status_code, {}
        answer.raise_for_status()
        async for piece in answer.aiter_bytes():
            body += piece
            if len(body) > MAX_BYTES:
                raise ValueError(f"its answer has more than {MAX_BYTES} bytes")
    try:
        value = json.loads(body)
    except RecursionError as error:
        raise ValueError("its answer is nested too deeply") from error
    if not isinstance(value, dict):
        raise ValueError("its answer is not a JSON object")  # noqa: TRY004 - of the other side
    return answer.status_code, value


async def _peek(client: httpx2.AsyncClient, path: str) -> dict[str, Any]:
    """A JSON object that only some engines have."""
    with suppress(httpx2.HTTPError, ValueError):
        return (await _get(client, path))[1]
    return {}


class Prober:
    """Asks each backend until it answers, then now and then; tells what is new."""

    def __init__(self, backends: Sequence[Backend], log: Log) -> None:
        self._backends = backends
        self._log = log
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin in the background."""
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._watch(backend)) for backend in self._backends]

    async def stop(self) -> None:
        """Ask no more."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch(self, backend: Backend) -> None:
        told: object = None
        pause = FIRST_S
        async with httpx2.AsyncClient(
            base_url=backend.url,
            headers=authorization(backend),
            timeout=TIMEOUT_S,
            verify=verify(backend),
            trust_env=False,
        ) as client:
            while True:
                found = await self._look(client)
                if found is not None and found != told:
                    told = found
                    self._tell(backend, found)
                await asyncio.sleep(AGAIN_S if isinstance(found, Nature) else pause)
                pause = min(pause * 2, CAP_S)

    async def _look(self, client: httpx2.AsyncClient) -> Nature | str | None:
        """What it is; how it refused us; or None where nothing was learnt."""
        try:
            return await ask(client)
        except Refused as refused:
            return str(refused)
        except (httpx2.HTTPError, ValueError):
            return None  # that it cannot be reached is told by who sends it requests

    def _tell(self, backend: Backend, found: Nature | str) -> None:
        if isinstance(found, str):
            given = backend.api_key is not None or backend.api_key_file is not None
            hint = "its key is wrong" if given else "it wants a key (`api_key` or `api_key_file`)"
            self._log.event("backend_unauthorized", backend=backend.name, reason=f"{found}: {hint}")
            return
        has = [*found.models[:SHOWN]]
        self._log.event(
            "backend_probed",
            backend=backend.name, kind=found.kind, version=found.version, models=has,
        )  # fmt: skip
        missing = sorted(set(backend.serves.values()) - set(found.models))
        if missing and found.models:
            self._log.event("backend_lacks_model", backend=backend.name, missing=missing, has=has)


def authorization(backend: Backend) -> dict[str, str]:
    key = backend.key()
    return {"authorization": f"Bearer {key}"} if key else {}


def verify(backend: Backend) -> ssl.SSLContext | bool:
    if not backend.url.startswith("https:"):
        return False  # nothing to verify, and nothing to read for it
    return trust.context(backend.tls_ca, verify=backend.tls_verify)
