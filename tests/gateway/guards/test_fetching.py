"""fetching.py: with `media.fetch: gateway` no engine, and no shadow, is made to fetch anything."""

import base64
import json
from typing import Any

import pytest

from headrace.config.schema import Config
from headrace.gateway.app import Gateway
from tests.edge.rig import Rig, anthropic_error, ask, eventually, openai_error
from tests.upstream.website import PNG, Page, Website, dripping, moved, page

HERE = {"fetch": "gateway", "allowed_hosts": ["*"], "networks": ["127.0.0.1/32"]}
BASE64 = base64.b64encode(PNG).decode()
DATA = f"data:image/png;base64,{BASE64}"
HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nhost: g\r\ncontent-length: %d\r\n\r\n"


def chat(*urls: str, **more: Any) -> dict[str, Any]:
    """A request with these pictures."""
    parts = [{"type": "image_url", "image_url": {"url": url, "detail": "low"}} for url in urls]
    return ask(messages=[{"role": "user", "content": parts}], **more)


def site(web: Website, target: str = "/a.png") -> str:
    """A URL of the site, as this machine can ask it."""
    return f"http://127.0.0.1:{web.port}{target}"


def test_it_is_off_by_default() -> None:
    """Then nothing is on the way of a request."""
    assert ((), None) == (Gateway(Config()).guarding.gates, Gateway(Config()).guarding.fetching)


async def test_an_engine_gets_the_file(rig: Rig) -> None:
    """In the place of its URL; all other bytes are those that came, one file is fetched once."""
    engine = await rig.engine()
    async with Website({"/a.png": page(), "/b": moved("/a.png")}) as web:
        gateway = await rig.gateway(media=HERE)
        sent = chat(site(web), site(web, "/b"), site(web), DATA, temperature=0.70)
        answer = await rig.post(json.dumps(sent).replace("0.7", "0.70").encode())

    assert (200, ["/a.png", "/a.png", "/b"]) == (answer.status, sorted(web.targets))
    assert chat(DATA, DATA, DATA, DATA, temperature=0.7) == engine.exchanges[-1].json()
    assert engine.exchanges[-1].body.endswith(b', "temperature": 0.70}')
    assert 0 == gateway.buffered_bytes


@pytest.mark.parametrize(
    ("path", "part", "expected"),
    [
        ("/v1/chat/completions", {"image_url": "URL"}, {"image_url": "DATA"}),
        ("/v1/responses", {"type": "input_image", "image_url": "URL"},
         {"type": "input_image", "image_url": "DATA"}),
        ("/v1/responses", {"type": "input_file", "file_url": "URL"},
         {"type": "input_file", "file_data": "DATA", "filename": "a b.png"}),
        ("/v1/messages", {"type": "image", "source": {"type": "url", "url": "URL"}},
         {"type": "image", "source":
          {"type": "base64", "media_type": "image/png", "data": "BASE64"}}),
    ],
)  # fmt: skip
async def test_each_api_has_its_own_place(
    rig: Rig, path: str, part: dict[str, Any], expected: dict[str, Any]
) -> None:
    """A file stands where the API at hand takes one."""
    engine = await rig.engine()
    key = "input" if path == "/v1/responses" else "messages"

    def body(part: dict[str, Any], **words: str) -> dict[str, Any]:
        text = json.dumps(ask(path) | {key: [{"role": "user", "content": [part]}]})
        for word, meant in words.items():
            text = text.replace(f'"{word}"', json.dumps(meant))
        found: dict[str, Any] = json.loads(text)
        return found

    async with Website({"/a%20b.png?q=/c": page()}) as web:
        await rig.gateway(media=HERE)
        answer = await rig.post(body(part, URL=site(web, "/a%20b.png?q=/c")), path)

    assert 200 == answer.status
    assert body(expected, DATA=DATA, BASE64=BASE64)[key] == engine.exchanges[-1].json()[key]


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        ("/none", "A file that the request names was answered with 404."),
        ("/html", "A file that the request names has a content type that is not allowed."),
        ("/away", "A file that the request names has a host whose address is not public."),
        ("/slow", "A file that the request names took longer than 0.3 s."),
        ("/large", "A file that the request names has more than 1000 bytes."),
    ],
)
async def test_what_cannot_be_fetched_is_refused(rig: Rig, target: str, sentence: str) -> None:
    """The client learns why, the engine nothing; it is counted, and in the decision record."""
    engine = await rig.engine()
    pages: dict[str, Page] = {
        "/html": page(kind="text/html"), "/slow": dripping, "/large": page(bytes(1001)),
        "/away": moved("http://169.254.169.254/latest/meta-data/iam"),
    }  # fmt: skip
    async with Website(pages) as web:
        gateway = await rig.gateway(media={**HERE, "timeout_s": 0.3, "max_bytes": 1000})
        answer = await rig.post(chat(site(web, target)))

    assert sentence == openai_error(answer, 400, "media_not_fetched")["message"]
    assert ([], 0) == (engine.exchanges, gateway.buffered_bytes)
    outcomes = {"/none": "failed", "/slow": "late"}
    counted = gateway.metrics.render("").text.decode()
    expected = f'headrace_media_fetches_total{{outcome="{outcomes.get(target, "refused")}"}} 1.0'
    assert expected in counted


async def test_anthropic_clients_are_told_in_their_dialect(rig: Rig) -> None:
    """The same error in the other shape."""
    await rig.engine()
    source = {"type": "image", "source": {"type": "url", "url": "http://127.0.0.2/"}}
    await rig.gateway(media=HERE)
    body = ask("/v1/messages", messages=[{"role": "user", "content": [source]}])

    anthropic_error(await rig.post(body, "/v1/messages"), 400)


async def test_without_a_list_of_hosts_nothing_is_fetched(rig: Rig) -> None:
    """A gateway that fetches needs to be told from where, too; `*` is everywhere public."""
    async with Website({"/a.png": page()}) as web:
        await rig.engine()
        await rig.gateway(media={**HERE, "allowed_hosts": []})
        refused = await rig.post(chat(site(web)))
        await rig.gateway(media={"fetch": "gateway", "allowed_hosts": ["*"]})
        inside = await rig.post(chat(site(web)))

    openai_error(refused, 400, "media_url_not_allowed")
    openai_error(inside, 400, "media_not_fetched")
    assert [] == web.targets


async def test_requests_have_a_size_with_their_files(rig: Rig) -> None:
    """One small file in many places, many files, and more bytes than the gateway may hold."""
    await rig.engine()
    async with Website({"/a.png": page(bytes(9000)), "/b.png": page(bytes(9000))}) as web:
        a, b = site(web), site(web, "/b.png")
        await rig.gateway(media=HERE, server={"max_body_bytes": 20_000})
        answers = [await rig.post(chat(*urls)) for urls in ([a, a], [a, b], [a])]
        await rig.gateway(media={**HERE, "max_files": 1})
        many = await rig.post(chat(a, b))

    assert [413, 413, 200] == [answer.status for answer in answers]
    openai_error(many, 400, "media_not_fetched")


async def test_bytes_that_are_held_are_counted(rig: Rig) -> None:
    """Files count as the bodies of requests do: above the bound the answer is 503."""
    await rig.engine()
    async with Website({"/a.png": page(bytes(900_000))}) as web:
        gateway = await rig.gateway(
            media=HERE, server={"max_inflight_bytes": 2**20, "max_body_bytes": 2**24}
        )
        answer = await rig.post(chat(site(web)))

    assert (503, 0) == (answer.status, gateway.buffered_bytes)


async def test_a_client_that_leaves_ends_the_fetch(rig: Rig) -> None:
    """Nobody goes on fetching for it."""
    await rig.engine()
    async with Website({"/a.png": dripping}) as web:
        gateway = await rig.gateway(media={**HERE, "timeout_s": 60})
        async with rig.client() as client:
            body = json.dumps(chat(site(web))).encode()
            await client.send(HEAD % len(body) + body)
            await eventually(lambda: bool(web.targets))
        await eventually(lambda: not gateway.active)

    assert ("client_gone", 0) == (gateway.records[-1].outcome, gateway.buffered_bytes)


async def test_shadows_get_what_the_engine_gets(rig: Rig) -> None:
    """A copy has the file, too: the shadow's engine fetches nothing."""
    engine = await rig.engine()
    async with Website({"/a.png": page()}) as web:
        await rig.gateway(
            media=HERE,
            rules=[{"name": "copy", "match": {"models": "m"}, "shadow": {"target": "m"}}],
        )
        await rig.post(chat(site(web)))
        await eventually(lambda: len(engine.exchanges) == 2)

    assert [chat(DATA)["messages"]] * 2 == [each.json()["messages"] for each in engine.exchanges]
