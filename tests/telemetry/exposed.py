"""What a scrape would show, sample by sample."""

from collections.abc import Iterator, Mapping

from headrace.telemetry.metrics import Metrics


def exposed(metrics: Metrics) -> Iterator[tuple[str, Mapping[str, str], float]]:
    """Name, labels and value of each, buckets apart."""
    for family in metrics.registry.collect():
        for sample in family.samples:
            if "le" not in sample.labels:
                yield sample.name, sample.labels, sample.value
