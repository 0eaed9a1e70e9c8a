"""What both engines are asked, and when: made from a seed. Pure."""

import random
from dataclasses import dataclass

from headrace.engines.sim import text

PREFIX_TOKENS = 260  # two blocks of 128, the size that vLLM has on CPUs, and a little
PREFIXES = 2
SHARED = 0.3  # of the requests begin with one of the prefixes
# Seconds, and requests per second in them: from one at a time to a queue.
PHASES = ((12.0, 0.5), (10.0, 1.3), (3.0, 3.0), (10.0, 0.6))
# Share of the requests, and from how many to how many prompt tokens.
SIZES = ((0.5, 20, 80), (0.35, 100, 300), (0.15, 400, 900))
ANSWER = (8, 40)  # tokens


@dataclass(frozen=True, slots=True)
class Ask:
    """One request: when it is sent, in seconds from the start; its prompt without the salt."""

    at_s: float
    prompt: int  # tokens of its own
    prefix: int | None  # which prefix stands before it
    answer: int

    def text(self, number: int, salt: str) -> str:
        """The prompt. Equal salts share prefixes; nothing is shared between different ones."""
        own = "".join(text.answer(f"{salt}/{number}", self.prompt))
        if self.prefix is None:
            return own
        return "".join(text.answer(f"{salt}/prefix {self.prefix}", PREFIX_TOKENS)) + " " + own


def workload(seed: int) -> list[Ask]:
    """Some forty requests over half a minute, in an open loop."""
    dice = random.Random(seed)
    found: list[Ask] = []
    start = 0.0
    for length, rate in PHASES:
        at = start + dice.expovariate(rate)
        while at < start + length:
            found.append(_ask(at, dice))
            at += dice.expovariate(rate)
        start += length
    return found


def _ask(at: float, dice: random.Random) -> Ask:
    ((_, least, most),) = dice.choices(SIZES, [share for share, _, _ in SIZES])
    prefix = dice.randrange(PREFIXES) if dice.random() < SHARED else None
    # What has a prefix is short behind it, as questions about a document are.
    own = dice.randint(20, 80) if prefix is not None else dice.randint(least, most)
    return Ask(round(at, 4), own, prefix, dice.randint(*ANSWER))
