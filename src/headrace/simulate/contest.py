"""
Several policies on the same requests and the same fleet, at several rates and seeds: which runs
there are, and one of them. What they found is put together in ``report``.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from headrace.errors import ConfigError
from headrace.simulate import ours
from headrace.simulate.gateways import Gateways
from headrace.simulate.policy import Policy
from headrace.simulate.report import Figures, Spread, gather, measure
from headrace.simulate.rivals import RIVALS
from headrace.simulate.synthetic import GENERATORS
from headrace.simulate.trace import Row, Trace, hushed, read, replay
from headrace.simulate.world import Fleet, World

OURS = "headrace:"  # before the names of our own policies: rivals have some of the same
REQUESTS = 5000  # that a generator makes when nobody says


@dataclass(frozen=True, slots=True)
class Source:
    """
    Where requests come from: a file's rows, or (None) the generator of that name. A part of them,
    ``quiet`` (0 to 1), are not streamed.
    """

    name: str
    rows: tuple[Row, ...] | None
    requests: int
    quiet: float = 0.0

    def trace(self, rate: float, seed: int) -> Trace:
        """The requests; ``rate`` is how much faster than recorded, or requests per second."""
        if self.rows is None:
            found = GENERATORS[self.name](rate, self.requests, seed)
        else:
            found = replay(self.name, self.rows, rate, seed)
        return hushed(found, self.quiet, seed) if self.quiet else found


@dataclass(frozen=True, slots=True)
class Run:
    """
    One run: who, how fast, and the seed of arrivals and of chance; ``gateways`` of them, which tell
    each other what they did every ``share_s`` (0: never).
    """

    policy: str
    rate: float
    seed: int
    gateways: int = 1
    share_s: float = 0.0

    @property
    def name(self) -> str:
        """What it is called in tables."""
        if self.gateways == 1:
            return self.policy
        alone = "" if self.share_s or not self.policy.startswith(OURS) else ", alone"
        return f"{self.policy} x {self.gateways}{alone}"


def source(name: str, requests: int | None, max_tokens: int | None, quiet: float = 0.0) -> Source:
    """
    A generator's name or a file; the first ``requests`` of it, without those of more than
    ``max_tokens`` (prompt and answer). A part of them, ``quiet``, are not streamed.

    Raises:
        ConfigError: it is neither, or nothing is left.

    """
    if name in GENERATORS:
        if max_tokens is not None:
            raise ConfigError(
                f"--max-tokens is for recorded traces; {name!r} makes up requests of its own."
            )
        return Source(name, None, requests or REQUESTS, quiet)
    path = Path(name).expanduser()
    if not path.exists():
        raise ConfigError(
            f"--trace: there is no file {name!r}, and no generator of that name; generators are"
            f" {', '.join(GENERATORS)}."
        )
    rows = read(path, requests)
    if max_tokens is not None:
        rows = [row for row in rows if row.prompt_tokens + row.output_tokens <= max_tokens]
        if not rows:
            raise ConfigError(f"--max-tokens {max_tokens} leaves no request of {name}.")
    return Source(path.name, tuple(rows), len(rows), quiet)


def policies(own: Iterable[str], rivals: Iterable[str]) -> list[str]:
    """
    The policies of a contest: ours by ``lowest_cost`` or ``lowest_cost:fair``, rivals by name or
    all of them by ``all``.

    Raises:
        ConfigError: there is none of that name.

    """
    found = []
    for name in own:
        if name not in ours.names():
            raise ConfigError(f"--policy: {name!r} is unknown; use {', '.join(ours.names())}.")
        found.append(f"{OURS}{name}")
    for name in rivals:
        if name == "all":
            found += RIVALS
        elif name in RIVALS:
            found.append(name)
        else:
            raise ConfigError(f"--compare: {name!r} is unknown; use all, {', '.join(RIVALS)}.")
    return [*dict.fromkeys(found)]


def router(run: Run) -> Policy:
    """Who decides in a run."""
    if run.gateways == 1:
        return policy(run.policy)
    return Gateways([policy(run.policy) for _ in range(run.gateways)], run.share_s)


def policy(name: str) -> Policy:
    """The policy of that name, new."""
    if name.startswith(OURS):
        return ours.named(name.removeprefix(OURS))
    return RIVALS[name]()


def play(run: Run, requests: Source, fleet: Fleet) -> Figures:
    """
    The figures of one run.

    Raises:
        ConfigError: a request does not fit into a replica, or no replica would be left.

    """
    trace = requests.trace(run.rate, run.seed)
    return measure(World(trace, fleet, router(run), run.seed).run())


def runs(
    names: Sequence[str],
    rates: Sequence[float],
    seeds: int,
    gateways: Sequence[int] = (1,),
    share_s: float = 0.0,
) -> list[Run]:
    """
    All runs of a contest; the seeds of one policy stand together. Several gateways of ours that
    tell each other what they do have the same without that beside them.
    """
    found = []
    for rate, name, number in product(rates, names, gateways):
        talks = share_s > 0 and number > 1 and name.startswith(OURS)
        for each in (0.0, share_s) if talks else (0.0,):
            found += [Run(name, rate, seed, number, each) for seed in range(1, seeds + 1)]
    return found


Results = dict[float, dict[str, Mapping[str, Spread | None]]]


def results(found: Mapping[Run, Figures]) -> Results:
    """By rate and policy, in the order of the runs: each figure over the seeds."""
    table: dict[float, dict[str, list[Figures]]] = {}
    for run, figures in found.items():
        table.setdefault(run.rate, {}).setdefault(run.name, []).append(figures)
    return {
        rate: {name: gather(each) for name, each in by_policy.items()}
        for rate, by_policy in table.items()
    }


def sequential(
    wanted: Sequence[Run], requests: Source, fleet: Fleet, done: Callable[[Run], None]
) -> dict[Run, Figures]:
    """All runs, one after the other; ``done`` is called after each."""
    found = {}
    for run in wanted:
        found[run] = play(run, requests, fleet)
        done(run)
    return found
