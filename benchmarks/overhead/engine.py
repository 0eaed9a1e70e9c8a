"""
A fake vLLM engine: the wire shape of vLLM 0.32 and no model, on many ports at once.
A raw protocol on uvloop, so that it never is what a benchmark of a proxy measures.
"""

import argparse
import asyncio
import re
import signal
import time
from functools import partial
from typing import cast

import httptools
import uvloop

from . import exposition
from .jobs import END_MARK, HOLD_TOKENS, MODEL, WORDS

_ID = f'"id":"chatcmpl-91520326690d0923","created":1795250589,"model":"{MODEL}"'
_EVENT = (
    b'data: {"object":"chat.completion.chunk",' + _ID.encode() + b',"choices":[{"index":0,'
    b'"delta":%s,"logprobs":null,"finish_reason":%s,"token_ids":null}]}\n\n'
)
_STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ndate: Sat, 21 Nov 2026 08:43:09 GMT\r\nserver: uvicorn\r\n"
    b"content-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
)
# The request's few settings stand before or after its prompt: within this much of either end,
# also when a proxy wrote the JSON anew. Reading them must not cost a parse of 10 MB.
_EDGE_BYTES = 1_024
_STREAM = re.compile(rb'"stream"\s*:\s*true')
_MAX_TOKENS = re.compile(rb'"max_(?:completion_)?tokens"\s*:\s*(\d+)')
_USAGE = re.compile(rb'"include_usage"\s*:\s*true')
_MARK = END_MARK.encode()


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


_ROLE = _chunk(_EVENT % (b'{"role":"assistant","content":""}', b"null"))
# Two words in turn: LiteLLM takes 100 equal chunks for a model that went mad, and cuts the stream.
_TOKENS = tuple(_chunk(_EVENT % (b'{"content":"%s"}' % word, b"null")) for word in WORDS)
_LAST_TOKEN = _chunk(_EVENT % (b'{"content":"%s"}' % WORDS[0], b'"length"'))
_DONE = _chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"


def _usage(prompt: int, completion: int) -> bytes:
    return b'"usage":{"prompt_tokens":%d,"total_tokens":%d,"completion_tokens":%d}' % (
        prompt,
        prompt + completion,
        completion,
    )


class Engine:
    """What the replicas of one process share."""

    def __init__(self, interval_s: float, *, in_step: bool) -> None:
        self.interval_s = interval_s
        self.in_step = in_step
        self.running = 0
        model = (
            b'{"object":"list","data":[{"id":"%s","object":"model","created":1795250593,'
            b'"owned_by":"vllm","root":"%s","parent":null,"max_model_len":131072}]}'
        )
        name = MODEL.encode()
        about = b'{"model_path":"%s","served_model_name":"%s","tp_size":1,"dp_size":1}'
        self.pages = {
            b"/health": b"",
            b"/v1/models": model % (name, name),
            b"/load": b'{"server_load":0}',
            b"/get_load": b'{"load":0}',
            b"/version": b'{"version":"0.32.0"}',
            b"/server_info": about % (name, name),
            b"/get_server_info": about % (name, name),
            b"/model_info": b'{"model_path":"%s","is_generation":true}' % name,
            b"/get_model_info": b'{"model_path":"%s","is_generation":true}' % name,
        }


class Stepper:
    """Gives every stream that joined it one token per step, as vLLM's scheduler does."""

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._streams: set[Connection] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._due_s = 0.0

    def join(self, stream: "Connection") -> None:
        self._streams.add(stream)
        if self._timer is None:
            self._due_s = time.monotonic()
            self._schedule()

    def leave(self, stream: "Connection") -> None:
        self._streams.discard(stream)

    def _schedule(self) -> None:
        # Against the ideal times, so that delays do not add up.
        self._due_s += self._interval_s
        delay_s = max(0.0, self._due_s - time.monotonic())
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._step)

    def _step(self) -> None:
        for stream in tuple(self._streams):
            stream.token()
        self._timer = None
        if self._streams:
            self._schedule()


class Connection(asyncio.Protocol):
    """One client connection: parses requests, answers each in turn."""

    def __init__(self, engine: Engine, stepper: Stepper | None) -> None:
        """Without a `stepper` to share, each stream ticks by itself."""
        self._engine = engine
        self._stepper = stepper or Stepper(engine.interval_s)
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._path = b""
        self._body = bytearray()
        self._length = 0
        self._left = 0
        self._tail = b""
        self._streaming = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass

    def connection_lost(self, _exc: Exception | None) -> None:
        self._transport = None
        self._end_stream()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            if self._transport is not None:
                self._transport.close()

    def on_url(self, url: bytes) -> None:
        self._path = url.partition(b"?")[0]
        self._body.clear()
        self._length = 0

    def on_body(self, data: bytes) -> None:
        self._length += len(data)
        self._body += data
        if len(self._body) > 64 * _EDGE_BYTES:
            # Only the two ends are read.
            del self._body[_EDGE_BYTES:-_EDGE_BYTES]

    def on_message_complete(self) -> None:
        if self._parser.get_method() == b"POST" and self._path == b"/v1/chat/completions":
            self._chat()
        elif self._path == b"/metrics":
            self._answer(exposition.render(self._engine.running), b"text/plain; version=0.0.4")
        elif self._path in self._engine.pages:
            self._answer(self._engine.pages[self._path])
        else:
            self._answer(b'{"detail":"Not Found"}', status=b"404 Not Found")

    def _chat(self) -> None:
        edges = bytes(self._body[:_EDGE_BYTES] + self._body[-_EDGE_BYTES:])
        if _MARK not in edges:
            self._answer(b'{"error":{"message":"the prompt was cut"}}', status=b"400 Bad Request")
            return
        tokens = _MAX_TOKENS.search(edges)
        count = int(tokens[1]) if tokens else 16
        if _STREAM.search(edges):
            self._stream(count, with_usage=_USAGE.search(edges) is not None)
            return
        text = WORDS[0] * min(count, 64)
        # prompt_tokens is the body's length: the client checks that all of it arrived.
        self._answer(
            b'{"object":"chat.completion",' + _ID.encode() + b',"choices":[{"index":0,"message":'
            b'{"role":"assistant","content":"' + text + b'"},"logprobs":null,"finish_reason":'
            b'"length"}],' + _usage(self._length, count) + b"}"
        )

    def _answer(
        self, body: bytes, kind: bytes = b"application/json", status: bytes = b"200 OK"
    ) -> None:
        if self._transport is not None:
            self._transport.write(
                b"HTTP/1.1 %s\r\ndate: Sat, 21 Nov 2026 08:43:09 GMT\r\nserver: uvicorn\r\n"
                b"content-length: %d\r\ncontent-type: %s\r\n\r\n%s"
                % (status, len(body), kind, body)
            )

    def _stream(self, count: int, *, with_usage: bool) -> None:
        self._tail = _LAST_TOKEN + _DONE
        if with_usage:
            usage = b'data: {"object":"chat.completion.chunk",%s,"choices":[],%s}\n\n'
            event = usage % (_ID.encode(), _usage(self._length, count))
            self._tail = _LAST_TOKEN + _chunk(event) + _DONE
        self._left = count - 1
        self._streaming = True
        self._engine.running += 1
        assert self._transport is not None
        if self._left <= 0:
            self._transport.write(_STREAM_HEAD + _ROLE + self._tail)
            self._end_stream()
            return
        self._transport.write(_STREAM_HEAD + _ROLE + _TOKENS[0])
        if count < HOLD_TOKENS:
            self._stepper.join(self)

    def token(self) -> None:
        if self._transport is None:
            return
        self._left -= 1
        if self._left <= 0:
            self._transport.write(self._tail)
            self._end_stream()
            return
        self._transport.write(_TOKENS[self._left & 1])

    def _end_stream(self) -> None:
        if self._streaming:
            self._streaming = False
            self._stepper.leave(self)
            self._engine.running -= 1


async def serve(port: int, replicas: int, engine: Engine) -> None:
    """Listens on `replicas` ports from `port` upwards until SIGTERM."""
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stopping.set)
    servers = []
    for number in range(port, port + replicas):
        stepper = Stepper(engine.interval_s) if engine.in_step else None
        factory = partial(Connection, engine, stepper)
        servers.append(await loop.create_server(factory, "127.0.0.1", number, backlog=4_096))
    await stopping.wait()
    for server in servers:
        server.close()


def main() -> None:
    """`python -m benchmarks.overhead.engine --port 19400 --replicas 4`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=19_400)
    parser.add_argument("--replicas", type=int, default=1)
    parser.add_argument("--interval-ms", type=float, default=10.0)
    parser.add_argument("--pace", choices=("step", "own"), default="step")
    args = parser.parse_args()
    engine = Engine(args.interval_ms / 1_000, in_step=args.pace == "step")
    uvloop.run(serve(args.port, args.replicas, engine))


if __name__ == "__main__":
    main()
