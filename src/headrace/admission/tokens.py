"""
Tokens of identity providers (JWT): checked by PyJWT, remembered until they expire. Imported only
where an issuer is configured; their public keys are jwks.py's.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jwt

from headrace.admission.jwks import Keys, Log
from headrace.admission.table import Pass, Register
from headrace.config.identity import Issuer
from headrace.errors import Unauthorized

# Checked tokens that are remembered, about 300 bytes each; the oldest are forgotten first.
MAX_TOKENS = 10_000
# Longer ones are refused unseen: what is looked at before it is believed should be small.
MAX_BYTES = 16 * 1024

_REQUIRED = ["exp", "iss", "aud"]


class Tokens:
    """The issuers, and the tokens of theirs that were found good."""

    def __init__(
        self, issuers: Sequence[Issuer], register: Callable[[], Register], log: Log
    ) -> None:
        """``register`` gives the tenants that there are now."""
        self._issuers = {issuer.issuer: issuer for issuer in issuers}
        self._register = register
        self.known: dict[bytes, Pass] = {}
        self.keys = {name: Keys(each, log, self.forget) for name, each in self._issuers.items()}
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
            leeway=issuer.leeway_s,
            options={"require": _REQUIRED},
        )
        return self._admit(issuer, claims)

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

    def _admit(self, issuer: Issuer, claims: Mapping[str, Any]) -> Pass:
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
        return Pass(caller, float(claims["exp"]) + issuer.leeway_s)


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
