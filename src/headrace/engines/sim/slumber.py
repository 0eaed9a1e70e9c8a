"""
vLLM's sleep mode as a replica shows it: its endpoints, and the time that waking takes.

What an engine does while it sleeps (nothing) is engine.py's.
"""

import asyncio
from collections.abc import Callable
from urllib.parse import parse_qs

from headrace.config.simulator import Simulator
from headrace.engines.sim import requests
from headrace.engines.sim.ask import Refused
from headrace.engines.sim.engine import Engine
from headrace.engines.sim.voice import encode
from headrace.engines.sim.wire import Reply, Request

TAGS = frozenset({"weights", "kv_cache"})  # the two pools of memory; each can be woken by itself
DISCARDS = 2  # the level at which weights are not kept


class Slumber:
    """Sleeps and wakes one engine. The waits are those of ``wake_s`` and ``reload_s``."""

    def __init__(self, engine: Engine, settings: Simulator) -> None:
        self._engine = engine
        self._wake_s = settings.wake_s / settings.speed
        self._reload_s = settings.reload_s / settings.speed
        self._asleep: set[str] = set()
        self.hollow = False  # its weights are gone, and nobody has loaded them again

    def endpoints(self) -> dict[str, dict[str, Callable[[Request, Reply], None]]]:
        """Those of vLLM's development mode that are about sleep."""
        return {
            "/sleep": {"POST": self._sleep},
            "/wake_up": {"POST": self._wake},
            "/is_sleeping": {"GET": self._is_sleeping},
            "/collective_rpc": {"POST": self._call},
        }

    def _sleep(self, request: Request, reply: Reply) -> None:
        level = parse_qs(request.query).get("level", ["1"])[0]
        if level not in {"0", "1", "2"}:
            raise Refused(f"level must be 0, 1 or 2, got {level}.", "level")
        self._engine.sleep(int(level))
        if int(level):
            self._asleep = set(TAGS)
        self.hollow = self.hollow or int(level) == DISCARDS
        _say(reply, {"status": "sleeping", "level": int(level)})

    def _wake(self, request: Request, reply: Reply) -> None:
        tags = parse_qs(request.query).get("tags")
        slow = "weights" in self._asleep and (tags is None or "weights" in tags)

        def woken() -> None:
            self._asleep -= TAGS if tags is None else set(tags)
            if not self._asleep:
                self._engine.wake()
            _say(reply, {"status": "sleeping" if self._asleep else "awake", "tags": tags})

        _after(self._wake_s if slow else 0.0, woken)

    def _is_sleeping(self, _request: Request, reply: Reply) -> None:
        _say(reply, {"is_sleeping": self._engine.sleep_level is not None})

    def _call(self, request: Request, reply: Reply) -> None:
        method = requests.parse(request.body).get("method")
        if method != "reload_weights":
            raise Refused(
                f"The simulator has no method {method!r}.", "method", 500, "InternalServerError"
            )
        if "weights" in self._asleep:
            raise Refused("No memory for the weights.", None, 500, "InternalServerError")

        def loaded() -> None:
            self.hollow = False
            _say(reply, {"results": [None]})

        _after(self._reload_s, loaded)


def _after(seconds: float, action: Callable[[], None]) -> None:
    if seconds:
        asyncio.get_running_loop().call_later(seconds, action)
    else:
        action()


def _say(reply: Reply, value: object) -> None:
    reply.whole(200, encode(value))
