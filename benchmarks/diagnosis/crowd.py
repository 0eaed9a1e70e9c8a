"""
Clients of the real gateway: they come at random times, read what they get (or do not), give up, ask
again. What they do is changed by attributes while they run.
"""

import asyncio
import contextlib
import json
import socket
from random import Random
from urllib.parse import urlsplit

import aiohttp

from benchmarks.diagnosis.stage import MODEL, TENANTS, Stage

RATE = 3.0  # requests per second
ANSWER = 80  # tokens, give or take a half
SENTENCE = "Water flows through the channel to the turbine, and the turbine turns. "
SENTENCES = 14  # of a prompt
PATIENCE_S = 60.0
RESEND_S = 0.2
MUCH = 4000  # tokens, a megabyte
SMALL = 4096  # bytes of the socket of a client that does not read


class Crowd:
    """Open-loop clients of one stage, all tenants alike."""

    def __init__(self, stage: Stage, seed: int, tenants: tuple[str, ...] = TENANTS) -> None:
        self._stage = stage
        self._random = Random(f"crowd {seed}")
        self._session: aiohttp.ClientSession | None = None
        self._tenants = tenants
        self.rate, self.answer, self.sentences, self.model = RATE, ANSWER, SENTENCES, MODEL
        self.unknown = 0.0  # share that asks for a model that is not there
        self.frozen = 0.0  # share that asks for much and reads nothing
        self.patience_s = PATIENCE_S  # until the first byte
        self.resend = 0  # how often a client asks again that got no answer
        self.ended: dict[int, int] = {}  # by status; 0 is none

    async def run(self) -> None:
        """Until it is cancelled."""
        random = self._random
        connector = aiohttp.TCPConnector(limit=0)
        async with (
            aiohttp.ClientSession(connector=connector) as self._session,
            asyncio.TaskGroup() as group,
        ):
            while True:
                await asyncio.sleep(random.expovariate(self.rate))
                reads = random.random() >= self.frozen
                group.create_task(self._client() if reads else self._sleeper())

    async def _client(self) -> None:
        random = self._random
        body, tenant = self._body(), random.choice(self._tenants)
        for _ in range(1 + self.resend):
            status = await self._ask(body, tenant)
            self.ended[status] = self.ended.get(status, 0) + 1
            if status and status < 500:
                return
            await asyncio.sleep(RESEND_S)

    def _body(self) -> dict[str, object]:
        random = self._random
        tokens = max(2, round(self.answer * random.uniform(0.5, 1.5)))
        text = f"{random.random()} " + SENTENCE * round(self.sentences * random.uniform(0.7, 1.3))
        known = random.random() >= self.unknown
        return {
            "model": self.model if known else "gone", "stream": True,
            "max_tokens": tokens, "min_tokens": tokens,
            "messages": [{"role": "user", "content": text}],
        }  # fmt: skip

    async def _ask(self, body: dict[str, object], tenant: str) -> int:
        assert self._session is not None
        head = {"authorization": f"Bearer {self._stage.secrets[tenant]}"}
        url = f"{self._stage.url}/v1/chat/completions"
        try:
            async with (
                asyncio.timeout(self.patience_s) as clock,
                self._session.post(url, json=body, headers=head) as answer,
            ):
                await answer.content.readany()
                clock.reschedule(None)  # patience is for the first byte
                await answer.read()
                return answer.status
        except (TimeoutError, aiohttp.ClientError):
            return 0

    async def _sleeper(self) -> None:
        """A client that asks for much and reads nothing."""
        much = {"max_tokens": MUCH, "min_tokens": MUCH}
        body = json.dumps({**self._body(), **much}).encode()
        place = urlsplit(self._stage.url)
        secret = self._stage.secrets[self._random.choice(self._tenants)]
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nhost: {place.netloc}\r\n"
            f"authorization: Bearer {secret}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\n\r\n"
        ).encode()
        loop = asyncio.get_running_loop()
        with socket.socket() as plug, contextlib.suppress(OSError):
            plug.setblocking(False)
            plug.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
            await loop.sock_connect(plug, (place.hostname or "", place.port or 0))
            await loop.sock_sendall(plug, head + body)
            await asyncio.sleep(PATIENCE_S)
