"""
Puts the questions of plan.py to an engine, round after round until the time is over.

Every prompt is new, so that no prefix cache answers for the engine; a round mixes its questions, so
that what the machine does beside it hits none of them alone. Nothing is fitted here.
"""

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Protocol

from headrace.engines.calibrate import plan
from headrace.engines.calibrate.fit import median
from headrace.engines.calibrate.plan import Decode, Room
from headrace.engines.calibrate.target import Answer, Facts, Load, Refused
from headrace.engines.sim import text
from headrace.errors import StartError

MAX_ROUNDS = 15
WARM_UP = ((64, 8), (512, 4), (64, 16))  # prompt and answer
BUNCHED = 0.6  # a median so far below the mean: most tokens waited for the client
SEGMENT = 6  # steps in one sample: a mean, so that two tokens in one packet do no harm
# Requests at once that find out how many run at the same time: vLLM's defaults are 256 and 1024.
BURSTS = (1100, 300, 140, 70, 36)
BURST_SHARE = 1 / 8  # of the whole time
BURST_TOKENS = 24
# A prompt that takes so small a share of the whole time is asked so often in a round: the shorter a
# time, the larger its share of noise.
CHEAP, CHEAP_SHARE = 3, 1 / 500
LOOKS, LEAST_PAUSE_S = 20, 0.02  # at the metrics, while a burst runs

Say = Callable[[str], None]


class Subject(Protocol):
    """Who is asked: an engine behind its address (``target.Target``)."""

    @property
    def url(self) -> str: ...

    async def load(self) -> Load | None: ...

    async def complete(self, prompt: str, tokens: int) -> Answer: ...


@dataclass(slots=True)
class Beat:
    """A batch as it was seen: samples of its step's time in ms, and the mean context of each."""

    samples: list[list[float]] = field(default_factory=list)  # by round
    contexts: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Mix:
    """A prompt that came while another sequence decoded: that one's gaps until its first token."""

    prompt_tokens: int
    context: float
    gaps_ms: tuple[float, ...]


@dataclass(slots=True)
class Survey:
    """All that was measured."""

    facts: Facts
    prefills: dict[int, list[Answer]] = field(default_factory=dict)
    beats: dict[Decode, Beat] = field(default_factory=dict)
    mixes: list[Mix] = field(default_factory=list)
    rounds: int = 0
    max_num_seqs: int | None = None
    most_at_once: int = 1
    strangers: int = 0  # requests of others that ended meanwhile
    metrics: bool = False


class Session:
    """One calibration of one engine. ``nonce`` makes its prompts other than those before."""

    def __init__(
        self,
        target: Subject,
        facts: Facts,
        say: Say,
        nonce: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._target = target
        self._clock = clock
        self._say = say
        self._nonce = nonce
        self._asked = 0
        self._words_per_token = 1.0
        self._dice = random.Random(nonce)  # noqa: S311 - an order, no secret
        self._times: dict[int, float] = {}  # seconds of a prompt, by its length
        self._took: dict[int | Decode | None, float] = {}  # seconds by question; None: the mix
        self._step_s = 0.0
        self._cheap_s = 0.0
        self.survey = Survey(facts)

    async def run(self, time_s: float) -> Survey:
        """
        Ask for about so many seconds; the first round takes place whatever it takes.

        Raises:
            StartError: the engine works for others, refuses, or breaks.

        """
        survey, began = self.survey, self._clock()
        self._cheap_s = time_s * CHEAP_SHARE
        before = await self._target.load()
        survey.metrics = before is not None
        if before is not None and before.running + before.waiting:
            raise StartError(
                f"{self._target.url} works on {before.running + before.waiting} requests of others;"
                " calibrate an engine that has nothing else to do."
            )
        try:
            await self._warm_up()
            lengths, decodes = await self._first_round(time_s)
            await self._burst(time_s)
            await self._more_rounds(began + time_s, lengths, decodes)
        except Refused as refused:
            raise StartError(f"{self._target.url} refused a probe with {refused}") from None
        after = await self._target.load()
        if before is not None and after is not None:
            survey.strangers = max(0, after.ended - before.ended - self._asked)
        return survey

    # --- rounds ----------------------------------------------------------------------------

    async def _warm_up(self) -> None:
        self._say("warm-up")
        room = self._room().prompt
        for length, tokens in WARM_UP:
            await self._ask(min(length, room), tokens)
        words = min(256, room)
        answer = await self._ask(words, 2)
        self._words_per_token *= words / answer.prompt_tokens

    async def _first_round(self, time_s: float) -> tuple[list[int], list[Decode]]:
        """Ask everything once, the cheap first, and leave out what would take too long."""
        room = self._room()
        lengths: list[int] = []
        for length in plan.lengths(room):
            expected = plan.prefill_s(self._times, length)
            if len(lengths) >= plan.FEWEST and expected > time_s * plan.PREFILL_SHARE:
                break
            if not await self._prefill(length):
                break
            lengths.append(length)
        room = Room(min(room.prompt, max(lengths, default=0)), room.cache)
        decodes: list[Decode] = []
        for probe in plan.decodes(room):
            expected = plan.decode_s(self._times, self._step_s, probe)
            if len(decodes) >= plan.FEWEST and expected > time_s * plan.DECODE_SHARE:
                continue
            if await self._decode(probe):
                decodes.append(probe)
        await self._mix(max(lengths))
        self.survey.rounds = 1
        return lengths, decodes

    async def _more_rounds(
        self, deadline: float, lengths: list[int], decodes: list[Decode]
    ) -> None:
        """As many rounds as fit; where not even two do, with fewer questions."""
        left = deadline - self._clock()
        while self._round_s(lengths, decodes) * 2 > left and (
            len(lengths) > plan.FEWEST or len(decodes) > plan.FEWEST
        ):
            lengths, decodes = plan.thinned(lengths), plan.thinned(decodes)
        while (
            self.survey.rounds < MAX_ROUNDS
            and self._clock() + self._round_s(lengths, decodes) < deadline
        ):
            await self._round(lengths, decodes)
            self.survey.rounds += 1

    async def _round(self, lengths: Sequence[int], decodes: Sequence[Decode]) -> None:
        probes: list[int | Decode] = [*lengths, *decodes]
        self._dice.shuffle(probes)
        for probe in probes:
            if isinstance(probe, Decode):
                await self._decode(probe)
            else:
                await self._prefill(probe)
        await self._mix(max(lengths))

    def _round_s(self, lengths: Sequence[int], decodes: Sequence[Decode]) -> float:
        """How long these took the last time, and a prompt beside a sequence."""
        return sum(self._took[probe] for probe in (*lengths, *decodes, None))

    def _room(self) -> Room:
        facts = self.survey.facts
        longest = (facts.max_model_len or plan.LONGEST) - plan.ROOM
        cache = facts.kv_tokens if facts.kv_tokens is not None else float("inf")
        # A tokenizer that is finer than ours must not make the longest prompt too long.
        return Room(int(min(longest * 0.95, cache * 0.9)), cache * 0.9)

    # --- probes ----------------------------------------------------------------------------

    async def _prefill(self, length: int) -> bool:
        """A prompt alone; False when the engine does not take one of this length."""
        self._say(f"round {self.survey.rounds + 1}: a prompt of {length} tokens")
        began = self._clock()
        answers: list[Answer] = []
        cheap = plan.prefill_s(self._times, length) < self._cheap_s
        for _ in range(CHEAP if cheap else 1):
            try:
                answers.append(await self._ask(length, 1))
            except Refused as refused:
                if (
                    refused.status == 400
                    and self.survey.facts.max_model_len is None
                    and self._times
                ):
                    return False
                raise
        known = self.survey.prefills.setdefault(length, [])
        known += answers
        self._took[length] = self._clock() - began
        self._times[length] = median([one.ttft_ms for one in known]) / 1000
        return True

    async def _decode(self, probe: Decode) -> bool:
        """A batch; False when its sequences were never all decoding at once."""
        self._say(
            f"round {self.survey.rounds + 1}: {probe.sequences} sequences at {probe.context} tokens"
        )
        began = self._clock()
        answers = await self._together(probe.sequences, probe.context, probe.tokens)
        self._took[probe] = self._clock() - began
        begin = max(answer.first for answer in answers)
        end = min(answer.last for answer in answers)
        samples, contexts = [], []
        for answer in answers:
            inside = [(at, count) for at, count in answer.arrivals if begin <= at <= end]
            samples += _steps_ms(inside)
            contexts += [answer.prompt_tokens + count for _, count in inside]
        if not samples:
            return False
        beat = self.survey.beats.setdefault(probe, Beat())
        beat.samples.append(samples)
        beat.contexts.append(sum(contexts) / len(contexts))
        self._step_s = max(self._step_s, median(samples) / 1000)
        self.survey.most_at_once = max(self.survey.most_at_once, probe.sequences)
        return True

    async def _mix(self, length: int) -> None:
        """A long prompt beside a sequence that decodes: its gaps tell the chunks of the prompt."""
        self._say(f"round {self.survey.rounds + 1}: a prompt of {length} beside a sequence")
        began = self._clock()
        short = min(plan.SHORT, length)
        beside = asyncio.ensure_future(self._ask(short, 16 + length // 128))
        try:
            await asyncio.sleep(plan.prefill_s(self._times, short) + 4 * self._step_s)
            late = await self._ask(length, 1)
            other = await beside
        finally:
            beside.cancel()
        self._took[None] = self._clock() - began
        if other.last < late.first or other.first > late.sent:
            return  # they did not overlap
        before = max(at for at, _ in other.arrivals if at <= late.sent)
        # Its token of the prompt's last step may come a moment after the prompt's own.
        after = min(at for at, _ in other.arrivals if at >= late.first - self._step_s / 4)
        inside = [(at, n) for at, n in other.arrivals if before <= at <= after]
        gaps = [(at - earlier) * 1000 / (n - m) for (earlier, m), (at, n) in pairwise(inside)]
        context = other.prompt_tokens + inside[0][1]
        if gaps:
            self.survey.mixes.append(Mix(late.prompt_tokens, context, tuple(gaps)))

    async def _burst(self, time_s: float) -> None:
        """How many requests run at once, where the engine's metrics show it."""
        if not self.survey.metrics or not self.survey.beats:
            return
        cache = self._room().cache
        largest = max(self.survey.beats, key=lambda probe: probe.sequences)
        step_s = median(self.survey.beats[largest].samples[0]) / 1000 / largest.sequences
        for count in BURSTS:
            expected = count * (self._times[min(self._times)] + BURST_TOKENS * step_s)
            if count * (16 + BURST_TOKENS) > cache or expected > time_s * BURST_SHARE:
                continue
            self._say(f"{count} requests at once")
            requests = asyncio.ensure_future(self._together(count, 16, BURST_TOKENS))
            try:
                await self._watch(requests, pause_s=max(expected / LOOKS, LEAST_PAUSE_S))
                await requests
            finally:
                requests.cancel()
            return

    async def _watch(self, requests: "asyncio.Future[list[Answer]]", pause_s: float) -> None:
        while not requests.done():
            await asyncio.wait({requests}, timeout=pause_s)
            load = None if requests.done() else await self._target.load()
            if load is None:
                return
            self.survey.most_at_once = max(self.survey.most_at_once, load.running)
            if load.waiting:
                self.survey.max_num_seqs = max(self.survey.max_num_seqs or 0, load.running)

    async def _together(self, count: int, length: int, tokens: int) -> list[Answer]:
        prompts = [self._prompt(length) for _ in range(count)]
        tasks = [asyncio.ensure_future(self._target.complete(one, tokens)) for one in prompts]
        try:
            return await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()

    async def _ask(self, length: int, tokens: int) -> Answer:
        return await self._target.complete(self._prompt(length), tokens)

    def _prompt(self, length: int) -> str:
        """Words that nobody has sent before, of about so many tokens."""
        self._asked += 1
        words = max(1, round(length * self._words_per_token))
        return "".join(text.answer(f"{self._nonce}/{self._asked}", words))


def _steps_ms(arrivals: Sequence[tuple[float, int]]) -> list[float]:
    """
    Mean times of a step over SEGMENT steps each, from when which token came.

    A client that was held up sees many tokens at once: then only the mean of all says something.
    """
    found: list[float] = []
    start = 0
    for place in range(1, len(arrivals)):
        steps = arrivals[place][1] - arrivals[start][1]
        if steps >= SEGMENT:
            found.append((arrivals[place][0] - arrivals[start][0]) * 1000 / steps)
            start = place
    if not found:
        return []
    (begin, first), (end, last) = arrivals[0], arrivals[-1]
    mean = (end - begin) * 1000 / (last - first)
    return found if median(found) >= BUNCHED * mean else [mean]
