"""
Changes of the prefix cache, published as vLLM does it: a batch for each iteration that changed
something, in MessagePack over a ZeroMQ PUB socket.

The shapes are those of vllm/distributed/kv_events.py (0.32). Missed batches are not replayed.
"""

import importlib
import time
from typing import Any, Protocol

import msgspec

from headrace.errors import StartError

MEDIUM = "GPU"
MOST_QUEUED = 100_000  # batches for one slow subscriber; as vLLM's `hwm`
_LONGEST_PENDING = 512  # events; vLLM's own consumers refuse batches of more than 4,096


class BlockStored(msgspec.Struct, omit_defaults=True, tag=True, frozen=True):
    """Blocks that can be found from now on, one behind the other."""

    block_hashes: list[int]
    parent_block_hash: int | None
    token_ids: list[int]
    block_size: int
    lora_id: int | None
    medium: str | None
    lora_name: str | None
    session_id: str | None = None


class BlockRemoved(msgspec.Struct, omit_defaults=True, tag=True, frozen=True):
    """Blocks that are gone."""

    block_hashes: list[int]
    medium: str | None


class AllBlocksCleared(msgspec.Struct, omit_defaults=True, tag=True, frozen=True):
    """The cache was reset."""


Event = BlockStored | BlockRemoved | AllBlocksCleared


class Batch(msgspec.Struct, array_like=True, omit_defaults=True, frozen=True):
    """What one iteration changed; ``ts`` is in seconds since 1970."""

    ts: float
    events: list[Event]
    data_parallel_rank: int | None = None


class Socket(Protocol):
    """Where batches go."""

    def send(self, payload: bytes) -> None:
        """Send one batch to whoever listens, without waiting."""

    def close(self) -> None:
        """Stop."""


class Events:
    """Collects what happens to one engine's cache (``blocks.Watcher``) until it is flushed."""

    def __init__(self, socket: Socket, block_size: int) -> None:
        self._socket = socket
        self._block_size = block_size
        self._pending: list[Event] = []
        self._encoder = msgspec.msgpack.Encoder()

    def stored(
        self, parent: int | None, names: list[int], tokens: list[int], session: str | None = None
    ) -> None:
        event = BlockStored(names, parent, tokens, self._block_size, None, MEDIUM, None, session)
        self._add(event)

    def removed(self, name: int) -> None:
        last = self._pending[-1] if self._pending else None
        if isinstance(last, BlockRemoved):
            last.block_hashes.append(name)
        else:
            self._add(BlockRemoved([name], MEDIUM))

    def cleared(self) -> None:
        self._add(AllBlocksCleared())
        self.flush()

    def flush(self) -> None:
        """Publish what has happened since the last time, if anything has."""
        if self._pending:
            batch = Batch(time.time(), self._pending, 0)
            self._pending = []
            self._socket.send(self._encoder.encode(batch))

    def _add(self, event: Event) -> None:
        self._pending.append(event)
        if len(self._pending) >= _LONGEST_PENDING:
            self.flush()


class Publisher:
    """A bound PUB socket; each message has a number, so that a gap is seen."""

    def __init__(self, host: str, port: int) -> None:
        """
        Bind; port 0 takes a free one.

        Raises:
            StartError: pyzmq is not installed, or the port cannot be had.

        """
        zmq = _library()
        self._flags = zmq.NOBLOCK
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.PUB)
        self._socket.set_hwm(MOST_QUEUED)
        self._socket.linger = 0
        self._number = 0
        try:
            self._socket.bind(f"tcp://{host}:{port or '*'}")
        except zmq.ZMQError as error:
            self.close()
            raise StartError(
                f"Port {port} on {host} cannot be used for KV events: {error.strerror};"
                " give another as simulator.surface.kv_events_port."
            ) from None
        self.endpoint = str(self._socket.getsockopt_string(zmq.LAST_ENDPOINT))

    def send(self, payload: bytes) -> None:
        number = self._number.to_bytes(8, "big")
        self._number += 1
        self._socket.send_multipart((b"", number, payload), self._flags)

    def close(self) -> None:
        self._socket.close()
        self._context.term()

    def source(self) -> dict[str, Any]:
        """How to subscribe, as ``/kv_event_sources`` tells it."""
        return {
            "enable_kv_cache_events": True,
            "publisher": "zmq",
            "endpoint": self.endpoint,
            "replay_endpoint": None,
            "buffer_steps": 10_000,
            "hwm": MOST_QUEUED,
            "max_queue_size": MOST_QUEUED,
            "topic": "",
        }


def _library() -> Any:
    try:
        return importlib.import_module("zmq")
    except ImportError:
        raise StartError(
            "simulator.surface.kv_events needs pyzmq; install it with"
            " `pip install 'headrace[kv-events]'`."
        ) from None
