"""
Reads the text that an engine's /metrics gives. Which numbers mean what is fleet/load.py's.

The parser is the metrics library's own, which takes 15 to 200 us a line. An engine has a thousand
lines of which a dozen are wanted, and their names and labels are what they were the last time:
lines are chosen before they are parsed, a series is parsed once, and later only its value is read.
"""

import re
from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import NamedTuple

from prometheus_client.parser import text_string_to_metric_families

# Series remembered: a dozen for each model or engine, 1 kB each at most.
MAX_SERIES = 2048
# An engine has a dozen wanted lines, with many models or adapters some hundred, none of them long.
# Without a bound a text of 8 MB would keep the parser, and with it every stream, busy for minutes.
MAX_WANTED = MAX_SERIES
MAX_LINE_BYTES = 4096
# The value that a series is parsed with; no engine writes it by chance.
MARK = 27182818.28


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
        self._series = lru_cache(MAX_SERIES)(_parse)

    def read(self, text: bytes) -> list[Sample]:
        """
        The wanted samples.

        Raises:
            ValueError: a line is not of that format, or there is more than an engine says.

        """
        lines = self._wanted.findall(b"\n" + text)
        if len(lines) > MAX_WANTED or any(len(line) > MAX_LINE_BYTES for line in lines):
            raise ValueError(f"{len(lines)} lines, or one that is too long")
        return [self._sample(line) for line in lines]

    def _sample(self, line: bytes) -> Sample:
        end = line.rfind(b"}") + 1 or line.index(b" ")
        value, *more = line[end:].split()
        if len(more) > 1:  # more than a timestamp
            raise ValueError(f"cannot read {line[:200]!r}")
        name, labels = self._series(line[:end])
        return Sample(name, labels, float(value))


def _parse(series: bytes) -> tuple[str, Mapping[str, str]]:
    text = f"{series.decode('utf-8', 'replace')} {MARK}\n"
    (sample,) = (
        sample for family in text_string_to_metric_families(text) for sample in family.samples
    )
    if sample.value != MARK:  # an exemplar, whose value is not the series' own
        raise ValueError(f"cannot read {series[:200]!r}")
    return sample.name, sample.labels
