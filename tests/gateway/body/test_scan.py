"""scan.py: one look at the body, and edits that leave every other byte alone."""

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from headrace.errors import BadRequest
from headrace.gateway.body import scan
from headrace.gateway.body.media import Media
from tests.gateway.spelling import KEYS, Pen, values
from tests.guard.growth import linear

quick = settings(max_examples=300)
models = st.sampled_from(["m", "", "org/m 1", 'a"b', "mödel", "model", "elsewhere", None])
members = st.tuples(st.sampled_from([key for key in KEYS if key != "model"]), values)
named = st.tuples(st.just("model"), models)
# Half of the members are a model, so that bodies with none, one and several are all usual.
bodies = st.lists(members | named, max_size=5)
seeds = st.integers(0, 10_000)


def spelt(pairs: list[tuple[str, Any]], seed: int) -> tuple[bytes, bytes]:
    """A body, and the same body with «NEW» in the place of each value of ``model``."""
    pen = Pen(seed)
    written = [(key, pen.value(value)) for key, value in pairs]
    marked = [(key, "«NEW»" if key == "model" else value) for key, value in written]
    again = Pen(seed + 1).members(written), Pen(seed + 1).members(marked)
    return again[0].encode(), again[1].encode()


class TestRenameModel:
    @quick
    @given(bodies, seeds, st.sampled_from(["up", 'u"p', "ä/b", ""]))
    @example([("metadata", {"model": ""})], 3, "up")
    def test_only_the_name_changes(
        self, pairs: list[tuple[str, Any]], seed: int, name: str
    ) -> None:
        """Every top-level `model` gets the new name; all other bytes are the client's."""
        body, marked = spelt(pairs, seed)
        new = json.dumps(name, ensure_ascii=False).encode()

        renamed = scan.rename_model(body, scan.read(body).model or "", name)

        assert {**json.loads(body), "model": name} == json.loads(renamed)
        if any(key == "model" for key, _ in pairs):
            assert marked.replace("«NEW»".encode(), new) == renamed
        else:
            assert body.count(b"{", 0, 1) == 1
            assert b'{"model":' + new == renamed[: 10 + len(new) - 1]
            assert body[1:] == renamed[len(renamed) - len(body) + 1 :]

    @pytest.mark.parametrize(
        ("body", "expected"),
        [
            (rb'{"metadata":{"model":"a"},"\u006dodel":"a"}', {"a": "a", "top": "up"}),
            (rb'{"model":"a","mod\u0065l":"a"}', {"top": "up"}),
            (rb'{"metadata":{"model":"a"},"mo\u0064el":"a","x":"\u00e4"}', {"a": "a", "top": "up"}),
        ],
    )
    def test_escaped_keys_are_keys(self, body: bytes, expected: dict[str, str]) -> None:
        """A key spelt with escapes behind a nested or a plain one is the one that counts."""
        renamed = json.loads(scan.rename_model(body, "a", "up"))

        assert expected["top"] == renamed["model"]
        assert expected.get("a") == renamed.get("metadata", {}).get("model")

    def test_a_nested_model_without_a_name_is_not_the_model(self) -> None:
        """A client that names no model gets one; an empty nested `model` stays empty."""
        renamed = json.loads(scan.rename_model(b'{"x":{"model":""}}', "", "up"))

        assert {"model": "up", "x": {"model": ""}} == renamed


options = st.sampled_from(
    [
        None,
        {},
        {"include_usage": None},
        {"continuous_usage_stats": True},
        {"x": {"include_usage": False, "y": ["}"]}, "include_usage": None},
    ]
)


class TestAskForUsage:
    @quick
    @given(bodies, st.none() | options.map(lambda value: [value]), seeds)
    def test_only_the_option_changes(
        self, pairs: list[tuple[str, Any]], given_options: list[Any] | None, seed: int
    ) -> None:
        """include_usage is true afterwards, whatever was there; nothing else has changed."""
        if given_options is not None:
            pairs = [*pairs[:1], ("stream_options", given_options[0]), *pairs[1:]]
        pen = Pen(seed)
        body = pen.members([(key, pen.value(value)) for key, value in pairs]).encode()
        before = json.loads(body)
        wanted = {**(before.get("stream_options") or {}), "include_usage": True}

        asked = scan.ask_for_usage(body, scan.read(body).stream_options)

        assert {**before, "stream_options": wanted} == json.loads(asked)
        for key, value in pairs:
            if key != "stream_options" and before[key] is value:
                assert value == json.loads(asked)[key]

    def test_the_last_of_two_counts(self) -> None:
        """As JSON parsers take the last of two equal keys, it is the last one that is edited."""
        body = b'{"stream_options": {"include_usage": false}, "stream_options" : null }'

        asked = scan.ask_for_usage(body, scan.read(body).stream_options)

        assert (
            b'{"stream_options": {"include_usage": false},'
            b' "stream_options" : {"include_usage":true} }'
        ) == asked

    def test_inner_bytes_stay(self) -> None:
        """Other stream options keep their spelling, spaces and order."""
        body = b'{ "stream_options" : { "a" : 1.0e0 , "include_usage" : null , "b":"}" } , "c":[]}'

        asked = scan.ask_for_usage(body, scan.read(body).stream_options)

        assert body.replace(b"null", b"true") == asked


def read_or_refuse(body: bytes) -> scan.Body | BadRequest:
    try:
        return scan.read(body)
    except BadRequest as refused:
        return refused


class TestRead:
    @quick
    @given(st.binary(max_size=60) | bodies.map(lambda pairs: spelt(pairs, 1)[0][:40]))
    def test_anything_is_read_or_refused(self, body: bytes) -> None:
        """Whatever the bytes are: fields, or BadRequest; never another exception."""
        found = read_or_refuse(body)

        if isinstance(found, BadRequest):
            assert found.message.endswith(".")
        else:
            assert isinstance(found.limit, int)
            assert isinstance(found.continues, str)

    @pytest.mark.parametrize(
        ("body", "param", "code"),
        [
            (b'{"model":1}', "model", None),
            (b'{"stream_options":{"include_usage":1}}', "stream_options.include_usage", None),
            (b"[]", None, None),
            (b"{", None, "invalid_json"),
            (b"[" * 5000, None, None),
            (b'{"x":' + b"[" * 5000, None, "invalid_json"),
            (b'{"model":"\xff"}', None, "invalid_json"),
        ],
    )
    def test_refusals_name_the_field(
        self, body: bytes, param: str | None, code: str | None
    ) -> None:
        """The error names the field that is wrong, or says that it is no JSON."""
        with pytest.raises(BadRequest) as caught:
            scan.read(body)

        assert (param, code) == (caught.value.param, caught.value.code)

    @pytest.mark.parametrize(
        ("fields", "limit"),
        [
            ({}, 0),
            ({"max_tokens": 7}, 7),
            ({"max_completion_tokens": 5, "max_tokens": 7}, 5),
            ({"max_output_tokens": 3}, 3),
            ({"max_tokens": -1}, 0),
            ({"max_tokens": "7"}, 0),
            ({"max_tokens": 1.5}, 0),
        ],
    )
    def test_limit(self, fields: dict[str, Any], limit: int) -> None:
        """What each API calls the longest answer; what is no number is not guessed at."""
        assert limit == scan.read(json.dumps(fields).encode()).limit

    @pytest.mark.parametrize(
        ("fields", "key"),
        [
            ({}, ""),
            ({"previous_response_id": "resp_1"}, "resp_1"),
            ({"previous_response_id": {"id": "resp_1"}}, ""),
        ],
    )
    def test_continues(self, fields: dict[str, Any], key: str) -> None:
        """The stored response that goes on; what is no text is the engine's to refuse."""
        assert key == scan.read(json.dumps(fields).encode()).continues


def test_tokens_count_media_apart() -> None:
    """Base64 is not read as text: each medium costs the same, its bytes nothing."""
    assert 250 == scan.tokens(1000, Media())
    assert 2 * scan.TOKENS_PER_MEDIUM + 10 == scan.tokens(1_000_040, Media(2, 1_000_000))


class TestReadForm:
    @settings(max_examples=100)
    @given(
        st.lists(
            st.tuples(
                st.sampled_from(["file", "language", "model_", "xmodel"]),
                st.binary(max_size=40).filter(lambda data: b"\r\n--B7" not in data),
            ),
            max_size=3,
        ),
        st.integers(0, 3),
        st.sampled_from(["m", "a/b", "ä", ""]),
    )
    def test_the_span_is_the_value(
        self, parts: list[tuple[str, bytes]], place: int, model: str
    ) -> None:
        """Wherever the part stands and whatever the others hold, exactly its value is found."""
        fields = [*parts[:place], ("model", model.encode()), *parts[place:]]
        written = b"".join(
            b'--B7\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n'
            % (name.encode(), value)
            for name, value in fields
        )
        body = written + b"--B7--\r\n"

        found, span = scan.read_form(body, b"multipart/form-data; boundary=B7")

        assert span is not None
        assert (model, model.encode()) == (found, body[slice(*span)])

    def test_space_after_the_boundary(self) -> None:
        """Spaces around a parameter are no part of it (RFC 9110, 5.6.6)."""
        body = b'--B7\r\ncontent-disposition: form-data; name="model"\r\n\r\nm\r\n--B7--\r\n'

        assert "m" == scan.read_form(body, b"multipart/form-data; boundary=B7 ; charset=utf-8")[0]

    @pytest.mark.parametrize("name", ["name*=utf-8''model", "filename=x; name*0=mo"])
    def test_a_name_that_only_some_programs_read(self, name: str) -> None:
        """It is refused: an engine could take it for the model's."""
        body = f"--B7\r\ncontent-disposition: form-data; {name}\r\n\r\nm\r\n--B7--\r\n"

        with pytest.raises(BadRequest, match="send it as `name`"):
            scan.read_form(body.encode(), b"multipart/form-data; boundary=B7")

    def test_a_form_cut_off_in_a_head(self) -> None:
        """A form that ends in the head of a part names no model."""
        body = b'--B7\r\ncontent-disposition: form-data; name="model"'

        assert (None, None) == scan.read_form(body, b"multipart/form-data; boundary=B7")


@given(
    st.text(max_size=20),
    st.integers(-30, 30),
    st.sampled_from([b"", b"\xff", b"\xe2\x82", b"\xc0"]),
)
@settings(max_examples=50)
def test_text_is_utf8(text: str, shift: int, wrong: bytes) -> None:
    """
    A body passes exactly if all of it is UTF-8, also in fields that are skipped, and also where a
    character lies across two blocks.
    """
    filler = "a" * (scan.BLOCK_BYTES + shift) + "€"
    body = json.dumps({"model": "m", "x": filler + text}, ensure_ascii=False).encode(
        "utf-8", "surrogatepass"
    )
    body = body[:-2] + wrong + body[-2:]

    try:
        body.decode()
    except UnicodeDecodeError:
        with pytest.raises(BadRequest, match="not valid JSON"):
            scan.read(body)
    else:
        assert "m" == scan.read(body).model


def test_a_model_given_again_and_again_takes_linear_time() -> None:
    """Each is renamed, in one go."""

    def run(count: int) -> None:
        body = b"{" + b",".join([b'"model":"a"'] * count) + b"}"
        assert b'"a"' not in scan.rename_model(body, "a", "b")

    assert linear(run, 1000)


def test_a_long_line_of_a_form_takes_linear_time() -> None:
    """However often it seems to begin."""

    def run(count: int) -> None:
        head = b"--x\r\n" + b"content-disposition:form-data;" * count
        model, _ = scan.read_form(head + b"\r\n\r\nm\r\n--x--", b"multipart/form-data; boundary=x")
        assert model is None

    assert linear(run, 2000)
