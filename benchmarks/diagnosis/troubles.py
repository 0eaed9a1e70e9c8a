"""
More that breaks in a fleet, as those who run one meet it. All of it was held out once, run for
the score, and then looked at. Which names are right is scenarios.py's.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

from benchmarks.diagnosis.fleet import Node
from benchmarks.diagnosis.world import World
from headrace.simulate.trace import Request


def heat(world: World, severity: int) -> None:
    """A GPU lowers its clocks by a step whenever it is too hot."""
    node, most = _any(world), (1.7, 2.4, 4.0)[severity]

    def step() -> None:
        node.slow = min(most, node.slow + (most - 1.0) / 3)
        world.at(world.now_s + 7.0, step)

    step()


def collectives(world: World, severity: int) -> None:
    """The GPUs of one replica wait for each other: all stands still for seconds, repeatedly."""
    node, still_s = _any(world), (2.0, 3.0, 4.5)[severity]

    def stop() -> None:
        node.hung = True
        world.at(world.now_s + still_s, go)

    def go() -> None:
        node.hung = False
        if not node.engine.busy:
            world.wake(node)
        world.at(world.now_s + 4.0, stop)

    stop()


def narrow(world: World, severity: int) -> None:
    """A flag lets engines run fewer requests at once than they did (--max-num-seqs)."""
    running = sum(len(node.engine.running) for node in world.nodes) / len(world.nodes)
    for node in world.nodes:
        most = max(1, int(running * (0.6, 0.4, 0.25)[severity]))
        node.engine.preset = replace(node.engine.preset, max_num_seqs=most)


def drafts(world: World, severity: int) -> None:
    """A draft model guesses no longer what its model says: tokens come slower, prompts do not."""
    for node in world.nodes:
        node.decode_slow = (1.5, 1.9, 2.6)[severity]


def cron(world: World, severity: int) -> None:
    """A job of one tenant sends all of its requests within some seconds, at each full minute."""
    sample = _coming(world)
    count = int(len(sample) / 60 * 8 * (5, 9, 15)[severity])
    fresh = iter(range(1 << 60, 1 << 61))
    for _ in range(count):
        like = world.random.choice(sample)
        at_s = world.now_s + 20.0 + 8.0 * world.random.random()
        own = tuple(next(fresh) for _ in like.blocks)
        request = replace(like, number=world.number(), arrival_s=at_s, blocks=own)
        world.at(at_s, world.arrive, request, "tenant-3")


def insisting(world: World, severity: int) -> None:
    """Clients ask again at once when a limit has refused them."""
    world.refuse["rejected_rate"] = ((0.15, 0.3, 0.6)[severity], "")
    world.insist = (6, 10, 10)[severity]


def dated(world: World, severity: int) -> None:
    """Applications of some tenants begin their prompts with the time of day."""
    tenants = (3, 5, 7)[severity]
    fresh = iter(range(1 << 56, 1 << 57))

    def salted(request: Request) -> Request:
        if request.session % 7 >= tenants:
            return request
        return replace(request, blocks=tuple(next(fresh) for _ in request.blocks))

    world.reshape = salted


def tokenizer(world: World, severity: int) -> None:
    """Another tokenizer: the same texts are more tokens, and none of them is in a cache."""
    factor = (1.5, 1.8, 2.4)[severity]

    def other(request: Request) -> Request:
        tokens = min(100_000, int(request.prompt_tokens * factor))
        again = range(tokens // world.block_tokens)
        last = len(request.blocks) - 1
        blocks = tuple(
            hash(("other", request.blocks[min(at, last)], at)) & ((1 << 62) - 1) for at in again
        )  # fmt: skip
        return replace(request, prompt_tokens=tokens, blocks=blocks if last >= 0 else ())

    world.reshape = other


def lossy_one(world: World, severity: int) -> None:
    """A bad cable to one replica: some packets come only a second later."""
    _any(world).lossy = (0.1, 0.25, 0.5)[severity]


def pinned(world: World, severity: int) -> None:
    """A rule sends most requests to one replica, whatever it has to do."""
    world.pinned = (0.7, 0.85, 1.0)[severity]


def rack(world: World, severity: int) -> None:
    """The power of a rack fails."""
    share = (0.5, 0.75, 1.0)[severity]
    for node in world.nodes[: max(1, round(share * len(world.nodes)))]:
        world.crash(node)


def leak(world: World, severity: int) -> None:
    """Something on the same GPU takes more and more of the memory of one replica's cache."""
    node = _any(world)
    largest = max(each.prompt_tokens + each.output_tokens for each in _coming(world))
    least = largest + world.block_tokens
    node.engine.capacity = max(least, int(node.engine.used * 1.2))

    def shrink() -> None:
        engine = node.engine
        part = (0.96, 0.92, 0.85)[severity]
        engine.capacity = max(least, int(engine.capacity * part))
        world.at(world.now_s + 1.0, shrink)

    shrink()


def rollout_forgetful(world: World, severity: int) -> None:
    """New replicas were started without a prefix cache."""
    for node in world.nodes[: (1, 2, 3)[severity]]:
        world.leave(node)
        world.join(world.preset).forgetful = True


def clock_one(world: World, severity: int) -> None:
    _any(world).skew_s = (-15.0, 60.0, 3600.0)[severity]


def signing_keys(world: World, severity: int) -> None:
    """The issuer of tokens has new keys, and some of the callers have such tokens."""
    world.refuse["rejected_unauthorized"] = ((0.2, 0.5, 1.0)[severity], "")


def large_bodies(world: World, severity: int) -> None:
    world.refuse["rejected_too_large"] = ((0.4, 0.7, 1.0)[severity], "tenant-1")


def alias_removed(world: World, severity: int) -> None:
    world.refuse["rejected_model"] = ((0.5, 0.8, 1.0)[severity], "tenant-6")


def budget_spent(world: World, severity: int) -> None:
    world.refuse["rejected_budget"] = ((0.6, 0.8, 1.0)[severity], "tenant-6")


def short_answers(world: World, severity: int) -> None:
    """A default of max_tokens cuts answers off."""
    part = (0.4, 0.25, 0.1)[severity]
    world.reshape = lambda request: replace(
        request, output_tokens=max(2, int(request.output_tokens * part))
    )


def books(world: World, severity: int) -> None:
    """One tenant lets models write books."""
    factor = (6.0, 10.0, 16.0)[severity]

    def longer(request: Request) -> Request:
        if request.session % 7 != 2:
            return request
        return replace(request, output_tokens=min(8000, int(request.output_tokens * factor)))

    world.reshape = longer


def prefill_half(world: World, severity: int) -> None:
    for node in world.nodes[: len(world.nodes) // 2]:
        node.prefill_slow = (5.0, 8.0, 16.0)[severity]


def stuttering_state(world: World, severity: int) -> None:
    """The shared state stands still now and then, as while it writes a snapshot."""
    sometimes(world, 0.4, lambda on: _state_s(world, (0.2, 0.5, 1.0)[severity] if on else 0.0008))


def _state_s(world: World, seconds: float) -> None:
    world.gate_s = world.state_s = seconds


def pauses(world: World, severity: int) -> None:
    """The gateway's process stands still now and then."""

    def pause(on: object) -> None:
        world.late_s = (0.15, 0.4, 1.0)[severity] if on else 0.0

    sometimes(world, 0.5, pause)


def other_service(world: World, severity: int) -> None:
    """An address belongs to something else now, which is well, and knows no models."""
    for node in world.nodes[: (1, 2, 3)[severity]]:
        node.errors = 1.0


def lossy_all(world: World, severity: int) -> None:
    for node in world.nodes:
        node.lossy = (0.08, 0.2, 0.4)[severity]


def two_stuck(world: World, _severity: int) -> None:
    """Two replicas hang, one some seconds after the other."""
    first, second = world.random.sample(world.nodes, 2)
    first.hung = True

    def hang() -> None:
        second.hung = True

    world.at(world.now_s + 12.0, hang)


def decode_one(world: World, severity: int) -> None:
    """Decoding alone is slow at one replica: its draft model was not loaded."""
    _any(world).decode_slow = (1.8, 2.5, 4.0)[severity]


def growth(world: World, severity: int) -> None:
    """More and more is asked for, by everybody."""
    sample, random = _coming(world), world.random
    rate = len(sample) / 60.0
    fresh = iter(range(1 << 59, 1 << 60))
    at_s = begin_s = world.now_s
    while (at_s := at_s + random.expovariate(rate * (2.5, 4.0, 6.0)[severity])) < begin_s + 65.0:
        if random.random() > (at_s - begin_s) / 40.0:
            continue
        like = random.choice(sample)
        begun = like.blocks[: len(like.blocks) // 3]
        own = tuple(next(fresh) for _ in range(len(like.blocks) - len(begun)))
        request = replace(like, number=world.number(), arrival_s=at_s, blocks=(*begun, *own))
        world.at(at_s, world.arrive, request, f"tenant-{random.randrange(7)}")


def sometimes(world: World, share: float, turn: Callable[[bool], None]) -> None:
    """Every two seconds it is on or off, by chance."""

    def again() -> None:
        turn(world.random.random() < share)
        world.at(world.now_s + 2.0, again)

    again()


# --- below --------------------------------------------------------------------------------------


def _any(world: World) -> Node:
    return world.nodes[world.random.randrange(len(world.nodes))]


def _coming(world: World) -> list[Request]:
    """Requests that are still to come."""
    return [*_requests(world)]


def _requests(world: World) -> Iterator[Request]:
    for _, _, call, args in world.events:
        if call == world.arrive:
            yield args[0]
