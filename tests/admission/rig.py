"""Keys, issuers and a log for the tests of admission: a real file, a real JWKS server."""

import asyncio
import time
from pathlib import Path
from typing import Any

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from headrace.admission.book import Store
from headrace.admission.door import Door
from headrace.admission.file import FileStore
from headrace.admission.office import Issued, Office, Order
from headrace.config.identity import Identity, Tenant

ISSUER = "https://id.example.com/"
AUDIENCE = "headrace"


class Log:
    """Remembers events."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, object]]] = []

    def event(self, event: str, **fields: object) -> None:
        self.events.append((event, fields))

    def named(self, name: str) -> list[dict[str, object]]:
        return [fields for event, fields in self.events if event == name]


class Place:
    """A folder with a book of keys, its pepper, and what works on them."""

    def __init__(
        self, folder: Path, *tenants: str, store: Store | None = None, **more: Any
    ) -> None:
        tree = {"file": folder / "keys.json", "pepper_file": folder / "pepper", **more}
        self.config = Identity.model_validate(tree)
        self.tenants = tuple(Tenant(name=name) for name in tenants)
        self.store = store or FileStore(self.config.file)
        self.office = Office(self.store, self.config, self.tenants)
        self.log = Log()

    async def issue(self, name: str = "app", **order: Any) -> Issued:
        return await self.office.create("tester", Order(name, **order))

    def door(self, *tenants: Tenant, clock: Any = time.time) -> Door:
        return Door(self.config, tenants or self.tenants, self.store, self.log, clock)


def bearer(secret: str) -> dict[bytes, bytes]:
    """The head of a request with this key."""
    return {b"host": b"x", b"authorization": f"Bearer {secret}".encode()}


class Signer:
    """A private key, and its public half as an issuer shows it."""

    def __init__(self, kid: str = "one") -> None:
        self.kid = kid
        self.private = ec.generate_private_key(ec.SECP256R1())
        public = ECAlgorithm.to_jwk(self.private.public_key(), as_dict=True)
        self.jwk: dict[str, Any] = {**public, "kid": kid, "use": "sig", "alg": "ES256"}

    def token(self, **claims: Any) -> str:
        """A good token, but for these claims; None takes one out."""
        now = int(time.time())
        usual = {"iss": ISSUER, "aud": AUDIENCE, "sub": "u", "iat": now, "exp": now + 600}
        given = {name: value for name, value in {**usual, **claims}.items() if value is not None}
        return jwt.encode(given, self.private, "ES256", headers={"kid": self.kid})


class JwksServer:
    """An issuer's public keys over HTTP; ``keys`` may change, ``status`` and ``delay_s``, too."""

    def __init__(self, *signers: Signer) -> None:
        self.keys: list[dict[str, Any]] = [signer.jwk for signer in signers]
        self.status = 200
        self.delay_s = 0.0
        self.asked = 0
        self.url = ""
        self._runner: web.AppRunner | None = None

    async def start(self) -> "JwksServer":
        app = web.Application()
        app.router.add_get("/jwks", self._answer)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}/jwks"
        return self

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    def issuer(self, **more: Any) -> dict[str, Any]:
        """An issuer whose public keys are here."""
        tree = {"issuer": ISSUER, "audience": AUDIENCE, "algorithms": ["ES256"], "jwks": self.url}
        return {**tree, "refresh_least_s": 0.05, **more}

    async def _answer(self, _: web.Request) -> web.Response:
        self.asked += 1
        await asyncio.sleep(self.delay_s)
        return web.json_response({"keys": self.keys}, status=self.status)
