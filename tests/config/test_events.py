"""events.py: an address of KV events is one that can be connected to, and is refused otherwise."""

import pytest

from headrace.config.backends import Backend
from headrace.config.events import endpoint


@pytest.mark.parametrize(
    "text", ["tcp://gpu-1:5557", "tcp://10.0.0.7:1", "tcp://[::1]:5557", "ipc:///run/kv.sock"]
)
def test_addresses(text: str) -> None:
    """Hosts, IPv4, IPv6 and sockets of the file system."""
    assert text == endpoint(text)


@pytest.mark.parametrize(
    "text",
    [
        "", "gpu-1:5557", "http://gpu-1:5557", "tcp://gpu-1", "tcp://gpu-1:0", "tcp://:5557",
        "tcp://*:5557", "tcp://gpu-1:99999", "tcp://gpu-1:5557/x", "tcp://gpu 1:5557", "ipc://",
    ],
)  # fmt: skip
def test_no_addresses(text: str) -> None:
    """What ZeroMQ would refuse later, or silently never reach, is refused when it is read."""
    with pytest.raises(ValueError, match=r"must be tcp://host:port"):
        endpoint(text)


def test_replay_needs_events() -> None:
    """Copies of batches are of no use to who does not get the others."""
    with pytest.raises(ValueError, match="has `kv_events_replay` without `kv_events`; give both"):
        Backend.model_validate(
            {"url": "http://a:1", "serves": ["m"], "kv_events_replay": "tcp://a:5558"}
        )
