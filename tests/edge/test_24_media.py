"""Case 24: no engine is made to fetch a URL that the operator did not allow."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from headrace.conformance import answers
from tests.edge.rig import CHAT_PATH, Rig, anthropic_error, ask, openai_error

EVIL = "http://evil.example/cat.png"
DATA = "data:image/png;base64,iVBORw0KGgo="
ALLOWED = {"allowed_hosts": ["images.example.com", "*.cdn.example"]}


def _chat(part: dict[str, Any]) -> dict[str, Any]:
    text = {"type": "text", "text": "what is this?"}
    return ask(messages=[{"role": "user", "content": [text, part]}])


def _input(part: dict[str, Any]) -> dict[str, Any]:
    return ask("/v1/responses", input=[{"role": "user", "content": [part]}])


def _messages(part: dict[str, Any]) -> dict[str, Any]:
    return ask("/v1/messages", messages=[{"role": "user", "content": [part]}])


# Where a URL may stand, each as a path and a function from the URL to the request.
PLACES: dict[str, tuple[str, Callable[[str], dict[str, Any]]]] = {
    "image_url": (CHAT_PATH, lambda u: _chat({"type": "image_url", "image_url": {"url": u}})),
    "image_url plain": (CHAT_PATH, lambda u: _chat({"type": "image_url", "image_url": u})),
    "image_url untyped": (CHAT_PATH, lambda u: _chat({"image_url": u})),
    "audio_url": (CHAT_PATH, lambda u: _chat({"type": "audio_url", "audio_url": {"url": u}})),
    "video_url": (CHAT_PATH, lambda u: _chat({"type": "video_url", "video_url": {"url": u}})),
    "input_image": ("/v1/responses", lambda u: _input({"type": "input_image", "image_url": u})),
    "file_url": ("/v1/responses", lambda u: _input({"type": "input_file", "file_url": u})),
    "source": (
        "/v1/messages",
        lambda u: _messages({"type": "image", "source": {"type": "url", "url": u}}),
    ),
    "source of a document": (
        "/v1/messages",
        lambda u: _messages({"type": "document", "source": {"type": "url", "url": u}}),
    ),
    "source in a tool's result": (
        "/v1/messages",
        lambda u: _messages(
            {
                "type": "tool_result",
                "tool_use_id": "t",
                "content": [{"type": "image", "source": {"type": "url", "url": u}}],
            }
        ),
    ),
    "embeddings": (
        "/v1/embeddings",
        lambda u: {
            "model": "m",
            "messages": [
                {"role": "user", "content": [{"type": "image_url", "image_url": {"url": u}}]}
            ],
        },
    ),
}


def _refused(answer: Any, path: str) -> None:
    if path == "/v1/messages":
        anthropic_error(answer, 400)
    else:
        openai_error(answer, 400, "media_url_not_allowed")


@pytest.mark.parametrize("place", PLACES)
async def test_case_24_media_urls_are_refused_by_default(rig: Rig, place: str) -> None:
    """Without an allow-list no engine hears of a URL that it would fetch; data URLs pass."""
    path, body = PLACES[place]
    engine = await rig.engine()
    await rig.gateway()

    refused = await rig.post(body(EVIL), path)
    _refused(refused, path)
    assert [] == engine.exchanges

    assert 200 == (await rig.post(body(DATA), path)).status


@pytest.mark.parametrize("place", PLACES)
async def test_case_24_allowed_hosts_pass(rig: Rig, place: str) -> None:
    """A host on the list passes, exact or by wildcard; the request is not changed."""
    path, body = PLACES[place]
    engine = await rig.engine()
    await rig.gateway(media=ALLOWED)
    urls = [
        "https://images.example.com/a.png?x=1#f",
        "http://IMAGES.example.com/a.png",
        "https://eu.cdn.example/a.png",
        "https://a.b.cdn.example/a.png",
    ]

    for url in urls:
        assert 200 == (await rig.post(body(url), path)).status, url
    _refused(await rig.post(body(EVIL), path), path)

    assert [json.dumps(body(url)).encode() for url in urls] == [e.body for e in engine.exchanges]


TRICKS = [
    "HTTP://evil.example/",
    " http://evil.example/",
    "\thttp://evil.example/",
    "\nhttps://evil.example/",
    "ht\ttp://evil.example/",
    "http:/evil.example/",
    "http:\\\\evil.example\\",
    "http:evil.example",
    "//evil.example/",
    "http://images.example.com@evil.example/",
    "http://images.example.com:80@evil.example/",
    "http://user:images.example.com@evil.example/",
    "http://evil.example#@images.example.com/",
    "http://evil.example?@images.example.com/",
    "http://evil.example\\@images.example.com/",
    "http://evil.example;images.example.com/",
    "http://images.example.com.evil.example/",
    "http://evil.example/images.example.com",
    "http://notimages.example.com/",
    "http://cdn.example/",
    "http://xcdn.example/",
    "http://eu.cdn.example.evil.example/",
    "http://images.example.com%2eevil.example/",
    "http://images.example.com%00.evil.example/",
    "http://images.example.com\t.evil.example/",
    "http://images.example.com\u3002evil.example/",
    "http://127.0.0.1/",
    "http://127.1/",
    "http://2130706433/",
    "http://0x7f000001/",
    "http://0177.0.0.1/",
    "http://[::1]/",
    "http://[::ffff:169.254.169.254]/",
    "http://169.254.169.254/latest/meta-data/",
    "http://localhost:8000/",
    "http://",
    "http:///etc/passwd",
    "ftp://evil.example/",
    "file:///etc/passwd",
    "gopher://evil.example/",
    "unix:///run/docker.sock",
    "jar:http://evil.example!/",
]


async def test_case_24_tricks_with_urls_are_refused(rig: Rig) -> None:
    """Users, ports, odd schemes, IP literals and look-alikes of an allowed host are refused."""
    engine = await rig.engine()
    await rig.gateway(media=ALLOWED)
    asked = {url: await rig.post(PLACES["image_url"][1](url)) for url in TRICKS}

    assert [] == [url for url, answer in asked.items() if answer.status != 400]
    assert [] == engine.exchanges
    for answer in asked.values():
        openai_error(answer, 400, "media_url_not_allowed")


# The same request in other JSON; every decoder reads an image with the URL http://evil.example.
ESCAPED = [
    r'{"type":"image_url","image_url":{"url":"\u0068ttp://evil.example/"}}',
    r'{"type":"image_url","image_url":{"url":"http:\/\/evil.example\/"}}',
    r'{"type":"image_url","image_url":{"url":"\u0068\u0074\u0074\u0070\u003a//evil.example/"}}',
    r'{"type":"image_url","image\u005furl":{"url":"http://evil.example/"}}',
    r'{"type":"image_url","image_url":{"ur\u006c":"http://evil.example/"}}',
    (
        r'{"type":"image_url","\u0069\u006d\u0061\u0067\u0065\u005f\u0075\u0072\u006c":'
        r'{"\u0075\u0072\u006c":"\u0068ttp://evil.example/"}}'
    ),
    r'{"type":"\u0069mage_url","image_url" : { "detail":"low" , "url" : "http://evil.example/" } }',
    r'{"type":"image_url","image_url":{"url":"data:,","url":"http://evil.example/"}}',
    r'{"type":"image_url","image_url":{"url":"data:,"},"image_url":{"url":"http://evil.example/"}}',
    r'{"type":"image_url","image_url":{"x":{"y":"}"},"url":"http://evil.example/"}}',
    r'{"type":"image_url","image_url":{"detail":"\"}]","url":"http://evil.example/"}}',
]


async def test_case_24_tricks_with_json_are_refused(rig: Rig) -> None:
    """Escapes in keys and values, key order, spaces and doubled keys hide no URL."""
    engine = await rig.engine()
    await rig.gateway()
    for part in ESCAPED:
        body = f'{{"model":"m","messages":[{{"role":"user","content":[{part}]}}]}}'
        assert "http://evil.example/" in json.dumps(json.loads(body))

        openai_error(await rig.post(body.encode()), 400, "media_url_not_allowed")
    assert [] == engine.exchanges


@pytest.mark.parametrize("position", ["first", "last"])
async def test_case_24_messages_said_twice(rig: Rig, position: str) -> None:
    """Two `messages` keys: the one that the engine obeys is checked."""
    engine = await rig.engine()
    await rig.gateway()
    bad = json.dumps(PLACES["image_url"][1](EVIL)["messages"])
    pair = (bad, "[]") if position == "first" else ("[]", bad)
    body = f'{{"model":"m","messages":{pair[0]},"messages":{pair[1]}}}'

    answer = await rig.post(body.encode())

    if position == "last":
        openai_error(answer, 400)
        assert [] == engine.exchanges


async def test_case_24_one_of_many_is_found(rig: Rig) -> None:
    """One forbidden URL among many allowed ones, deep in a long conversation, is found."""
    engine = await rig.engine()
    await rig.gateway()
    good = PLACES["image_url"][1](DATA + "A" * 100_000)["messages"]
    bad = PLACES["image_url"][1](EVIL)["messages"]

    openai_error(
        await rig.post(ask(messages=[*good * 20, *bad, *good])), 400, "media_url_not_allowed"
    )
    assert [] == engine.exchanges


@pytest.mark.parametrize(
    "body",
    [
        ask(messages=[{"role": "user", "content": f'{{"image_url":{{"url":"{EVIL}"}}}}'}]),
        ask(messages=[{"role": "user", "content": [{"type": "text", "text": f"see {EVIL}"}]}]),
        ask(messages=[{"role": "user", "content": [{"type": "text", "text": '"image_url"'}]}]),
        ask(
            tools=[{"function": {"parameters": {"properties": {"image_url": {"type": "string"}}}}}]
        ),
        ask(metadata={"homepage": EVIL}),
    ],
)
async def test_case_24_urls_in_text_are_text(rig: Rig, body: dict[str, Any]) -> None:
    """A URL that no engine would fetch, as in text or metadata, is nobody's business."""
    await rig.engine()
    await rig.gateway()

    assert 200 == (await rig.post(body)).status


async def test_case_24_upstream_is_not_chosen_by_the_client(rig: Rig) -> None:
    """No header, query or absolute URL of a client makes the gateway talk to another server."""
    engine = await rig.engine()
    await rig.gateway()
    other = await rig.engine()
    place = f"127.0.0.1:{other.port}"
    headers = [
        ("host", place),
        ("x-headrace-replica", place),
        ("x-headrace-upstream", f"http://{place}"),
        ("x-gateway-destination-endpoint", place),
        ("x-target-url", f"http://{place}"),
        ("x-forwarded-host", place),
        ("x-portkey-custom-host", f"http://{place}"),
        ("target-pod", place),
    ]
    async with rig.client() as client:
        first = await client.post(CHAT_PATH, ask(), headers)
        await client.post(f"{CHAT_PATH}?id={place}&url=http://{place}", ask(base_url=place))
        await client.post(f"http://{place}{CHAT_PATH}", ask())

    assert 200 == first.status
    assert [] == other.links
    assert len(engine.exchanges) >= 2


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_case_24_redirects_are_not_followed(rig: Rig, status: int) -> None:
    """An engine cannot send the gateway elsewhere: a redirect is an answer like any other."""
    other = await rig.engine()
    place = ("location", f"{other.url}{CHAT_PATH}")
    engine = await rig.engine(answers.says(status, b"", place))
    await rig.gateway(urls=[engine.url])

    answer = await rig.post(ask())

    assert answer.status in {status, 502}
    assert [] == other.links
