"""download.py: files from others' servers, and that nobody inside is asked for one."""

import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headrace.config.media import Media
from headrace.edge.certificate import self_signed
from headrace.errors import Overloaded
from headrace.upstream.download import Download, File, Link, Unfetched, link
from tests.upstream.website import PNG, Website, cut, dripping, endless, moved, page, silent

HERE = "127.0.0.1/32"
PUBLIC = "203.0.113.7"  # of documentation: nobody is there


class Names:
    """A resolver: each name has answers, one after the other."""

    def __init__(self, **answers: list[list[str]]) -> None:
        self.answers = {name.replace("_", "."): each for name, each in answers.items()}
        self.asked: list[str] = []

    async def __call__(self, host: str, _port: int) -> list[str]:
        self.asked.append(host)
        answers = self.answers.get(host)
        if answers is None:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return answers.pop(0) if len(answers) > 1 else answers[0]


def site(names: Names | None = None, allows: Callable[[str], bool] | None = None,
         tls: ssl.SSLContext | None = None, **settings: Any) -> Download:  # fmt: skip
    """What may ask this machine, by the name of site.example."""
    config = Media.model_validate({"fetch": "gateway", "networks": [HERE], **settings})
    resolver = names or Names(site_example=[["127.0.0.1"]])
    return Download(config, allows or (lambda _: True), resolver, tls)


async def got(download: Download, web: Website, target: str, scheme: str = "http") -> File:
    """A file of the site."""
    return await download.fetch(f"{scheme}://site.example:{web.port}{target}", lambda _: None)


async def refused(download: Download, web: Website, target: str) -> str:
    """Why there is none."""
    with pytest.raises(Unfetched) as caught:
        await got(download, web, target)
    return f"{caught.value.outcome}: {caught.value}"


async def test_a_file_comes_with_its_type() -> None:
    """Parameters of the type are left out; the head asks by name, and tells of nobody."""
    async with Website({"/a.png?x=1": page(kind="Image/PNG; q=1")}) as web:
        file = await got(site(), web, "/a.png?x=1#part")

    assert ("image/png", PNG) == file[:2]
    lines = web.heads[0].split("\r\n")
    assert "GET /a.png?x=1 HTTP/1.1" == lines[0]
    assert {"host", "user-agent", "accept", "accept-encoding", "connection"} == {
        line.partition(":")[0] for line in lines[1:] if line
    }
    assert f"host: site.example:{web.port}" in lines


async def test_chunks_and_ends_of_connections_are_understood() -> None:
    """Whether a server says where its answer ends, or only closes."""
    chunked = (
        b"HTTP/1.1 200 OK\r\ncontent-type: image/gif\r\ntransfer-encoding: chunked\r\n\r\n"
        b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    )
    closed = b"HTTP/1.0 200 OK\r\ncontent-type: image/gif\r\n\r\nabcde"
    async with Website({"/chunked": chunked, "/closed": closed}) as web:
        files = [await got(site(), web, target) for target in ("/chunked", "/closed")]

    assert [b"abcde", b"abcde"] == [file.data for file in files]


async def test_redirects_are_followed() -> None:
    """As many as are allowed, relative ones too; one more ends it."""
    pages = {"/1": moved("/2"), "/2": moved("3", "307 Temporary Redirect"), "/3": page()}
    async with Website(pages) as web:
        file = await got(site(redirects=2), web, "/1")
        sentence = await refused(site(redirects=1), web, "/1")

    assert PNG == file.data
    assert "refused: leads on more than 1 times" == sentence


@pytest.mark.parametrize(
    "to",
    [
        "http://169.254.169.254/latest/meta-data/", "http://[::ffff:169.254.169.254]/",
        "http://[::ffff:127.0.0.2]/", "http://127.0.0.2/", "http://2130706434/",
        "http://0x7f000002/", "http://127.2/", "http://0/", "http://[::1]/", "http://10.0.0.1/",
    ],
)  # fmt: skip
async def test_a_redirect_does_not_lead_inside(to: str) -> None:
    """To metadata, this machine or a private network, in whatever spelling."""
    real = Names(site_example=[["127.0.0.1"]])

    async def resolve(host: str, port: int) -> list[str]:
        if host == "site.example":
            return await real(host, port)
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)  # no name: nobody is asked
        return [str(each[4][0]) for each in found]

    config = Media.model_validate({"fetch": "gateway", "networks": [HERE]})
    async with Website({"/": moved(to)}) as web:
        sentence = await refused(Download(config, lambda _: True, resolve), web, "/")

    assert "refused: has a host whose address is not public" == sentence


async def test_a_redirect_to_another_host_is_checked() -> None:
    """Against the list of hosts, before its name is looked up."""
    names = Names(site_example=[["127.0.0.1"]])
    async with Website({"/": moved("http://evil.example/")}) as web:
        sentence = await refused(site(names, lambda host: host == "site.example"), web, "/")

    assert "refused: leads to a host that is not allowed" == sentence
    assert ["site.example"] == names.asked


async def test_the_address_that_was_checked_is_the_one_that_is_asked() -> None:
    """A name that points outside first, and inside when it is asked again, is asked once."""
    names = Names(site_example=[["127.0.0.1"], ["169.254.169.254"]])
    async with Website({"/": page()}) as web:
        file = await got(site(names), web, "/")

    assert (PNG, ["site.example"]) == (file.data, names.asked)


async def test_a_name_that_is_bound_anew_is_checked_anew() -> None:
    """A redirect to the same name, which points inside by then, is refused."""
    names = Names(site_example=[["127.0.0.1"], ["127.0.0.2"]])
    async with Website({"/": moved("/again"), "/again": page()}) as web:
        sentence = await refused(site(names), web, "/")

    assert "refused: has a host whose address is not public" == sentence
    assert ["/"] == web.targets


@pytest.mark.parametrize(
    "addresses", [["127.0.0.1", "10.0.0.1"], [PUBLIC, "::1"], ["fe80::1%lo"], []]
)
async def test_one_address_inside_is_enough_to_refuse(addresses: list[str]) -> None:
    """Nobody hides one among others."""
    async with Website({"/": page()}) as web:
        sentence = await refused(site(Names(site_example=[addresses])), web, "/")

    assert "refused: has a host whose address is not public" == sentence
    assert [] == web.targets


async def test_the_machine_itself_is_not_public() -> None:
    """By default; what other tests here ask is a network that they name."""
    async with Website({"/": page()}) as web:
        sentence = await refused(site(networks=[]), web, "/")

    assert "refused: has a host whose address is not public" == sentence


async def test_a_body_without_end_is_left() -> None:
    """Where its most is reached; a length that is too large is not even read."""
    large = page(b"x", "image/png").replace(b"length: 1", b"length: 99999999")
    async with Website({"/endless": endless, "/large": large}) as web:
        sentences = [await refused(site(max_bytes=100_000), web, each)
                     for each in ("/endless", "/large")]  # fmt: skip

    assert ["refused: has more than 100000 bytes"] * 2 == sentences


async def test_a_slow_one_is_left() -> None:
    """Whether it drips or says nothing: the time is for the whole file."""
    async with Website({"/drip": dripping, "/silent": silent}) as web:
        sentences = [await refused(site(timeout_s=0.3), web, each)
                     for each in ("/drip", "/silent")]  # fmt: skip

    assert ["late: took longer than 0.3 s"] * 2 == sentences


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (page(kind="text/html"), "refused: has a content type that is not allowed"),
        (page(kind="image/svg,x"), "refused: has a content type that is not allowed"),
        (page(kind=""), "refused: has a content type that is not allowed"),
        (page(PNG, "image/png", "200 OK", "content-encoding: gzip"),
         "refused: came compressed, which nobody asked for"),
        (page(status="404 Not Found"), "failed: was answered with 404"),
        (page(status="206 Partial Content"), "failed: was answered with 206"),
        (moved(""), "refused: leads on more than 3 times"),
        (moved("file:///etc/passwd"), "refused: is no http(s) URL"),
        (moved("gopher://site.example/"), "refused: is no http(s) URL"),
        (b"SSH-2.0-OpenSSH_9.9\r\n", "failed: had no answer in HTTP"),
        (b"HTTP/1.1 200 OK\r\nx: " + b"x" * 100_000, "failed: had no answer in HTTP"),
        (b"", "failed: had no answer in HTTP"),
    ],
)  # fmt: skip
async def test_what_is_no_medium_is_not_taken(answer: bytes, sentence: str) -> None:
    """Another type, a compressed bomb, an error, another protocol."""
    async with Website({"/": answer}) as web:
        assert sentence == await refused(site(), web, "/")


async def test_half_a_file_is_none() -> None:
    """A connection that ends in the middle."""
    async with Website({"/": cut}) as web:
        assert "failed: ended too soon" == await refused(site(), web, "/")


async def test_types_can_be_chosen() -> None:
    """Exactly, or all of a kind."""
    async with Website({"/": page(kind="application/x-own")}) as web:
        file = await got(site(types=["application/X-Own"]), web, "/")

    assert "application/x-own" == file.kind


async def test_whoever_counts_the_bytes_may_end_it() -> None:
    """The error is theirs."""

    def grow(_: int) -> None:
        raise Overloaded("full")

    async with Website({"/": page()}) as web:
        with pytest.raises(Overloaded):
            await site().fetch(f"http://site.example:{web.port}/", grow)


async def test_certificates_are_checked_for_the_name(tmp_path: Path) -> None:
    """Though an address is asked; and a file never comes by http from where https led."""
    pair = self_signed(tmp_path, ("site.example",))
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(pair.cert, pair.key)
    trusting = ssl.create_default_context(cafile=pair.cert)
    pages = {"/": page(), "/down": moved("http://site.example/")}
    async with Website(pages, server) as web:
        assert PNG == (await got(site(tls=trusting), web, "/", "https")).data
        other = site(Names(other_example=[["127.0.0.1"]]), tls=trusting)
        for download, url, sentence in (
            (other, f"https://other.example:{web.port}/", "has a host that could not be reached"),
            (site(), f"https://site.example:{web.port}/", "has a host that could not be reached"),
            (site(tls=trusting), f"https://site.example:{web.port}/down",
             "leads from https to http"),
        ):  # fmt: skip
            with pytest.raises(Unfetched, match=sentence):
                await download.fetch(url, lambda _: None)


async def test_nobody_there() -> None:
    """A name without an address, an address that does not listen."""
    async with Website({}) as web:
        pass
    sentences = [await refused(site(names), web, "/") for names in (None, Names())]

    assert [
        "failed: has a host that could not be reached",
        "failed: has a host that cannot be resolved",
    ] == sentences


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://A.example", Link(False, "a.example", 80, "/")),
        (" https://a.example.:8443/x y".replace(" y", "%20y"),
         Link(True, "a.example", 8443, "/x%20y")),
        ("https://bücher.example/é?ü#z",
         Link(True, "xn--bcher-kva.example", 443, "/%C3%A9?%C3%BC")),
        ("http://[2001:db8::1]/", Link(False, "2001:db8::1", 80, "/")),
    ],
)  # fmt: skip
def test_urls_are_read(url: str, expected: Link) -> None:
    """Names in ASCII, defaults in place, and nothing in a target that could end its line."""
    assert expected == link(url)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://a/", "//a/", "a", "", "http://", "http://a:b@c/", "http://@c/", "http://a\\@b/",
        "http://a/\r\nx: y", "http://a\0/", "http://a%00.b/", "http://[::1", "http://a:99999/",
        "http://fe80::1%25eth0/", "http://a b/", "http://" + "é" * 300 + "/",
    ],
)  # fmt: skip
def test_odd_urls_are_not(url: str) -> None:
    """What two programs could read in two ways is nobody's URL."""
    with pytest.raises(Unfetched):
        link(url)
