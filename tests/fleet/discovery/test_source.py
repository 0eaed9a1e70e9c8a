"""What all sources share: pauses after failures, and how failures are told."""

from itertools import islice

from headrace.fleet.discovery.source import Trouble, pauses
from tests.fleet.discovery.recorder import Log


def test_pauses_grow_to_a_limit() -> None:
    """Each pause is up to twice the one before, with some chance in it, and none is endless."""
    longest = [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    for pause_s, most_s in zip(islice(pauses(), 9), longest, strict=True):
        assert most_s / 2 <= pause_s <= most_s


def test_trouble_is_told_once() -> None:
    """The same failure is one event however often it happens; its end is one, too."""
    log = Log()
    trouble = Trouble("dns:x", log)
    for _ in range(3):
        trouble.ends()
    for number in range(3):
        trouble.begins(f"timed out after {number} s", "timeout")
    trouble.begins("refused")
    for _ in range(3):
        trouble.ends()

    assert ["discovery_failed", "discovery_failed", "discovery_recovered"] == log.names()
