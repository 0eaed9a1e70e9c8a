"""
A request's prompt as routing sees it: its blocks, its size, its session. Only looked at when there
is a choice; the hashing is routing/blocks.py's, and the scan that found the parts is scan.py's.
"""

import re
from collections.abc import Callable

import msgspec

from headrace.config.routing import Routing
from headrace.gateway.body import scan
from headrace.gateway.door.entrance import owned
from headrace.gateway.exchange import Exchange
from headrace.routing.blocks import BLOCK, Density, chain, hash_of, join
from headrace.routing.lane import Ask

# Ties are broken by this many blocks of a prompt: those who share so much belong together.
FAMILY = 4

_decoder = msgspec.json.Decoder(scan.Prompt)
_string = msgspec.json.Decoder(str)


class Prompts:
    """Makes what routing looks at from exchanges, as the configuration says."""

    def __init__(self, config: Routing, rank: Callable[[Exchange], int]) -> None:
        """``rank`` says which class a request is of (``usher.Usher.rank``)."""
        self._rank = rank
        self._header = config.session_header.encode("ascii")
        cookie = config.session_cookie
        self._cookie = (
            re.compile(rb"(?:^|;[ \t]*)" + re.escape(cookie.encode("ascii")) + rb"=([^;]{1,200})")
            if cookie
            else None
        )

    def short(self, exchange: Exchange) -> Ask:
        """For a request that has no choice: its size only."""
        facts, caller, plan = exchange.facts, exchange.caller, exchange.plan
        return Ask(
            facts.prompt_tokens,
            [],
            1.0,
            facts.max_tokens,
            facts.stream,
            policy="" if plan is None else plan.policy,
            rank=self._rank(exchange),
            tenant=caller.tenant,
            weight=caller.weight,
            body=exchange.bytes_in,
        )

    def full(self, exchange: Exchange, body: bytes, density: Density) -> Ask:
        """With blocks, as far as the body has a prompt that engines cache."""
        facts, prompt = exchange.facts, exchange.prompt
        if prompt is None and exchange.endpoint.kind == "json":
            prompt = _read(body)
        if prompt is None:
            return self.short(exchange)
        text = join(prompt.parts, media=exchange.media > 0)
        per_token = density.bytes_per_token
        blocks = chain(text, hash_of(exchange.served + _word(prompt.cache_salt)))
        caller, plan = exchange.caller, exchange.plan
        return Ask(
            max(1.0, len(text) / per_token + exchange.media * scan.TOKENS_PER_MEDIUM),
            blocks,
            BLOCK / per_token,
            facts.max_tokens,
            facts.stream,
            number=blocks[min(FAMILY, len(blocks)) - 1] if blocks else 0,
            session=owned(caller, self._session(exchange, prompt)),
            policy="" if plan is None else plan.policy,
            rank=self._rank(exchange),
            tenant=caller.tenant,
            weight=caller.weight,
            body=exchange.bytes_in,
            size=0 if exchange.media else len(text),
        )

    def _session(self, exchange: Exchange, prompt: "scan.Prompt") -> str:
        headers = exchange.request.headers
        named = headers.get(self._header)
        if named is None and self._cookie is not None:
            found = self._cookie.search(headers.get(b"cookie", b""))
            named = found[1] if found is not None else None
        if named is not None:
            return named[:200].decode("latin-1")
        return _word(prompt.user)[:200]


def _read(body: bytes) -> "scan.Prompt | None":
    """For a request that nobody has scanned, since it is not sent."""
    try:
        return _decoder.decode(body)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return None


def _word(raw: msgspec.Raw) -> str:
    """A text; empty for anything else."""
    if raw is scan.NOTHING or bytes(memoryview(raw)[:1]) != b'"':
        return ""
    try:
        return _string.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return ""
