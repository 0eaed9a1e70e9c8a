"""media.py: no engine is made to fetch from a host that is not listed, however the URL is spelt."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.errors import BadRequest
from headrace.gateway.body.media import NONE, Media, MediaGate
from tests.edge.rig import Rig, ask, openai_error
from tests.gateway.spelling import Pen, values

quick = settings(max_examples=300)
GATE = MediaGate(["Img.example.com.", "*.cdn.example"])
LISTED = [
    "img.example.com", "IMG.example.com", "img.example.com.", "a.cdn.example", "a.b.CDN.example",
]  # fmt: skip
UNLISTED = [
    "evil.com", "cdn.example", "xcdn.example", "img.example.com.evil.com", "169.254.169.254",
    "[::1]", "127.0.0.1", "localhost", "0x7f.1", "img.example.comx", "evil.com\x00",
    "evil.com\x00.cdn.example", "evil.com .cdn.example", "evil.com%00.cdn.example",
    "evil.com%2f.cdn.example", "evil.com\t.x", "img.example.com@evil.com", "a:b@evil.com", "",
    "evil.com\\@img.example.com", "evil.com?@img.example.com", "evil.com#@img.example.com",
    "evil.com/@img.example.com", "evil.com\n",
]  # fmt: skip
schemes = st.sampled_from(["http://", "https://", "HTTP://", "hTTps://", " http://", "\thttps://"])
tails = st.sampled_from(
    ["", "/", "/a.png?x=1", ":8080/a", "/data:image/png", "#data:", "?u=http://x"]
)
odd = st.sampled_from(
    ["file:///etc/passwd", "//evil.com/a", "evil.com/a", "ftp://img.example.com/a", "gopher://x/",
     "", "http:///img.example.com", "http:img.example.com", "http://[img.example.com", "s3://b/k",
     " " * 20 + "data:x", "javascript:x"]
)  # fmt: skip
listed = st.builds(lambda s, h, t: s + h + t, schemes, st.sampled_from(LISTED), tails)
unlisted = odd | st.builds(lambda s, h, t: s + h + t, schemes, st.sampled_from(UNLISTED), tails)
inline = st.builds(
    lambda head, text: head + text,
    st.sampled_from(["data:image/png;base64,", "DATA:,", " data:,"]),
    st.sampled_from(["", "QUJD", "http://evil.com/"]),
)


def holders(url: str) -> list[dict[str, Any]]:
    """Each way in which the APIs take a URL."""
    return [
        {"type": "image_url", "image_url": {"url": url, "detail": "low"}},
        {"type": "image_url", "image_url": url},
        {"type": "audio_url", "audio_url": {"url": url}},
        {"type": "video_url", "video_url": {"url": url}},
        {"type": "input_file", "file_url": url},
        {"type": "image", "source": {"type": "url", "url": url}},
    ]


def within(part: Any, others: list[Any], path: list[Any]) -> Any:
    """A part deep in something: each step is a key, or a number for a place in a list."""
    for step in path:
        part = [*others[:step], part, *others[step:]] if isinstance(step, int) else {step: part}
    return {"model": "m", "messages": part}


paths = st.lists(st.sampled_from(["content", "image_url", "source", "x", 0, 1]), max_size=5)
kinds = st.integers(0, 5)
fillers = st.lists(values, max_size=2)
seeds = st.integers(0, 10_000)


class TestMediaGate:
    @quick
    @given(unlisted, kinds, fillers, paths, seeds, st.booleans())
    def test_an_unlisted_host_never_passes(
        self, url: str, kind: int, others: list[Any], path: list[Any], seed: int, large: bool
    ) -> None:
        """However deep it is and however it is spelt, a URL of another host is refused."""
        body = within(holders(url)[kind], others, path)
        if large:
            body["x"] = "x" * 20_000

        with pytest.raises(BadRequest) as caught:
            GATE.check(Pen(seed).value(body).encode())

        assert "media_url_not_allowed" == caught.value.code

    @quick
    @given(st.lists(st.tuples(listed, kinds), max_size=4), seeds)
    def test_a_listed_host_passes(self, urls: list[tuple[str, int]], seed: int) -> None:
        """Exact names and names below a wildcard pass, in any spelling; nothing is carried."""
        body = {"messages": [{"content": [holders(url)[kind] for url, kind in urls]}]}

        assert NONE == GATE.check(Pen(seed).value(body).encode())

    @quick
    @given(st.lists(st.tuples(inline, kinds), min_size=1, max_size=4), seeds)
    def test_data_passes_and_is_counted(self, urls: list[tuple[str, int]], seed: int) -> None:
        """What comes with the request is fetched from nowhere; its number and size are told."""
        body = {"messages": [{"content": [holders(url)[kind] for url, kind in urls]}]}

        found = MediaGate([]).check(Pen(seed).value(body).encode())

        assert Media(len(urls), sum(len(url) for url, _ in urls)) == found

    def test_base64_fields_are_counted(self) -> None:
        """Sound of OpenAI's API and images of Anthropic's carry their bytes without a URL."""
        parts = [
            {"input_audio": {"data": "A" * 40, "format": "wav"}},
            {"source": {"type": "base64", "media_type": "image/png", "data": "B" * 60}},
        ]
        body = json.dumps({"x": "x" * 20_000, "messages": parts}).encode()

        assert Media(2, 100) == MediaGate([]).check(body)

    def test_text_is_not_checked(self) -> None:
        """URLs that no engine opens are nobody's business."""
        body = json.dumps(
            {"url": "http://a", "content": "http://a", "metadata": {"url": "http://a"}}
        )

        assert NONE == MediaGate([]).check(body.encode())

    @pytest.mark.parametrize("hosts", [[], ["*.cdn.example"]])
    @pytest.mark.parametrize("host", ["169.254.169.254\0", "169.254.169.254\0.cdn.example"])
    def test_a_nul_is_no_way_around(self, hosts: list[str], host: str) -> None:
        """Engines in C would end the name at the NUL, and ask the address in front of it."""
        body = json.dumps({"image_url": f"http://{host}/latest/meta-data"}).encode()

        with pytest.raises(BadRequest):
            MediaGate(hosts).check(body)

    @pytest.mark.parametrize(
        "part",
        [b'"caf\xe9 "', b"1e999", b"9" * 5000, b'{"k":-1e999}'],
        ids=["latin-1", "large float", "large integer", "nested"],
    )
    def test_what_cannot_be_read_is_refused(self, part: bytes) -> None:
        """A body that the scan skipped over, but that cannot be decoded, is a 400."""
        body = b'{"model":"m","messages":[{"image_url":"data:,x"}],"x":%b}' % part

        with pytest.raises(BadRequest):
            GATE.check(body)


async def test_a_body_that_cannot_be_decoded_is_answered(rig: Rig) -> None:
    """On the wire: 400 with a record that says so, not silence; and the next request is served."""
    await rig.engine()
    gateway = await rig.gateway()
    text = b'{"model":"m","messages":[{"role":"user","content":"' + b"caf\xe9 " * 4000 + b'"}]}'
    async with rig.client() as client:
        answer = await client.post("/v1/chat/completions", text)
        again = await client.post("/v1/chat/completions", ask())

    openai_error(answer, 400)
    assert 200 == again.status
    assert ["rejected_invalid", "completed"] == [record.outcome for record in gateway.records]
