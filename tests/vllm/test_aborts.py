"""
A client that hangs up frees the engine: vLLM's own metrics say that it stopped working for it.

An engine that goes on for a client who left is the costliest leak a gateway can have: nobody sees
it but the GPU. Each request here asks for about a minute of tokens.
"""

import contextlib
from typing import Any

import openai
import pytest

from tests.vllm.rig import AT_ONCE, CONTEXT, MODEL, SETTLE_S, Server, wait_until

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(60, func_only=True)]

LONG = CONTEXT - 200  # tokens
# The model repeats itself for ever on this one, also where `ignore_eos` is not understood.
QUESTION = "Write a haiku about 12345 rivers."
CHAT = [{"role": "user", "content": QUESTION}]
ENDLESS: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": CHAT, "max_tokens": LONG, "ignore_eos": True},
    "/v1/completions": {"prompt": QUESTION, "max_tokens": LONG, "ignore_eos": True},
    "/v1/responses": {"input": QUESTION, "max_output_tokens": LONG, "ignore_eos": True},
    "/v1/messages": {"messages": CHAT, "max_tokens": LONG},
}


def endless(path: str, *, stream: bool) -> dict[str, Any]:
    """A request that keeps the engine busy for about a minute."""
    return {"model": MODEL, "temperature": 0, "stream": stream, **ENDLESS[path]}


def running(engine: Server) -> float:
    return engine.metric("vllm:num_requests_running")


def waiting(engine: Server) -> float:
    return engine.metric("vllm:num_requests_waiting")


def finished(engine: Server) -> float:
    """Requests that were answered to their end; vLLM 0.32 does not count aborted ones."""
    return engine.metric("vllm:request_success_total")


def occupy(stack: contextlib.ExitStack, gateway: Server, engine: Server) -> None:
    """Fill every slot of the engine with requests that last until the stack is closed."""
    path = "/v1/completions"
    for _ in range(AT_ONCE):
        stack.enter_context(gateway.begin(path, endless(path, stream=True)))
    wait_until(lambda: running(engine) == AT_ONCE, "all slots are taken")


@pytest.mark.parametrize("path", ENDLESS)
def test_hanging_up_on_a_stream_stops_the_engine(gateway: Server, idle: Server, path: str) -> None:
    """A client that leaves while tokens arrive: generation stops long before its end."""
    before = finished(idle)
    with gateway.begin(path, endless(path, stream=True)) as connection:
        received = b""
        while b"data:" not in received:
            received += (piece := connection.recv(65_536))
            assert piece, received
        wait_until(lambda: running(idle) == 1, "it runs")

    wait_until(lambda: running(idle) == 0, "the engine stopped", SETTLE_S)
    assert before == finished(idle)


@pytest.mark.parametrize("path", ENDLESS)
def test_hanging_up_before_a_whole_answer_stops_the_engine(
    gateway: Server, idle: Server, path: str
) -> None:
    """A client that leaves before an answer in one piece: nothing was sent yet, still it stops."""
    before = finished(idle)
    with gateway.begin(path, endless(path, stream=False)):
        wait_until(lambda: running(idle) == 1, "it runs")

    wait_until(lambda: running(idle) == 0, "the engine stopped", SETTLE_S)
    assert before == finished(idle)


@pytest.mark.parametrize("stream", [True, False])
def test_hanging_up_in_the_engines_queue_leaves_the_queue(
    gateway: Server, idle: Server, stream: bool
) -> None:
    """A client that leaves while vLLM has it waiting gives up its place; those that run go on."""
    path = "/v1/chat/completions"
    with contextlib.ExitStack() as stack:
        occupy(stack, gateway, idle)
        with gateway.begin(path, endless(path, stream=stream)):
            wait_until(lambda: waiting(idle) == 1, "it waits")
        wait_until(lambda: waiting(idle) == 0, "it left the queue", SETTLE_S)

        assert running(idle) == AT_ONCE
    wait_until(lambda: running(idle) == 0, "the engine stopped", SETTLE_S)


def test_closing_the_sdks_stream_stops_the_engine(oai: openai.OpenAI, idle: Server) -> None:
    """Leaving the official client's stream early is hanging up, too."""
    before = finished(idle)
    stream = oai.completions.create(
        model=MODEL, prompt="Once", max_tokens=LONG, stream=True, extra_body={"ignore_eos": True}
    )
    with stream:
        next(iter(stream))
        wait_until(lambda: running(idle) == 1, "it runs")

    wait_until(lambda: running(idle) == 0, "the engine stopped", SETTLE_S)
    assert before == finished(idle)


def test_hanging_up_at_any_moment_leaves_nothing_behind(gateway: Server, idle: Server) -> None:
    """Clients that leave at once, in the queue, in the middle: the engine ends up idle and well."""
    path = "/v1/chat/completions"
    with contextlib.ExitStack() as stack:
        for number in range(24):
            connection = gateway.begin(path, endless(path, stream=number % 2 == 0))
            if number % 3:  # the others leave at once
                stack.enter_context(connection)
            else:
                connection.close()
        wait_until(lambda: running(idle) == AT_ONCE, "all slots are taken")

    wait_until(lambda: running(idle) + waiting(idle) == 0, "the engine is idle", SETTLE_S)
    answer = gateway.post(path, {"model": MODEL, "messages": CHAT, "max_tokens": 2})
    assert answer.status_code == 200, answer.text
