"""
How a scrape is answered: in which format, and how often the text is made anew. What is in it is the
registry's.
"""

import time
from collections.abc import Callable
from threading import Lock
from typing import NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from headrace.telemetry.exhibit import openmetrics, plain

# Making the text takes at most this share of one core, however often somebody asks: it is given
# again until its price is paid off. A gateway's usual text takes some milliseconds.
SHARE = 0.05
# No text is older than this when it is given.
OLDEST_S = 1.0


class Page(NamedTuple):
    """An answer to a scrape."""

    content_type: str
    text: bytes


class _Kept(NamedTuple):
    page: Page
    until: float


class Scrape:
    """Renders in the caller's thread; callers that come together share one text."""

    def __init__(
        self, registry: CollectorRegistry, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._registry = registry
        self._clock = clock
        self._lock = Lock()
        self.oldest_s = OLDEST_S  # 0: each text is new
        self._kept: dict[str, _Kept] = {}  # by content type, of which there are a handful

    def page(self, accept: str = "") -> Page:
        """
        The metrics in the format that ``accept`` asks for: OpenMetrics, which has exemplars, or
        Prometheus' own text.
        """
        _, content_type = choose_encoder(accept)
        with self._lock:
            began = self._clock()
            kept = self._kept.get(content_type)
            if kept is not None and began < kept.until:
                return kept.page
            rich = content_type.startswith("application/openmetrics-text")
            page = Page(content_type, (openmetrics if rich else plain)(self._registry))
            now = self._clock()
            until = now + min(self.oldest_s, (now - began) / SHARE)
            self._kept = {key: each for key, each in self._kept.items() if each.until > now}
            self._kept[content_type] = _Kept(page, until)
            return page
