"""stream.py: frames leave whole and at once, and are the engine's bytes but for the two edits."""

import json
from typing import Any, NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from headrace.conformance.answers import dump
from headrace.gateway.send.stream import MAX_FRAME_BYTES, Frames, Renamer, find_usage, usage_of
from headrace.types import Usage
from tests.gateway.spelling import pieces

quick = settings(max_examples=300)
TEXTS = ['"usage": {"prompt_tokens": 9}', "[DONE]", "data: x\n\n", '{"model":"up"}', "é", " "]
REPORT = {"prompt_tokens": 33, "completion_tokens": 8, "prompt_tokens_details": None}


class Event(NamedTuple):
    """A frame as the engine sends it, and as the client gets it: edited, or not at all."""

    sent: bytes
    renamed: bytes
    usage_only: bool = False


def chat(model: str, choices: list[Any], **more: Any) -> bytes:
    return b"data: " + dump({"id": "c", "model": model, "choices": choices, **more})


def event(head: bytes, tail: bytes, model: str = "up") -> Event:
    return Event(head + tail, head.replace(b'"model":"up"', b'"model":"alias"', 1) + tail)


texts = st.sampled_from(TEXTS)
ends = st.sampled_from([b"\n\n", b"\r\n\r\n", b"\n\r\n", b"\r\n\n"])
words = st.builds(
    lambda text, null, end: event(
        chat("up", [{"delta": {"content": text}}], **({"usage": None} if null else {})), end
    ),
    texts, st.booleans(), ends,
)  # fmt: skip
# With each text chunk counts so far, as continuous_usage_stats asks for.
counted = st.builds(
    lambda count, end: event(
        chat("up", [{"delta": {}}], usage={**REPORT, "completion_tokens": count}), end
    ),
    st.integers(0, 5), ends,
)  # fmt: skip
comments = st.builds(
    lambda text, end: Event(text + end, text + end),
    st.sampled_from([b":", b": ping", b"event: ping\ndata: {}", b"id: 1"]), ends,
)  # fmt: skip
reports = st.builds(
    lambda end: event(chat("up", [], usage=REPORT), end)._replace(usage_only=True), ends
)
done = ends.map(lambda end: Event(b"data: [DONE]" + end, b"data: [DONE]" + end))
streams = st.builds(
    lambda body, last, end: [*body, *last, *end],
    st.lists(st.one_of(words, words, comments), max_size=5)
    | st.lists(counted | comments, max_size=5),
    st.lists(reports, max_size=1),
    st.lists(done, max_size=1),
)
cuts = st.lists(st.integers(0, 2000), max_size=12)


def fed(frames: Frames, parts: list[bytes]) -> list[bytes]:
    return [frames.feed(part) for part in parts]


class TestFrames:
    @quick
    @given(streams, cuts)
    @example([Event(b":\n\n", b":\n\n")], [2])
    @example([Event(b":\n\n", b":\n\n"), Event(b"data: {}\n\n", b"data: {}\n\n")], [5])
    def test_whole_frames_leave_at_once(self, events: list[Event], cuts: list[int]) -> None:
        """However the bytes are cut: what has left is every frame that is complete, as it was."""
        sent = b"".join(each.sent for each in events)
        edges = [0]
        for each in events:
            edges.append(edges[-1] + len(each.sent))
        frames = Frames(strip_usage=False, renamer=None)

        came, left = 0, 0
        for part in pieces(sent, cuts):
            came += len(part)
            released = frames.feed(part)
            assert sent[left : left + len(released)] == released
            left += len(released)
            assert max(edge for edge in edges if edge <= came) == left
        assert b"" == frames.flush()

    @quick
    @given(streams, st.binary(max_size=9).map(lambda data: data.replace(b"\n", b"")), cuts)
    def test_the_rest_leaves_at_the_end(
        self, events: list[Event], rest: bytes, cuts: list[int]
    ) -> None:
        """What the engine sent after its last empty line is not lost, nor changed."""
        sent = b"".join(each.sent for each in events) + rest
        frames = Frames(strip_usage=False, renamer=None)

        assert sent == b"".join([*fed(frames, pieces(sent, cuts)), frames.flush()])

    @quick
    @given(streams, cuts, st.booleans(), st.booleans())
    def test_edits_do_not_depend_on_pieces(
        self, events: list[Event], cuts: list[int], strip: bool, rename: bool
    ) -> None:
        """The frame of usage goes, the name changes, all else stays: wherever the cuts are."""
        sent = b"".join(each.sent for each in events)
        frames = Frames(strip_usage=strip, renamer=Renamer("up", "alias") if rename else None)

        got = b"".join([*fed(frames, pieces(sent, cuts)), frames.flush()])

        assert got == b"".join(
            each.renamed if rename else each.sent
            for each in events
            if not (strip and each.usage_only)
        )

    @quick
    @given(streams, cuts)
    def test_usage_and_events_do_not_depend_on_pieces(
        self, events: list[Event], cuts: list[int]
    ) -> None:
        """The tokens are those of the last report, and as many events are counted, however cut."""
        sent = b"".join(each.sent for each in events)
        whole, cut = (Frames(strip_usage=True, renamer=None) for _ in range(2))
        last = [each.sent for each in events if b'"prompt_tokens":33' in each.sent][-1:]

        whole.feed(sent)
        fed(cut, pieces(sent, cuts))

        expected = usage_of(last[0].rstrip()[6:]) if last else None
        assert (expected, expected) == (whole.usage(), cut.usage())
        assert whole.events == cut.events

    def test_two_reports_are_merged(self) -> None:
        """Anthropic tells the prompt's tokens in the first frame, the answer's in the last."""
        frames = Frames(strip_usage=False, renamer=None)
        start = {"message": {"usage": {"input_tokens": 9, "cache_read_input_tokens": 4}}}
        frames.feed(b"event: message_start\ndata: " + dump(start) + b"\n\n")
        frames.feed(b'event: ping\ndata: {"type":"ping"}\n\n')
        frames.feed(b'event: message_delta\ndata: {"usage":{"output_tokens":7}}\n\n')

        assert Usage(13, 7, 4) == frames.usage()

    @settings(max_examples=20)
    @given(st.integers(-9, 9), st.lists(st.integers(0, 3 * MAX_FRAME_BYTES), max_size=5))
    def test_a_frame_beyond_the_limit_passes(self, more: int, cuts: list[int]) -> None:
        """A frame that is too large to be held loses nothing; what follows it is whole again."""
        large = b"data: " + b"x" * (MAX_FRAME_BYTES + more) + b"\n\n"
        sent = b": a\n\n" + large + b"data: b\n\n"
        frames = Frames(strip_usage=False, renamer=None)

        assert sent == b"".join([*fed(frames, pieces(sent, cuts)), frames.flush()])
        assert b"" == frames.interrupt()

    def test_an_interrupted_large_frame_is_ended(self) -> None:
        """An error frame must not become a part of a frame that was passed on in part."""
        frames = Frames(strip_usage=False, renamer=None)
        frames.feed(b"data: " + b"x" * MAX_FRAME_BYTES)

        assert b"\n\n" == frames.interrupt()

    def test_an_interrupted_small_frame_is_dropped(self) -> None:
        """Half a frame that nobody saw stays unseen."""
        frames = Frames(strip_usage=False, renamer=None)
        frames.feed(b"data: {}\n\ndata: {")

        assert (b"", b"") == (frames.interrupt(), frames.flush())

    @pytest.mark.parametrize(
        "last",
        [
            b"data: [DONE]\n\n",
            b"data: [DONE]\r\n\r\n",
            b'data: {"x":1}\n\ndata: [DONE]\n\n',
            b'event: message_stop\ndata: {"type":"message_stop"}\n\n',
            b'event: response.completed\ndata: {"type":"response.completed","response":{}}\n\n',
        ],
    )
    def test_a_finished_stream(self, last: bytes) -> None:
        """Each API has its word for the end; what breaks after it has broken nothing."""
        frames = Frames(strip_usage=False, renamer=None)
        frames.feed(chat("m", [{"delta": {}}]) + b"\n\n")
        before = frames.finished(b"")
        frames.feed(last)

        assert (False, True) == (before, frames.finished(b""))

    @pytest.mark.parametrize(
        "text", ["[DONE]", "message_stop", "response.completed", "data: [DONE]", "\ndata: [DONE]"]
    )
    def test_text_ends_nothing(self, text: str) -> None:
        """A model that writes about event streams has not ended its own."""
        frames = Frames(strip_usage=False, renamer=None)
        frames.feed(chat("m", [{"delta": {"content": text}}]) + b"\n\n")

        assert not frames.finished(b"")

    def test_odd_frames_are_not_usage(self) -> None:
        """What only looks like a usage frame, or cannot be read, is passed on."""
        odd = [
            b'data: {"usage":{},"choices":[{}]}\n\n',
            b'data: {"usage":{}}\n\n',
            b'data: {"usage":{},"choices":5}\n\n',
            b'data: {"usage":\n\n',
            b': "usage" "choices":[]\n\n',
        ]
        frames = Frames(strip_usage=True, renamer=None)

        assert odd == fed(frames, odd)

    def test_a_bottomless_frame_is_passed_on(self) -> None:
        """JSON that is nested too deeply to be read is not ours to refuse."""
        deep = b'data: {"usage":null,"x":' + b"[" * 3000 + b"]" * 3000 + b"}\n\n"
        frames = Frames(strip_usage=True, renamer=None)

        assert deep == frames.feed(deep)


names = st.sampled_from(["m", "org/m", 'a"b', "m+", "model", "é\\", "alias"])
scraps = st.sampled_from(
    ['"model":', '"model" : ', '"model"', ":", '"', "m", " ", "\\", "x" * 30, '"model"     :', "\n"]
)


class TestRenamer:
    @settings(max_examples=500)
    @given(names, names, st.lists(scraps | names.map(json.dumps)), cuts)
    def test_pieces_are_renamed_as_the_whole(
        self, served: str, asked: str, text: list[str], cuts: list[int]
    ) -> None:
        """Wherever the name is cut, it is found, and nothing else is touched."""
        data = "".join(text).encode()
        renamer = Renamer(served, asked)

        got = b"".join([*(renamer.feed(part) for part in pieces(data, cuts)), renamer.flush()])

        assert Renamer(served, asked).whole(data) == got

    def test_little_is_held_back(self) -> None:
        """Only as many bytes wait as a name may be cut in."""
        renamer = Renamer("up", "alias")

        assert 1000 - len(renamer.feed(b"x" * 1000)) < 30

    def test_names_are_not_patterns(self) -> None:
        """A name is taken by the letter, in what is searched and in what is put there."""
        renamer = Renamer("a.b", "\\1\\g<0>")

        assert b'{"model":"axb"}' == renamer.whole(b'{"model":"axb"}')
        assert {"model": "\\1\\g<0>"} == json.loads(renamer.whole(b'{"model" : "a.b"}'))


WIRE = [
    ({"prompt_tokens": 3, "completion_tokens": 4}, Usage(3, 4)),
    ({"prompt_tokens": 3, "completion_tokens": 0}, Usage(3, 0)),
    ({"prompt_tokens": 3, "prompt_tokens_details": {"cached_tokens": 2}}, Usage(3, 0, 2)),
    ({"prompt_tokens": 3, "prompt_tokens_details": {"cached_tokens": None}}, Usage(3)),
    ({"input_tokens": 3, "input_tokens_details": {"cached_tokens": 2}}, Usage(3, 0, 2)),
    ({"input_tokens": 3, "output_tokens": 4, "cache_read_input_tokens": 1}, Usage(4, 4, 1)),
    ({"input_tokens": 3, "cache_creation_input_tokens": 2}, Usage(5)),
    ({"total_tokens": 3}, Usage()),
    ({"server_tool_use": {"web_search_requests": 0}, "output_tokens": 4}, Usage(0, 4)),
]


class TestUsage:
    @pytest.mark.parametrize(("wire", "usage"), WIRE)
    def test_every_dialect(self, wire: dict[str, Any], usage: Usage) -> None:
        """OpenAI's and Anthropic's names mean the same, in a whole answer and in a part of one."""
        body = dump({"id": 1, "usage": wire})

        assert usage == usage_of(body)
        assert usage == find_usage(body[5:])

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"[]",
            b'"usage"',
            b"{",
            b"{}",
            b'{"usage":null}',
            b'{"usage":7}',
            b'{"usage":{"prompt_tokens":"3"}}',
            b'{"usage":{"prompt_tokens":3}',
            b'{"x":' + b"[" * 5000,
            b"\xff\xfe",
        ],
    )
    def test_no_usage(self, body: bytes) -> None:
        """What says nothing that can be read says nothing; it is no error."""
        assert usage_of(body) is None

    def test_a_broken_report_does_not_hide_another(self) -> None:
        """One that cannot be read is skipped."""
        data = b'"usage":{"prompt_tokens":"x"} "usage": {"prompt_tokens": 5}'

        assert Usage(5) == find_usage(data)

    def test_none_is_not_zero(self) -> None:
        """No report is not a report of nothing."""
        assert (None, Usage()) == (find_usage(b"{}"), find_usage(b'"usage":{}'))

    @quick
    @given(st.binary(max_size=80))
    def test_bytes_are_never_an_error(self, data: bytes) -> None:
        """Whatever an engine sends, looking for usage in it is safe."""
        for body in (data, b'{"usage":' + data, b'"usage":{' + data + b"}"):
            assert isinstance(find_usage(body), Usage | None)
            assert isinstance(usage_of(body), Usage | None)
