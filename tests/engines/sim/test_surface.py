"""What routers see of a simulated replica: rendered prompts, load, KV events, and its pace."""

import asyncio
from typing import Any

import msgspec
import pytest

from headrace.config.simulator import Simulator
from headrace.config.surface import Surface
from headrace.engines.sim.server import Server
from headrace.errors import ConfigError
from tests.engines.sim.rig import WAIT_S, ask, chat, metric, simulator

PROMPT = "one two three four five six seven eight"


def completion(**fields: Any) -> dict[str, Any]:
    return {"prompt": PROMPT, "max_tokens": 4, "ignore_eos": True, **fields}


async def test_rendered_completion() -> None:
    """A completion is rendered as a list of one request, with the numbers that /tokenize gives."""
    async with simulator() as server:
        url = server.urls[0]
        found = (await ask(url, "/v1/completions/render", completion(stream=True))).json()
        tokens = (await ask(url, "/tokenize", completion())).json()["tokens"]

    assert [tokens] == [each["token_ids"] for each in found]
    assert ("sim", True, None) == (found[0]["model"], found[0]["stream"], found[0]["features"])
    assert 4 == found[0]["sampling_params"]["max_tokens"]


async def test_rendered_chat() -> None:
    """A chat is rendered as one request, and so that the same numbers come from every replica."""
    async with simulator(replicas=2) as server:
        found = [
            (await ask(url, "/v1/chat/completions/render", chat())).json() for url in server.urls
        ]
        tokens = (await ask(server.urls[0], "/tokenize", chat())).json()["tokens"]

    assert [tokens, tokens] == [each["token_ids"] for each in found]
    assert found[0]["request_id"] != found[1]["request_id"]


async def test_render_refuses() -> None:
    """What the engine would not take is not rendered either, in the engine's words."""
    async with simulator() as server:
        unknown = await ask(server.urls[0], "/v1/completions/render", completion(model="other"))
        empty = await ask(server.urls[0], "/v1/completions/render", {"max_tokens": 4})

    assert (404, 400) == (unknown.status, empty.status)


async def test_get_load_forms() -> None:
    """`/get_load` is not there, an object, or SGLang's array; as the settings say."""
    answers = []
    for form in ("none", "object", "array"):
        async with simulator(surface={"get_load": form}) as server:
            answers.append(await ask(server.urls[0], "/get_load"))

    assert 404 == answers[0].status
    assert {"load": 0} == answers[1].json()
    load = {"dp_rank": 0, "num_reqs": 0, "num_waiting_reqs": 0, "num_tokens": 0}
    assert [load] == answers[2].json()


async def test_pace() -> None:
    """`/sim/pace` counts the iterations and the time in them: an engine that idles has none."""
    async with simulator(speed=100) as server:
        before = (await ask(server.urls[0], "/sim/pace")).json()
        await ask(server.urls[0], "/v1/completions", completion())
        after = (await ask(server.urls[0], "/sim/pace")).json()

    assert (0, 0.0) == (before["iterations"], before["busy_s"])
    assert 4 == after["iterations"]
    # Four iterations of some 50 ms, a hundred times faster.
    assert 0.001 < after["busy_s"] < 0.01
    assert 0.0 == after["lost_s"]


async def test_tokens_of_text_stand_for_more() -> None:
    """With a scale, eight words are 32 tokens, and 9 tokens of an answer are three chunks."""
    surface = {"token_scale": 4}
    async with simulator(surface=surface) as server:
        body = completion(stream=True, max_tokens=9, stream_options={"include_usage": True})
        found = await ask(server.urls[0], "/v1/completions", body)
        counted = await metric(server.urls[0], "generation_tokens_total")

    texts = [chunk["choices"][0]["text"] for chunk in found.data if chunk["choices"]]
    usage = found.data[-1]["usage"]
    assert (32, 9) == (usage["prompt_tokens"], usage["completion_tokens"])
    assert 3 == len(texts) == len("".join(texts).split())
    assert 9 == counted


async def test_scaled_limits() -> None:
    """The longest prompt is counted in the engine's tokens, not in those of text."""
    async with simulator(max_model_len=40, surface={"token_scale": 4}) as server:
        fits = await ask(server.urls[0], "/v1/completions", completion(max_tokens=8))
        refused = await ask(server.urls[0], "/v1/completions", completion(max_tokens=9))

    assert (200, 400) == (fits.status, refused.status)


async def test_scaled_prompts_share_blocks() -> None:
    """Equal beginnings hit the cache with a scale as without, in the engine's tokens."""
    words = " ".join(f"word{n}" for n in range(64))
    body = {"prompt": words, "max_tokens": 2, "ignore_eos": True}
    async with simulator(surface={"token_scale": 4}) as server:
        first = (await ask(server.urls[0], "/v1/completions", body)).json()["usage"]
        second = (await ask(server.urls[0], "/v1/completions", body)).json()["usage"]

    prompt = first["prompt_tokens"]
    assert 0 == first["prompt_tokens_details"]["cached_tokens"]
    # All whole blocks of 16 but the one that holds the last token.
    assert (prompt - 1) // 16 * 16 == second["prompt_tokens_details"]["cached_tokens"]


async def test_stream_interval() -> None:
    """The first token comes at once, then one chunk for every so many; the text is the same."""
    body = completion(stream=True, max_tokens=10)
    async with simulator() as server:
        every = await ask(server.urls[0], "/v1/completions", body)
    async with simulator(surface={"stream_interval": 4}) as server:
        some = await ask(server.urls[0], "/v1/completions", body)

    # Tokens 1, 5, 9 and, because it is the last, 10.
    assert [1, 4, 4, 1] == [len(chunk["choices"][0]["text"].split()) for chunk in some.data]
    assert said(every.data) == said(some.data)


def said(data: list[Any]) -> str:
    return "".join(chunk["choices"][0]["text"] for chunk in data)


async def test_early_headers() -> None:
    """Headers come before the first token if that is wanted: here the engine stands still."""
    surface = {"early_headers": True}
    body = completion(stream=True)
    async with simulator(surface=surface, faults=[{"kind": "hang"}]) as server:
        address = server.urls[0].removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(address[0], int(address[1]))
        payload = msgspec.json.encode(body)
        head = f"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(payload)}\r\n\r\n"
        writer.write(head.encode() + payload)
        async with asyncio.timeout(WAIT_S):
            status = await reader.readline()
        writer.close()
        await writer.wait_closed()

    assert b"HTTP/1.1 200 OK\r\n" == status


def test_uneven_blocks_are_refused() -> None:
    """A block of the cache must be whole tokens of text; the error says how large it could be."""
    with pytest.raises(ConfigError, match=r"no multiple of simulator\.surface\.token_scale, 3"):
        Server(Simulator(port=0, surface=Surface(token_scale=3)))
