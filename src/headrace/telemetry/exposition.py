"""
Reads the text that an engine's /metrics gives. Which numbers mean what is fleet/load.py's.

The parser is the metrics library's own, which takes 15 to 200 us a line. An engine has a thousand
lines of which a dozen are wanted, and most of these are as they were the last time: lines are
chosen before they are parsed, and what was parsed is remembered.
"""

import re
from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import NamedTuple

from prometheus_client.parser import text_string_to_metric_families

# Lines remembered: a dozen each of some hundred replicas, 1 kB each at most.
MAX_LINES = 2048


class Sample(NamedTuple):
    """One line: its full name, its labels, its value."""

    name: str
    labels: Mapping[str, str]
    value: float


class Reader:
    """Reads the lines of these names, each of the form ``prefix:rest``."""

    def __init__(self, names: Collection[str]) -> None:
        by_prefix: dict[str, list[str]] = {}
        for name in names:
            prefix, _, rest = name.partition(":")
            by_prefix.setdefault(prefix, []).append(re.escape(rest))
        # With the prefixes in front the search is seven times as fast as over whole names.
        choice = "|".join(
            f"{re.escape(prefix)}:(?:{'|'.join(rests)})" for prefix, rests in by_prefix.items()
        )
        self._wanted = re.compile(rb"\n((?:%b)[ {][^\n]*)" % choice.encode())
        self._parse = lru_cache(MAX_LINES)(_parse)

    def read(self, text: bytes) -> list[Sample]:
        """
        The wanted samples.

        Raises:
            ValueError: a line is not of that format.

        """
        lines = self._wanted.findall(b"\n" + text)
        return [sample for line in lines for sample in self._parse(line)]


def _parse(line: bytes) -> tuple[Sample, ...]:
    families = text_string_to_metric_families(line.decode("utf-8", "replace") + "\n")
    return tuple(
        Sample(sample.name, sample.labels, sample.value)
        for family in families
        for sample in family.samples
    )
