"""Made-up requests: the seed decides, rates hold, and prefixes are shared as they say."""

import pytest

from headrace.simulate.synthetic import BLOCK_TOKENS, GENERATORS

each_kind = pytest.mark.parametrize("kind", GENERATORS)


@each_kind
def test_the_seed_decides(kind: str) -> None:
    """Equal seeds give equal requests, other seeds others."""
    make = GENERATORS[kind]

    assert make(10, 300, 1) == make(10, 300, 1)
    assert make(10, 300, 1) != make(10, 300, 2)


@each_kind
@pytest.mark.parametrize("rate", [5.0, 50.0])
def test_the_rate_holds(kind: str, rate: float) -> None:
    """Requests per second are what was asked for, but for what chance does to 6,000 of them."""
    made = [GENERATORS[kind](rate, 1500, seed).requests for seed in range(4)]

    assert [1500] * 4 == [len(each) for each in made]
    assert rate == pytest.approx(6000 / sum(each[-1].arrival_s for each in made), rel=0.15)


@each_kind
def test_requests_are_in_order_and_whole(kind: str) -> None:
    """Arrivals ascend from 0 on, numbers count, and blocks are those that the prompt fills."""
    requests = GENERATORS[kind](20, 500, 4).requests

    assert list(range(500)) == [each.number for each in requests]
    assert sorted(each.arrival_s for each in requests) == [each.arrival_s for each in requests]
    assert requests[0].arrival_s >= 0
    assert all(len(each.blocks) == each.prompt_tokens // BLOCK_TOKENS for each in requests)


@pytest.mark.parametrize(("kind", "least"), [("chat", 0.7), ("b2b", 0.5), ("agents", 0.85)])
def test_prefixes_are_shared(kind: str, least: float) -> None:
    """A cache without limits would hold at least so much of the prompts."""
    assert GENERATORS[kind](20, 2000, 5).shared > least


def test_a_conversation_grows() -> None:
    """A session's later prompt begins with its earlier one."""
    sessions: dict[int, tuple[int, ...]] = {}
    grown = 0
    for request in GENERATORS["agents"](20, 500, 6).requests:
        before = sessions.get(request.session)
        if before is not None:
            assert before == request.blocks[: len(before)]
            grown += len(request.blocks) > len(before)
        sessions[request.session] = request.blocks

    assert grown > 100
