"""Answers as they come in pieces."""

import pytest

from headrace.bench.answer import Answer


def event(text: str) -> bytes:
    return b'data: {"choices":[{"index":0,"delta":%b}]}\n\n' % text.encode()


STREAM = (
    event('{"role":"assistant","content":""}')
    + event('{"content":"Hello"}')
    + event('{"reasoning_content":"hm"}')
    + b": a comment to keep the connection open\n\n"
    + event('{"tool_calls":[{"index":0,"function":{"arguments":"{"}}]}')
    + b'data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":3}}\n\n'
    + b"data: [DONE]\n\n"
)


@pytest.mark.parametrize("size", [1, 7, 64, 10_000])
def test_pieces_do_not_matter(size: int) -> None:
    """However the network cuts a stream, its tokens, its usage and its end are the same."""
    answer = Answer()
    for place in range(0, len(STREAM), size):
        answer.feed(STREAM[place : place + size])

    assert answer.done
    assert "" == answer.error
    assert 3 == len(answer.marks)  # an event without text is no token
    assert answer.usage is not None
    assert (7, 3) == (answer.usage.prompt_tokens, answer.usage.completion_tokens)


def test_line_ends_may_be_those_of_the_standard() -> None:
    """Servers that end lines with CR LF are read, too."""
    answer = Answer()
    answer.feed(STREAM.replace(b"\n", b"\r\n"))

    assert answer.done
    assert 3 == len(answer.marks)


def test_completions_are_read() -> None:
    """The text of the older API is output, too."""
    answer = Answer()
    answer.feed(b'data: {"choices":[{"text":"a"}]}\n\ndata: {"choices":[{"text":""}]}\n\n')

    assert 1 == len(answer.marks)


def test_an_error_in_a_stream_is_told() -> None:
    """A stream that reports an error is no good answer, although its status was 200."""
    answer = Answer()
    answer.feed(b'data: {"error":{"message":"out of memory"}}\n\n')

    assert "out of memory" in answer.error


def test_garbage_is_told() -> None:
    """What is no JSON is told and does not end the run."""
    answer = Answer()
    answer.feed(b"data: {not json\n\n")

    assert "no JSON" in answer.error
