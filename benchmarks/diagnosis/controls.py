"""
Fleets in which nothing is wrong: what is said of them is a false alarm. The first of them were used
while the table was made; those that are ``held`` were not.
"""

from collections.abc import Callable
from dataclasses import replace
from math import pi, sin
from random import Random
from typing import NamedTuple

from benchmarks.diagnosis.scenarios import END_S, ONSET_S, Shape
from benchmarks.diagnosis.world import World
from headrace.simulate.trace import Request


class Control(NamedTuple):
    """Something that happens and is fine."""

    name: str
    shape: Shape | None = None
    happen: Callable[[World], None] | None = None
    held: bool = False


def _wave(requests: list[Request], random: Random) -> list[Request]:
    """A day in six minutes: demand between 60 and 100 %."""
    return [
        each for each in requests
        if random.random() < 0.8 + 0.2 * sin(2 * pi * each.arrival_s / 300.0)
    ]  # fmt: skip


def _bursts(requests: list[Request], _random: Random) -> list[Request]:
    """Every half minute all requests of five seconds come within two."""
    moved = [
        replace(each, arrival_s=each.arrival_s - each.arrival_s % 30.0 % 5.0 * 0.6)
        if each.arrival_s % 30.0 < 5.0 else each
        for each in requests
    ]  # fmt: skip
    return sorted(moved, key=lambda each: each.arrival_s)


def _ramp(requests: list[Request], random: Random) -> list[Request]:
    """From half to all of the demand over the whole time."""
    return [each for each in requests if random.random() < 0.5 + 0.5 * each.arrival_s / END_S]


def _night(requests: list[Request], random: Random) -> list[Request]:
    """Nearly nobody is awake."""
    return [each for each in requests if random.random() < 0.3]


def _quiet(requests: list[Request], random: Random) -> list[Request]:
    """Two thirds of the demand: an hour at which people deploy."""
    return [each for each in requests if random.random() < 2 / 3]


def _deploy(world: World) -> None:
    """A new version that is as good as the old one, replica by replica."""
    for index in range(len(world.nodes)):
        world.at(ONSET_S - 180.0 + 40.0 * index, _swap, world, index)


def _swap(world: World, index: int) -> None:
    world.leave(world.nodes[index])
    world.join(world.preset)


def _scale_up(world: World) -> None:
    world.at(ONSET_S - 20.0, _add, world)


def _add(world: World) -> None:
    world.start(world.preset, 30.0)


def _few(requests: list[Request], random: Random) -> list[Request]:
    """Some requests in a minute."""
    return [each for each in requests if random.random() < 0.06]


def _down(requests: list[Request], random: Random) -> list[Request]:
    """From all to a third of the demand: an evening."""
    return [each for each in requests if random.random() < 1.0 - 0.67 * each.arrival_s / END_S]


def _joining(requests: list[Request], _random: Random) -> list[Request]:
    """One of the seven tenants comes only after four minutes."""
    return [each for each in requests if each.session % 7 != 6 or each.arrival_s > 240.0]


def _lunch(requests: list[Request], random: Random) -> list[Request]:
    """Demand moves by a fifth from minute to minute."""
    levels = [random.uniform(0.65, 1.0) for _ in range(int(END_S / 60) + 2)]
    return [each for each in requests if random.random() < levels[int(each.arrival_s / 60)]]


def _restart(world: World) -> None:
    """One replica is restarted, and comes back with a cold cache."""
    world.at(ONSET_S - 50.0, _swap, world, 1)


def _all_cold(world: World) -> None:
    """The fleet has just been started anew, all at once, before the first question."""
    for index in range(len(world.nodes)):
        world.at(150.0 + 8.0 * index, _swap, world, index)


def _scale_down(world: World) -> None:
    """With half of the demand, one replica is given back."""
    world.at(ONSET_S - 40.0, lambda: world.leave(world.nodes[0]))


def _noise(world: World) -> None:
    """What always happens: some errors, some refusals, some clients that leave."""
    for node in world.nodes:
        node.errors = 0.005
    world.refuse["rejected_invalid"] = (0.01, "")
    world.refuse["rejected_rate"] = (0.02, "tenant-1")
    world.patience_s, world.impatient = 0.05, 0.02


def _blip(world: World) -> None:
    """One error of one replica, once."""
    for at_s in (235.0, 262.0, 301.0, 345.0):
        world.at(at_s, _one_error, world, 1.0)
        world.at(at_s + 0.3, _one_error, world, 0.0)


def _one_error(world: World, share: float) -> None:
    world.nodes[0].errors = share


def _leaving(requests: list[Request], _random: Random) -> list[Request]:
    """The job of one of the seven tenants is done after four minutes."""
    return [each for each in requests if each.session % 7 != 4 or each.arrival_s < 240.0]


def _step(requests: list[Request], random: Random) -> list[Request]:
    """A mail went out: from four minutes on there is a fifth more to do, and room for it."""
    return [each for each in requests if each.arrival_s > 240.0 or random.random() < 0.83]


def _mixed(world: World) -> None:
    """GPUs of the fleet are not all alike: one has always been slower."""
    node = world.nodes[-1]
    node.slow = 1.5


def _phones(world: World) -> None:
    """Some clients are on slow networks, and always were."""
    world.readers, world.reading_s = 0.03, 10.0


def _probes(world: World) -> None:
    """Somebody has begun to watch: a word is asked for every second."""
    for number in range(120):
        at_s = ONSET_S - 60.0 + number
        blocks = tuple(range(1 << 48, (1 << 48) + 2))
        tokens = 2 * world.block_tokens
        request = Request(world.number(), at_s, tokens, 1, blocks, session=7 * number)
        world.at(at_s, world.arrive, request, "watchdog")


def _better(world: World) -> None:
    """A machine was replaced by a faster one."""
    world.at(ONSET_S - 50.0, _faster, world)


def _faster(world: World) -> None:
    world.leave(world.nodes[0])
    world.join(world.preset, slow=0.7)


CONTROLS = (
    Control("steady"),
    Control("a day's wave", shape=_wave),
    Control("bursts", shape=_bursts),
    Control("ramp", shape=_ramp),
    Control("deployment", shape=_quiet, happen=_deploy),
    Control("scale-up", happen=_scale_up),
    Control("night", shape=_night),
    Control("few requests", shape=_few),
    Control("a tenant joins", shape=_joining),
    Control("a restart", shape=_quiet, happen=_restart),
    Control("usual noise", happen=_noise),
    Control("evening", shape=_down),
    Control("a restless hour", shape=_lunch),
    Control("all started anew", shape=_quiet, happen=_all_cold),
    Control("scale-down", shape=_night, happen=_scale_down),
    Control("a single error", happen=_blip),
    Control("a tenant leaves", shape=_leaving),
    Control("a fifth more", shape=_step),
    Control("unequal GPUs", happen=_mixed),
    Control("slow networks", happen=_phones),
    Control("somebody watches", happen=_probes),
    Control("a faster machine", shape=_quiet, happen=_better),
)
