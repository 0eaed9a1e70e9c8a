"""
Requests made up by a seed: chat with a hot system prompt, documents asked by many, agents whose
context grows. Recorded ones are in ``trace``.

All arrivals are open loop: a turn comes when its think time is over, however slow the answer before
it was. Sizes are log-normal, as lengths of prompts in recorded traces are.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from math import exp, log
from random import Random

from headrace.simulate.trace import Request, Trace

BLOCK_TOKENS = 64  # small prompts share parts that Mooncake's 512 would not see
# Courses begin so long before the first request that counts: half-way through is the normal case.
LEAD_S = 300.0


@dataclass(frozen=True, slots=True)
class Turn:
    """A request before it has a number."""

    arrival_s: float
    prompt_tokens: int
    output_tokens: int
    blocks: tuple[int, ...]
    session: int


class Text:
    """Tokens as names of blocks: what is asked for twice has equal names, what is new has new."""

    def __init__(self) -> None:
        self._fresh = count(1)
        self.blocks: list[int] = []
        self.tokens = 0

    def fork(self) -> "Text":
        """A text that begins like this one; both go on with names of their own."""
        other = Text()
        other._fresh = self._fresh
        other.blocks, other.tokens = [*self.blocks], self.tokens
        return other

    def grow(self, tokens: int) -> None:
        """Append tokens that nobody else has."""
        self.tokens += tokens
        while len(self.blocks) < self.tokens // BLOCK_TOKENS:
            self.blocks.append(next(self._fresh))


def chat(rate: float, requests: int, seed: int) -> Trace:
    """
    Conversations of 1 to 12 turns with one of three system prompts, the first used by most.

    ``rate`` is requests per second on average.
    """
    random = Random(seed)
    root = Text()
    prompts = [root.fork() for _ in range(3)]
    for prompt, tokens in zip(prompts, (1500, 600, 3000), strict=True):
        prompt.grow(tokens)

    def conversation(begin_s: float, session: int) -> Iterator[Turn]:
        text = random.choices(prompts, (0.7, 0.2, 0.1))[0].fork()
        now_s = begin_s
        for _ in range(random.randint(1, 12)):
            text.grow(_size(random, 120, 1.0, 8000))
            answer = _size(random, 220, 0.8, 2000)
            yield Turn(now_s, text.tokens, answer, tuple(text.blocks), session)
            text.grow(answer)
            # The answer has to be read, and the next question to be written.
            now_s += answer * 0.03 + random.expovariate(1 / 20)

    return _mix("chat", conversation, rate / 6.5, requests, random)


def shared(rate: float, requests: int, seed: int) -> Trace:
    """
    150 groups of five users share a system prompt of 6,000 tokens; questions of 1,200 tokens,
    answers of 1,000. The sizes are those of llm-d's "b2b-saas" workload:
    https://github.com/llm-d/llm-d-benchmark
    """
    random = Random(seed)
    root = Text()
    groups = [root.fork() for _ in range(150)]
    for group in groups:
        group.grow(6000)

    def question(begin_s: float, _: int) -> Iterator[Turn]:
        user = random.randrange(750)
        text = groups[user // 5].fork()
        text.grow(1200)
        yield Turn(begin_s, text.tokens, 1000, tuple(text.blocks), user)

    return _mix("b2b", question, rate, requests, random)


def agents(rate: float, requests: int, seed: int) -> Trace:
    """
    Loops of 5 to 30 steps: the whole context comes again with what a tool returned, a few hundred
    to some thousand tokens, within a second or two of the last short answer.
    """
    random = Random(seed)
    root = Text()
    tools = root.fork()
    tools.grow(4000)

    def loop(begin_s: float, session: int) -> Iterator[Turn]:
        text = tools.fork()
        text.grow(_size(random, 800, 0.8, 8000))
        now_s = begin_s
        for _ in range(random.randint(5, 30)):
            answer = _size(random, 90, 0.7, 1000)
            yield Turn(now_s, text.tokens, answer, tuple(text.blocks), session)
            text.grow(answer + _size(random, 700, 1.1, 12_000))
            now_s += answer * 0.03 + random.expovariate(1 / 1.5)

    return _mix("agents", loop, rate / 17.5, requests, random)


GENERATORS: dict[str, Callable[[float, int, int], Trace]] = {
    "chat": chat,
    "b2b": shared,
    "agents": agents,
}


# --- below -------------------------------------------------------------------------------------


def _size(random: Random, median: float, sigma: float, most: int) -> int:
    return min(most, max(1, round(exp(random.gauss(log(median), sigma)))))


def _mix(
    name: str,
    course: Callable[[float, int], Iterator[Turn]],
    rate: float,
    requests: int,
    random: Random,
) -> Trace:
    """
    Courses begin at ``rate`` per second (Poisson) until there are enough requests.

    What would arrive after the last course began is left out: the rate would fade there.
    """
    turns: list[Turn] = []
    begin_s = -LEAD_S
    for session in count():
        begin_s += random.expovariate(rate)
        turns.extend(turn for turn in course(begin_s, session) if turn.arrival_s >= 0)
        if session % 64 == 0 and len(turns) >= requests:
            turns.sort(key=lambda turn: turn.arrival_s)
            if turns[requests - 1].arrival_s <= begin_s:
                break
    return Trace(
        name,
        BLOCK_TOKENS,
        tuple(
            Request(
                number, turn.arrival_s, turn.prompt_tokens, turn.output_tokens, turn.blocks,
                turn.session,
            )
            for number, turn in enumerate(turns[:requests])
        ),
    )  # fmt: skip
