"""
Values of metrics by columns: all series of a metric in one mapping, for the history that reads them
every few seconds. A scrape's samples, an object for each series, take ten times as long to make.
"""

from abc import abstractmethod
from collections.abc import Container, Iterable, Iterator, Mapping
from typing import NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.registry import Collector


class Column(NamedTuple):
    """One metric by its sample's name; ``values`` are by the values of these labels."""

    metric: str
    labels: tuple[str, ...]
    values: Mapping[tuple[str, ...], float]


class Columnar(Collector):
    """A collector that can give what it shows by columns. Any thread may ask."""

    @abstractmethod
    def columns(self) -> Iterable[Column]:
        """The values of now, buckets of histograms apart."""


class Registry(CollectorRegistry):
    """The collectors of one gateway; columns of all of them."""

    def __init__(self) -> None:
        super().__init__()
        self._members: list[Collector] = []

    def register(self, collector: Collector) -> None:
        """Show it from now on; there is no way back."""
        super().register(collector)
        self._members.append(collector)

    def columns(self, wanted: Container[str]) -> Iterator[Column]:
        """The columns of these metrics."""
        for member in tuple(self._members):
            given = member.columns() if isinstance(member, Columnar) else _from_samples(member)
            yield from (column for column in given if column.metric in wanted)


def _from_samples(collector: Collector) -> Iterator[Column]:
    """What a collector of the metrics library shows."""
    for family in collector.collect():
        found: dict[tuple[str, tuple[str, ...]], dict[tuple[str, ...], float]] = {}
        for name, labels, value, *_ in family.samples:
            if "le" not in labels:
                found.setdefault((name, tuple(labels)), {})[tuple(labels.values())] = value
        for (name, keys), values in found.items():
            yield Column(name, keys, values)
