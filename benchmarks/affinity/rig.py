"""The gateway in front of two running engines, and the client that holds the conversations."""

import asyncio
import contextlib
import json
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from benchmarks.overhead.process import Tree
from benchmarks.sim.engines import MODEL

from .chats import ANSWER_TOKENS, CONVERSATIONS, Chats
from .figures import Row

AT_ONCE = 2  # requests of the client
READY_S, ANSWER_S, RETRY_S = 60.0, 120.0, 0.1


@dataclass(frozen=True, slots=True)
class Heard:
    """One answer as the client saw it; times in s from the start of the pass, and in ms."""

    conversation: int
    turn: int
    sent_s: float
    ttft_ms: float
    text: str
    usage: Mapping[str, Any]


class Cold:
    """Engines whose prefix caches can be emptied and whose hits can be counted."""

    def __init__(self, urls: Sequence[str]) -> None:
        self.urls = urls

    def empty(self) -> None:
        """Forget all prefixes. Raises SystemExit if an engine says that it did not."""
        for url in self.urls:
            deadline = time.monotonic() + READY_S
            while not _json("POST", f"{url}/reset_prefix_cache")["success"]:
                if time.monotonic() > deadline:
                    raise SystemExit(f"the engine at {url} does not empty its prefix cache")
                time.sleep(RETRY_S)

    def warm(self) -> None:
        """Compute some prompts of different lengths: an engine's first ones are slow."""
        for url in self.urls:
            for words in (16, 256, 900):
                body = {"model": MODEL, "prompt": "word " * words, "max_tokens": 4}
                _json("POST", f"{url}/v1/completions", body)

    def hits(self) -> int:
        """Tokens that were found in their caches so far, by their own counters."""
        name = "vllm:prefix_cache_hits_total"
        texts = [
            httpx2.get(f"{url}/metrics", timeout=10, trust_env=False).text for url in self.urls
        ]
        lines = [line for text in texts for line in text.splitlines() if line.startswith(name)]
        if not lines:
            raise SystemExit(f"the engines have no metric {name}")
        return int(sum(float(line.rsplit(maxsplit=1)[1]) for line in lines))


@contextlib.contextmanager
def gateway(folder: Path, engines: Sequence[str], policy: str, port: int) -> Iterator[Tree]:
    """
    ``headrace serve`` with this policy, and all else as it comes, once it knows both replicas.

    The log of requests is ``requests.jsonl`` in the folder.
    """
    file = folder / "headrace.yaml"
    file.write_text(configuration(engines, policy, port, folder / "requests.jsonl"), "utf-8")
    argv = [sys.executable, "-m", "headrace", "serve", "--config", str(file)]
    with Tree.start(argv, folder / "gateway.log", {}) as tree:
        _wait(tree, f"http://127.0.0.1:{port}", len(engines))
        yield tree


def configuration(engines: Sequence[str], policy: str, port: int, log: Path) -> str:
    """The gateway's, as YAML (JSON is YAML, too)."""
    return json.dumps(
        {
            "server": {"host": "127.0.0.1", "port": port},
            "admin": {"enabled": False},
            "models": [{"name": MODEL}],
            "backends": [
                {"name": f"replica-{number}", "url": url, "serves": [MODEL]}
                for number, url in enumerate(engines)
            ],
            "routing": {"policy": policy},
            "logging": {"file": str(log)},
        },
        indent=2,
    )


async def converse(url: str, chats: Chats, name: str) -> list[Heard]:
    """
    Hold all conversations, two requests at a time, each turn after the answer to the one before.

    Requests have the ids ``name-conversation-turn``.
    """
    coming = deque(chats.order)
    answers: list[list[str]] = [[] for _ in range(CONVERSATIONS)]
    turned = [asyncio.Condition() for _ in range(CONVERSATIONS)]
    heard: list[Heard] = []
    start = time.perf_counter()

    async def work(client: httpx2.AsyncClient) -> None:
        while coming:
            conversation, turn = coming.popleft()
            async with turned[conversation]:
                while len(answers[conversation]) < turn:
                    await turned[conversation].wait()
            body = {
                "model": MODEL,
                "messages": chats.messages(conversation, answers[conversation]),
                "max_tokens": ANSWER_TOKENS,
                "temperature": 0,
                "ignore_eos": True,
                "stream": True,
                "stream_options": {"include_usage": True},
            }
            sent = time.perf_counter()
            first, text, usage = await _ask(client, body, f"{name}-{conversation}-{turn}")
            heard.append(
                Heard(
                    conversation, turn, round(sent - start, 3),
                    round((first - sent) * 1000, 1), text, usage,
                )
            )  # fmt: skip
            async with turned[conversation]:
                answers[conversation].append(text)
                turned[conversation].notify_all()

    async with (
        httpx2.AsyncClient(base_url=url, timeout=ANSWER_S, trust_env=False) as client,
        asyncio.TaskGroup() as group,
    ):
        for _ in range(AT_ONCE):
            group.create_task(work(client))
    return heard


def rows(heard: Sequence[Heard], log: str, name: str, seed: int, policy: str) -> list[Row]:
    """
    What the client heard and what the gateway's log says of it, together.

    Raises SystemExit when they disagree, or when a request is not in the log.
    """
    lines = {line["request_id"]: line for line in map(json.loads, log.splitlines()) if
             line.get("event") == "request"}  # fmt: skip
    found = []
    for one in heard:
        key = f"{name}-{one.conversation}-{one.turn}"
        line = lines.get(key)
        if line is None or "decision" not in line:
            raise SystemExit(f"the gateway's log has no decision about request {key}: {line}")
        cached = (one.usage.get("prompt_tokens_details") or {}).get("cached_tokens", 0)
        if (cached, one.usage["prompt_tokens"]) != (line["tokens_cached"], line["tokens_in"]):
            raise SystemExit(f"{key}: the client was told {one.usage}, the log says {line}")
        # Only a policy that weighs costs predicts; the others say neither a cost nor its terms.
        decision = line["decision"] if "cost" in line["decision"] else {}
        found.append(
            Row(
                seed=seed, policy=policy, conversation=one.conversation, turn=one.turn,
                sent_s=one.sent_s, replica=line["replica"], prompt=line["tokens_in"],
                cached=cached, answer=line["tokens_out"], ttft_ms=one.ttft_ms,
                seen_ms=line["ttft_ms"], predicted_ms=decision.get("ttft"),
                predicted_cached=decision.get("cached", 0) if decision else None,
            )
        )  # fmt: skip
    return found


async def _ask(
    client: httpx2.AsyncClient, body: Mapping[str, Any], request_id: str
) -> tuple[float, str, Mapping[str, Any]]:
    """When the first token came (perf_counter, s), the text, and the usage."""
    first, pieces, usage = 0.0, [], None
    head = {"x-request-id": request_id}
    async with client.stream("POST", "/v1/chat/completions", json=body, headers=head) as answer:
        if answer.status_code != httpx2.codes.OK:
            raise SystemExit(f"{request_id}: {answer.status_code} {await answer.aread()!r}")
        async for line in answer.aiter_lines():
            if not line.startswith("data: {"):
                continue
            event = json.loads(line.removeprefix("data: "))
            piece = event["choices"][0]["delta"].get("content") if event["choices"] else None
            if piece:
                first = first or time.perf_counter()
                pieces.append(piece)
            usage = event.get("usage") or usage
    if not first or usage is None:
        raise SystemExit(f"{request_id}: the answer has no text or no usage")
    return first, "".join(pieces), usage


def _json(method: str, url: str, body: Mapping[str, Any] | None = None) -> Any:
    answer = httpx2.request(method, url, json=body, timeout=ANSWER_S, trust_env=False)
    if answer.status_code != httpx2.codes.OK:
        raise SystemExit(f"{method} {url}: {answer.status_code} {answer.text[:200]}")
    return answer.json()


def _wait(tree: Tree, url: str, replicas: int) -> None:
    """Until that many replicas are ready. Raises SystemExit when they are not in time."""
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline and tree.alive:
        with contextlib.suppress(httpx2.TransportError):
            text = httpx2.get(f"{url}/metrics", timeout=5, trust_env=False).text
            if ready(text) == replicas:
                return
        time.sleep(RETRY_S)
    raise SystemExit(f"the gateway did not start: {tree.tail()}")


def ready(metrics: str) -> int:
    """How many replicas the gateway's metrics call ready."""
    lines = [line for line in metrics.splitlines() if line.startswith("headrace_replica_state{")]
    return sum('state="ready"' in line and line.endswith(" 1.0") for line in lines)
