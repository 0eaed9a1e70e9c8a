"""
Media that a request names by URL are fetched here and put into its body, so that engines fetch
nothing. Which URLs there are is body/media.py's, the fetching itself upstream/download.py's.
"""

import asyncio
import base64
from collections.abc import Callable, Iterable

import msgspec

from headrace.config.schema import Config
from headrace.errors import BadRequest, BodyTooLarge
from headrace.gateway.body import scan
from headrace.gateway.body.media import MediaGate, Spot, named
from headrace.gateway.exchange import Exchange
from headrace.gateway.gate import Gate
from headrace.telemetry.media import MediaMetrics
from headrace.telemetry.metrics import Metrics
from headrace.upstream.download import Download, File, Unfetched

CODE = "media_not_fetched"


class Fetching:
    """One gateway's. ``copy`` gets each body as it is sent on, where somebody wants it."""

    def __init__(self, config: Config, metrics: MediaMetrics, download: Download) -> None:
        self._media = config.media
        self._most = config.server.max_body_bytes
        self._metrics = metrics
        self.download = download
        self._room = asyncio.Semaphore(config.media.max_fetches)
        self.copy: Callable[[Exchange, bytes], None] | None = None

    async def gate(self, exchange: Exchange, body: bytes) -> bytes:
        """
        Give the body with files in the places of their URLs (``Gate``).

        Raises:
            BadRequest: one of them could not be fetched, or may not be.
            BodyTooLarge: the request with its files is over the limit.
            Overloaded: the gateway holds too many bytes already.

        """
        if exchange.media and exchange.endpoint.kind == "json":
            spots = named(body)
            if spots:
                await self._fill(exchange, spots, len(body))
                body = _with(body, spots)
                exchange.prompt = scan.read(body)  # routing looks at what is sent
        if self.copy is not None:
            self.copy(exchange, body)
        return body

    async def _fill(self, exchange: Exchange, spots: list[Spot], size: int) -> None:
        """Put files into the places; the body around them has ``size`` bytes."""
        urls = list(dict.fromkeys(spot.url for spot in spots))
        if len(urls) > self._media.max_files:
            raise BadRequest(
                f"The request names {len(urls)} files by URL; at most {self._media.max_files} are"
                " fetched for one.",
                code=CODE,
            )
        tasks = [asyncio.ensure_future(self._fetch(exchange, url)) for url in urls]
        try:
            files = dict(zip(urls, await asyncio.gather(*tasks), strict=True))
        except Unfetched as error:
            exchange.note("media", error.outcome, str(error))
            raise BadRequest(f"A file that the request names {error}.", code=CODE) from None
        finally:
            for task in tasks:
                task.cancel()
        fetched = sum(len(file.data) for file in files.values())
        slowest_s = max(file.seconds for file in files.values())
        exchange.note("media", "fetched", f"{len(files)} files, {fetched} B, {slowest_s:.3f} s")
        encoded = {url: base64.b64encode(file.data).decode("ascii") for url, file in files.items()}
        whole = size + sum(len(encoded[spot.url]) for spot in spots)  # one may stand in many places
        if whole > self._most:
            raise self._too_large
        exchange.request.grow(max(0, whole - exchange.request.size))
        for spot in spots:
            spot.put(files[spot.url].kind, encoded[spot.url])

    async def _fetch(self, exchange: Exchange, url: str) -> File:
        request = exchange.request

        def grow(size: int) -> None:
            request.grow(4 * size // 3)  # as base64
            if request.size > self._most:
                raise self._too_large

        async with self._room:
            try:
                file = await self.download.fetch(url, grow)
            except Unfetched as error:
                self._metrics.missed(error.outcome)
                raise
        self._metrics.fetched(len(file.data), file.seconds)
        return file

    @property
    def _too_large(self) -> BodyTooLarge:
        return BodyTooLarge(f"The request with its files is larger than {self._most} bytes.")


def fetching(config: Config, metrics: Metrics) -> Fetching | None:
    """Who fetches media; None where engines do."""
    counts = MediaMetrics(metrics.registry)
    if config.media.fetch != "gateway":
        return None
    allows = MediaGate(config.media.allowed_hosts).allows
    return Fetching(config, counts, Download(config.media, allows))


def gates(fetching: Fetching | None) -> tuple[Gate, ...]:
    """Nobody stands in the way where engines fetch."""
    return () if fetching is None else (fetching.gate,)


def _with(body: bytes, spots: Iterable[Spot]) -> bytes:
    """The body with the members anew that files were put into; all others stay as they came."""
    tops = {spot.member: spot.top for spot in spots}
    changed = {name: msgspec.json.encode(top[name]) for name, top in tops.items()}
    found = scan.members(body, changed)
    return scan.spliced(body, [(each.start, each.end, changed[each.key]) for each in found])
