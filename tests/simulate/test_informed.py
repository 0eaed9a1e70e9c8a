"""Other routers with KV events: they see the caches, and each weighs them as its paper says."""

import pytest

from headrace.simulate.engine import Engine, Job
from headrace.simulate.informed import Blocks, Informed, Product, Sticky
from tests.simulate.fleets import BLOCK, Bench, request


def hold(engine: Engine, *blocks: int) -> None:
    """The engine has cached these."""
    engine.idle.update(dict.fromkeys(blocks))


@pytest.mark.parametrize("policy", [Product, Sticky, Blocks])
def test_the_cache_attracts(policy: type[Informed]) -> None:
    """An idle replica with the prefix wins over idle ones without."""
    bench = Bench(policy())
    hold(bench.fleet[2], 1, 2)

    assert 2 == bench.send([1, 2])


@pytest.mark.parametrize("policy", [Product, Sticky, Blocks])
def test_the_books_balance(policy: type[Informed]) -> None:
    """After first and last token of everything nothing is counted any more."""
    bench = Bench(policy())
    jobs = [bench.sent([1, 2, number % 3 + 5], 1700) for number in range(30)]

    for job in jobs:
        bench.policy.first(job, 1.0)
    for job in jobs:
        bench.policy.ended(job, 2.0)

    counted = [bench.policy.inflight, bench.policy.prefill]
    if isinstance(bench.policy, Blocks):
        counted.append(bench.policy._tokens)
        assert {0: {}, 1: {}, 2: {}} == bench.policy._active
    assert [{0: 0, 1: 0, 2: 0}] * len(counted) == counted


def test_what_is_on_its_way_counts_as_cached() -> None:
    """Prompts that were sent but not computed yet are found; others are not."""
    bench = Bench(Product())
    job = bench.sent([1, 2])

    assert 2 * BLOCK == bench.policy.hit(Job(request(9, 0, 1100, 1, [1, 2])), job.replica)
    bench.policy.first(job, 1.0)
    assert 0 == bench.policy.hit(Job(request(9, 0, 1100, 1, [1, 2])), job.replica)


def test_the_last_token_is_never_cached() -> None:
    """A prompt that is cached as a whole still has a token to compute."""
    bench = Bench(Product())
    hold(bench.fleet[0], 1, 2)

    assert 2 * BLOCK - 1 == bench.policy.hit(Job(request(9, 0, 2 * BLOCK, 1, [1, 2])), 0)


def test_the_product_flees_a_crowd() -> None:
    """Ten requests in flight make eleven times the tokens: an idle stranger is cheaper."""
    bench = Bench(Product(), 2)
    hold(bench.fleet[0], 1, 2)
    bench.policy.inflight.update({0: 20})

    assert 1 == bench.send([1, 2])


def test_sticky_stays_until_18_s() -> None:
    """A holder keeps its own until it is 18 s later than the others."""
    bench = Bench(Sticky(), 2)
    hold(bench.fleet[0], 1, 2)
    pace = 8192 / bench.fleet[0].preset.cost.iteration_ms(((0, 8192),), ())

    bench.policy.prefill[0] = int(17_900 * pace)
    assert 0 == bench.send([1, 2])
    bench.policy.prefill[0] = int(18_100 * pace)
    assert 1 == bench.send([1, 2])


def test_sticky_ignores_a_part() -> None:
    """Less than 80 % of the prompt is no reason to stay."""
    bench = Bench(Sticky(), 2)
    hold(bench.fleet[0], 1)
    bench.policy.prefill[0] = 600

    assert 1 == bench.send([1, 2])


def test_blocks_count_what_decodes() -> None:
    """Active contexts repel as prompts do, each shared block once."""
    bench = Bench(Blocks(), 2)
    hold(bench.fleet[0], 1, 2)
    for _ in range(3):
        bench.policy.first(bench.sent([1, 2], 1024), 1.0)

    assert {0: 1024, 1: 0} == bench.policy._tokens
