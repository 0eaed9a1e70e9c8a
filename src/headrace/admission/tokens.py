"""
Tokens of identity providers (JWT): checked by PyJWT, remembered until they expire. Imported only
where an issuer is configured; their public keys are jwks.py's.

The time of day is believed as it is, and at once when it is set: a machine that wakes has tokens
that have ended meanwhile, and a clock that was wrong has refused what is good now. Nothing of what
was refused is remembered.
"""

import asyncio
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jwt
from jwt.types import Options

from headrace.admission.jwks import Keys, Log
from headrace.admission.table import Pass, Register
from headrace.admission.types import Caller
from headrace.config.identity import Issuer
from headrace.errors import Unauthorized

# Checked tokens that are remembered, about 300 bytes each; the oldest are forgotten first.
MAX_TOKENS = 10_000
# Longer ones are refused unseen: what is looked at before it is believed should be small.
MAX_BYTES = 16 * 1024

# Times are looked at here, by the door's own clock. `iat` says how old a token is and forbids
# nothing: a clock that is behind must not refuse all fresh ones.
# https://www.rfc-editor.org/rfc/rfc7519#section-4.1.6
_OPTIONS: Options = {
    "require": ["exp", "iss", "aud"],
    "verify_exp": False,
    "verify_nbf": False,
    "verify_iat": False,
}


class Tokens:
    """The issuers, and the tokens of theirs that were found good."""

    def __init__(
        self,
        issuers: Sequence[Issuer],
        register: Callable[[], Register],
        log: Log,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``register`` gives the tenants that there are now, ``clock`` seconds since 1970."""
        self._issuers = {issuer.issuer: issuer for issuer in issuers}
        self._clock = clock
        self._register = register
        self.known: dict[bytes, Pass] = {}
        self.keys = {
            name: Keys(each, log, self.forget, clock) for name, each in self._issuers.items()
        }
        self._built: dict[tuple[str, str, str], jwt.PyJWK] = {}

    def start(self) -> None:
        """Read the public keys of all issuers, now and again."""
        for keys in self.keys.values():
            keys.start()

    async def stop(self) -> None:
        """Read no more."""
        for keys in self.keys.values():
            await keys.stop()

    def forget(self) -> None:
        """Check every token anew: keys or tenants have changed."""
        self.known.clear()
        self._built.clear()

    def check(self, token: bytes, digest: bytes, *, last: bool) -> "Pass | asyncio.Task[None]":
        """
        Check a token that is not remembered, and remember it by its ``digest``.

        Gives the task to wait for where its key is not known yet; ``last``: it was waited for.

        Raises:
            Unauthorized: it is not good.

        """
        if len(token) > MAX_BYTES:
            raise Unauthorized(f"The token is longer than {MAX_BYTES} bytes.")
        try:
            found = self._check(token, last=last)
        except (jwt.PyJWTError, RecursionError, OverflowError) as error:  # a time of 10**400
            raise Unauthorized(f"The token is not good: {str(error).rstrip('.')}.") from None
        if isinstance(found, Pass):
            if len(self.known) >= MAX_TOKENS:
                del self.known[next(iter(self.known))]
            self.known[digest] = found
        return found

    def _check(self, token: bytes, *, last: bool) -> "Pass | asyncio.Task[None]":
        claimed = jwt.decode_complete(token, options={"verify_signature": False})
        issuer = self._issuers.get(str(claimed["payload"].get("iss")))
        if issuer is None:
            raise Unauthorized("The token's issuer is not one that is believed here.")
        algorithm = str(claimed["header"].get("alg"))
        if algorithm not in issuer.algorithms:
            allowed = ", ".join(issuer.algorithms)
            raise Unauthorized(f"The token's signature must be of {allowed}.")
        key = self._key(issuer, str(claimed["header"].get("kid", "")), algorithm)
        if key is None:
            keys = self.keys[issuer.issuer]
            if last or not keys.may_refresh:
                raise Unauthorized("The key that signed the token is not one of its issuer's.")
            return keys.refresh()
        claims = jwt.decode(
            token,
            key,
            algorithms=[algorithm],
            audience=issuer.audience,
            issuer=issuer.issuer,
            options=_OPTIONS,
        )
        until = self._until(claims, issuer.leeway_s)
        return Pass(self._caller(issuer, claims), until)

    def _until(self, claims: Mapping[str, Any], leeway_s: float) -> float:
        """When a token that is good now ends, in seconds since 1970."""
        now = self._clock()
        if now < _moment(claims, "nbf", now) - leeway_s:
            raise Unauthorized("The token is not good yet (`nbf`).")
        until = _moment(claims, "exp", now) + leeway_s
        if now >= until:
            raise Unauthorized("The token has expired.")
        return until

    def _key(self, issuer: Issuer, kid: str, algorithm: str) -> "jwt.PyJWK | None":
        """The public key, made for the algorithm; an issuer's only one need not be named."""
        known = self.keys[issuer.issuer].by_id
        if not kid and len(known) == 1:
            kid = next(iter(known))
        data = known.get(kid)
        if data is None:
            return None
        if data.get("alg", algorithm) != algorithm:
            raise Unauthorized("The token's signature is not of its key's algorithm.")
        named = (issuer.issuer, kid, algorithm)
        if named not in self._built:
            self._built[named] = jwt.PyJWK(dict(data), algorithm)
        return self._built[named]

    def _caller(self, issuer: Issuer, claims: Mapping[str, Any]) -> Caller:
        tenant = issuer.tenant
        if issuer.tenant_claim is not None:
            said = claim(claims, issuer.tenant_claim)
            tenant = issuer.tenants.get(said, said)
        priority = ""
        if issuer.priority_claim is not None:
            priority = issuer.priorities.get(claim(claims, issuer.priority_claim), "")
        caller = self._register().caller(tenant, priority=priority)
        if caller is None:
            raise Unauthorized("The token names no tenant that there is.")
        return caller


def _moment(claims: Mapping[str, Any], name: str, absent: float) -> float:
    """
    When a claim says that it is, in seconds since 1970.

    https://www.rfc-editor.org/rfc/rfc7519#section-2 (NumericDate)
    """
    said = claims.get(name, absent)
    if isinstance(said, bool) or not isinstance(said, int | float) or not math.isfinite(said):
        raise Unauthorized(f"The token is not good: `{name}` is no time.")
    return float(said)


def claim(claims: Mapping[str, Any], path: str) -> str:
    """
    What a claim says, as a word; empty where it says nothing. ``org.id`` is ``id`` in ``org``, or
    the claim of just this name: namespaced ones are URLs with dots.
    """
    found: Any = claims.get(path)
    if found is None:
        found = claims
        for name in path.split("."):
            found = found.get(name) if isinstance(found, Mapping) else None
    return str(found) if isinstance(found, str | int) and not isinstance(found, bool) else ""
