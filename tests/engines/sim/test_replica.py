"""The endpoints of a replica, against what a real vLLM answered."""

import json
from typing import Any

import pytest

from tests.engines.sim.rig import HELLO, RECORDED, Client, ask, chat, metric, simulator, until

# They differ from run to run, or say another thing by their nature.
VOLATILE = {"id", "created", "model", "root", "max_model_len", "content", "text", "prompt_tokens",
            "completion_tokens", "total_tokens", "system_fingerprint"}  # fmt: skip


def recorded(name: str) -> Any:
    return json.loads((RECORDED / name).read_text(encoding="utf-8"))


def recorded_chunks(name: str) -> list[Any]:
    lines = (RECORDED / name).read_text(encoding="utf-8").splitlines()
    return [json.loads(x[6:]) for x in lines if x.startswith("data: {")]


def shape(value: Any, key: str = "") -> Any:
    """A value with its keys in their order, without what differs from run to run."""
    if isinstance(value, dict):
        return [(name, shape(inner, name)) for name, inner in value.items()]
    if isinstance(value, list):
        return [shape(inner) for inner in value]
    return type(value).__name__ if key in VOLATILE else value


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("chat_stream.txt", {}),
        ("chat_stream_usage.txt", {"stream_options": {"include_usage": True}}),
    ],
)
async def test_chat_stream_is_like_the_recording(name: str, options: dict[str, Any]) -> None:
    """Eight tokens give the same chunks, key by key in the same order, and end with [DONE]."""
    async with simulator(enable_prompt_tokens_details=False) as server:
        found = await ask(
            server.urls[0], "/v1/chat/completions", chat(stream=True, max_tokens=8, **options)
        )

    assert [shape(c) for c in recorded_chunks(name)] == [shape(c) for c in found.data]
    assert found.body.endswith(b"data: [DONE]\n\n")
    assert "text/event-stream; charset=utf-8" == found.headers["content-type"]


async def test_completions_stream_is_like_the_recording() -> None:
    """The same for text completions with usage in each chunk."""
    options = {"include_usage": True, "continuous_usage_stats": True}
    body = {"prompt": "A", "max_tokens": 5, "ignore_eos": True, "stream": True}
    async with simulator(enable_prompt_tokens_details=False) as server:
        found = await ask(server.urls[0], "/v1/completions", {**body, "stream_options": options})

    expected = recorded_chunks("completions_stream.txt")
    assert [shape(chunk) for chunk in expected] == [shape(chunk) for chunk in found.data]
    assert [chunk["usage"] for chunk in expected] == [chunk["usage"] for chunk in found.data]


async def test_chat_whole_is_like_the_recording() -> None:
    """A whole answer has all of vLLM's fields in its order."""
    async with simulator(enable_prompt_tokens_details=False) as server:
        found = await ask(server.urls[0], "/v1/chat/completions", chat())

    assert shape(recorded("chat.json")) == shape(found.json())


async def test_models_are_like_the_recording() -> None:
    """The list of models has vLLM's card."""
    async with simulator(model="m", max_model_len=4096) as server:
        found = (await ask(server.urls[0], "/v1/models")).json()

    assert shape(recorded("models.json")) == shape(found)
    assert ("m", 4096) == (found["data"][0]["id"], found["data"][0]["max_model_len"])


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("err_ctx.txt", chat(max_tokens=99999)),
        ("err_model.txt", chat(model="nope")),
        ("err_temp.txt", chat(temperature=-3)),
        ("err_json.txt", b'{"model":"smollm2","messages":oops}'),
    ],
)
async def test_errors_are_the_recorded_ones(name: str, body: object) -> None:
    """Status and body of a refusal are vLLM's, word by word."""
    expected = recorded(name)
    if isinstance(body, bytes):  # the recording's position
        body = b" " * (30 - body.index(b"oops")) + body
    async with simulator(model="smollm2", max_model_len=4096) as server:
        found = await ask(server.urls[0], "/v1/chat/completions", body)

    assert expected == found.json()
    assert expected["error"]["code"] == found.status


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/v1/chat/completions", {"max_tokens": 3}, "body.messages"),
        ("/v1/chat/completions", chat(messages=[]), "messages"),
        ("/v1/chat/completions", chat(n=2), "n"),
        ("/v1/chat/completions", chat(max_tokens=0), "max_tokens"),
        ("/v1/chat/completions", chat(max_tokens="5"), "body.max_tokens"),
        ("/v1/chat/completions", chat(stop=[1]), "body.stop"),
        ("/v1/chat/completions", chat(tools=3), "body.tools"),
        ("/v1/chat/completions", chat(max_tokens=8190), "input_tokens"),
        ("/v1/chat/completions", [], "body.body"),
        ("/v1/chat/completions", b"\xff", "body.0"),
        ("/v1/completions", {}, "body.prompt"),
        ("/v1/completions", {"prompt": ["a", "b"]}, "prompt"),
        ("/v1/responses", {}, "body.input"),
        ("/v1/embeddings", {}, "body.input"),
        ("/detokenize", {}, "body.tokens"),
        ("/detokenize", {"tokens": [1]}, "tokens"),
        ("/sim/faults", {"kind": "nope"}, None),
        ("/sleep?level=7", {}, "level"),
    ],
)
async def test_wrong_requests_are_refused(path: str, body: object, param: str | None) -> None:
    """Each is a 400 that names the field."""
    async with simulator() as server:
        found = await ask(server.urls[0], path, body)

    assert (400, param) == (found.status, found.json()["error"]["param"])


async def test_anthropics_errors_have_anthropics_shape() -> None:
    """Errors of /v1/messages are in its own dialect."""
    async with simulator() as server:
        found = await ask(server.urls[0], "/v1/messages", {"messages": HELLO})

    assert (400, "error") == (found.status, found.json()["type"])
    assert "max_tokens" in found.json()["error"]["message"]


async def test_unknown_paths_and_methods() -> None:
    """As FastAPI answers them."""
    async with simulator() as server:
        unknown = await ask(server.urls[0], "/nope")
        wrong = await ask(server.urls[0], "/v1/chat/completions")

    assert (404, {"detail": "Not Found"}) == (unknown.status, unknown.json())
    assert (405, {"detail": "Method Not Allowed"}) == (wrong.status, wrong.json())
    assert "POST" == wrong.headers["allow"]


async def test_small_endpoints() -> None:
    """Health, ping, version and load answer as vLLM's do."""
    async with simulator() as server:
        url = server.urls[0]
        assert [200, 200] == [(await ask(url, path)).status for path in ("/health", "/ping")]
        assert {"version": "0.32.0"} == (await ask(url, "/version")).json()
        assert {"server_load": 0} == (await ask(url, "/load")).json()


async def test_tokens_there_and_back() -> None:
    """Tokenize counts what usage counts, and detokenize gives the text back."""
    async with simulator() as server:
        url = server.urls[0]
        body = {"prompt": "Stöne canals, 1234!\n\n and reeds", "return_token_strs": True}
        found = (await ask(url, "/tokenize", body)).json()
        back = (await ask(url, "/detokenize", {"tokens": found["tokens"]})).json()
        talk = (await ask(url, "/tokenize", {"messages": HELLO})).json()["count"]
        usage = (await ask(url, "/v1/chat/completions", chat())).json()["usage"]
        count = await ask(url, "/v1/messages/count_tokens", {"messages": HELLO})

    assert body["prompt"] == back["prompt"] == "".join(found["token_strs"])
    assert len(found["token_strs"]) == found["count"] == len(found["tokens"])
    assert usage["prompt_tokens"] == talk == count.json()["input_tokens"]


async def test_embeddings_are_repeatable() -> None:
    """The same text has the same vector in each replica, of length 1; another text has another."""
    async with simulator(replicas=2) as server:
        body = {"input": ["one", "two"], "dimensions": 8}
        found = [(await ask(url, "/v1/embeddings", body)).json() for url in server.urls]

    one, two = (entry["embedding"] for entry in found[0]["data"])
    assert found[0]["data"] == found[1]["data"]
    assert 1 == pytest.approx(sum(x * x for x in one))
    assert one != two
    assert {"prompt_tokens": 2, "total_tokens": 2} == {
        k: v for k, v in found[0]["usage"].items() if v
    }


async def test_equal_seeds_give_equal_answers() -> None:
    """The answer depends on seed and prompt, not on the replica or on what was asked before."""
    async with simulator(replicas=2) as one, simulator(seed=1) as other:
        said = []
        for url in (*one.urls, one.urls[0], other.urls[0]):
            body = {"messages": HELLO}
            said.append((await ask(url, "/v1/chat/completions", body)).json()["choices"])

    assert said[0] == said[1] == said[2]
    assert said[0] != said[3]


async def test_lengths_are_honoured() -> None:
    """An answer has max_tokens tokens at most, min_tokens at least, and says why it ended."""
    async with simulator(answer_tokens=1) as server:
        url, found = server.urls[0], []
        for limits in (
            {"max_tokens": 7, "ignore_eos": True},
            {"max_completion_tokens": 6, "min_tokens": 6},
            {"max_tokens": 50, "min_tokens": 20},
        ):
            body = (await ask(url, "/v1/chat/completions", {"messages": HELLO, **limits})).json()
            found.append((body["usage"]["completion_tokens"], body["choices"][0]["finish_reason"]))

    assert [(7, "length"), (6, "stop"), (20, "stop")] == found


async def test_stop_strings_cut_the_answer() -> None:
    """The answer ends before the string, and says which one it was."""
    async with simulator() as server:
        url = server.urls[0]
        long = chat(max_tokens=60)
        said = (await ask(url, "/v1/chat/completions", long)).json()["choices"][0]["message"]
        stop = said["content"][40:47]
        found = (await ask(url, "/v1/chat/completions", {**long, "stop": [stop]})).json()

    choice = found["choices"][0]
    assert said["content"].partition(stop)[0] == choice["message"]["content"]
    assert ("stop", stop) == (choice["finish_reason"], choice["stop_reason"])
    assert found["usage"]["completion_tokens"] < 60


async def test_cached_tokens_are_told() -> None:
    """A conversation that goes on finds its beginning, its answer too, in whole blocks of 16."""
    async with simulator() as server:
        url = server.urls[0]
        first = (await ask(url, "/v1/chat/completions", chat(max_tokens=64))).json()
        said = first["choices"][0]["message"]
        body = chat(messages=[*HELLO, {"role": "assistant", "content": said["content"]}, *HELLO])
        second = (await ask(url, "/v1/chat/completions", body)).json()
        salted = (await ask(url, "/v1/chat/completions", {**body, "cache_salt": "x"})).json()
        hits = await metric(url, "prefix_cache_hits_total")
        queries = await metric(url, "prefix_cache_queries_total")

    # The last token of an answer is never computed, so its block is one token short of full.
    before = (first["usage"]["total_tokens"] - 1) // 16 * 16
    assert 0 == first["usage"]["prompt_tokens_details"]["cached_tokens"]
    assert before == second["usage"]["prompt_tokens_details"]["cached_tokens"] == hits
    assert 0 == salted["usage"]["prompt_tokens_details"]["cached_tokens"]
    assert queries == sum(x["usage"]["prompt_tokens"] for x in (first, second, salted))


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_leaves_is_seen(stream: bool) -> None:
    """A disconnect aborts the request: it is in the running ones before, and not after."""
    async with simulator(speed=1) as server:
        url = server.urls[0]
        client = await Client.to(url)
        client.send("/v1/chat/completions", chat(stream=stream, max_tokens=4000))
        await until(url, "num_requests_running", 1)
        await client.close()
        await until(url, "num_requests_running", 0)

        assert 1 == await metric(url, 'request_success_total{finished_reason="abort"}')
        assert 0 == await metric(url, "kv_cache_usage_perc")


async def test_sleep_and_wake() -> None:
    """Asleep it says so and ends what runs; awake it answers again."""
    async with simulator(speed=1) as server:
        url = server.urls[0]
        client = await Client.to(url)
        client.send("/v1/chat/completions", chat(stream=True, max_tokens=4000))
        await client.head()
        slept = await ask(url, "/sleep?level=2", method="POST")
        sleeping = (await ask(url, "/is_sleeping")).json()
        state = await metric(url, 'engine_sleep_state{sleep_state="discard_all"}')
        rest = await client.reader.readuntil(b"0\r\n\r\n")
        await client.close()
        woken = await ask(url, "/wake_up", method="POST")
        again = await ask(url, "/v1/chat/completions", chat(max_tokens=1))

    assert {"status": "sleeping", "level": 2} == slept.json()
    assert ({"is_sleeping": True}, 1) == (sleeping, state)
    assert b'data: {"error":' in rest
    assert {"status": "awake", "tags": None} == woken.json()
    assert 200 == again.status


@pytest.mark.parametrize(
    ("limit", "told"),
    [
        ({"max_num_queued_reqs": 1}, "currently busy and cannot accept new requests"),
        ({"max_num_queued_tokens": 1}, "has reached its prefill token backlog limit"),
    ],
)
async def test_limits_of_the_queue_refuse(limit: dict[str, int], told: str) -> None:
    """While one request waits for its first token, the next gets vLLM's 503, and is counted."""
    async with simulator(speed=10, preset="l4-8b", **limit) as server:
        url = server.urls[0]
        first = await Client.to(url)
        first.send("/v1/chat/completions", chat(max_tokens=500))
        await until(url, "num_requests_running", 1)
        second = await ask(url, "/v1/chat/completions", chat())
        (reason,) = limit
        counted = await metric(url, f'admission_rejections_total{{reason="{reason}"}}')
        await first.close()

    error = second.json()["error"]
    assert (503, "Service Unavailable", 503, None) == (
        second.status, error["type"], error["code"], error["param"],
    )  # fmt: skip
    assert told in error["message"]
    assert 1 == counted


async def test_pipelined_requests_are_answered_in_order() -> None:
    """Requests that come before the answer of the one before wait their turn."""
    async with simulator() as server:
        client = await Client.to(server.urls[0])
        for tokens in (9, 1, 4):
            client.send("/v1/chat/completions", chat(max_tokens=tokens))
        found = [(await client.answer()).json()["usage"]["completion_tokens"] for _ in range(3)]
        await client.close()

    assert [9, 1, 4] == found
