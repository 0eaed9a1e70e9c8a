"""
Loads: recorded traces, and chat made up by a seed, as scripts for the client. What a trace file
says is read by the simulator's own loaders, so that both halves of the proof replay the same.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import exp, log
from pathlib import Path
from random import Random

from headrace.simulate import synthetic, trace
from headrace.simulate.trace import Request, Trace

from .fleet import Scale
from .jobs import Script, Turn

_WORD = 64  # tokens of the engine in a block of made-up text


@dataclass(frozen=True, slots=True)
class Load:
    """What a client plays, and the tokens of text that one of its named blocks has."""

    scripts: tuple[Script, ...]
    block_words: int


def recorded(path: Path, rate: float, limit: int, seed: int, scale: Scale) -> Load:
    """The first ``limit`` requests of a trace, ``rate`` times as dense as recorded."""
    return of(trace.replay(path.stem, trace.read(path, limit), rate, seed), scale)


def shared(rate: float, limit: int, seed: int, scale: Scale) -> Load:
    """Many users with long system prompts that five of them have in common."""
    return of(synthetic.shared(rate, limit, seed), scale)


def of(found: Trace, scale: Scale) -> Load:
    """A trace's requests, each as a script of one turn."""
    words = found.block_tokens // scale.tokens
    return Load(tuple(_scripts(found.requests, found.block_tokens, scale)), words)


def _scripts(requests: Iterable[Request], block: int, scale: Scale) -> Iterable[Script]:
    for request in requests:
        rest = request.prompt_tokens - block * len(request.blocks)
        turn = Turn(request.blocks, max(1, -(-rest // scale.tokens)), max(1, request.output_tokens))
        due_s = request.arrival_s / scale.speed
        yield Script(request.number, due_s, f"s{request.session}", (turn,))


def chat(users: int, span_s: float, seed: int, scale: Scale) -> Load:
    """
    Conversations that begin within ``span_s`` seconds (at the preset's scale), closed loop: a turn
    comes when the answer before it was read. One of three system prompts, the first used by most.
    """
    random = Random(f"chat/{seed}")
    systems = []
    for number, tokens in enumerate((1536, 640, 3072)):
        systems.append(tuple(1_000 * (number + 1) + n for n in range(tokens // _WORD)))
    scripts = []
    for number in range(users):
        begin_s = random.random() * span_s
        blocks = random.choices(systems, (0.7, 0.2, 0.1))[0]
        turns = []
        for _ in range(random.randint(2, 6)):
            asked, answer = _size(random, 200, 1.0, 8_000), _size(random, 220, 0.8, 1_000)
            think_s = (answer * 0.01 + random.expovariate(1 / 6)) / scale.speed
            turns.append(Turn(blocks, max(1, asked // scale.tokens), answer, think_s))
            blocks = ()
        script = Script(number, begin_s / scale.speed, f"c{number}", tuple(turns), chat=True)
        scripts.append(script)
    scripts.sort(key=lambda script: script.due_s)
    return Load(tuple(scripts), _WORD // scale.tokens)


def _size(random: Random, median: float, sigma: float, most: int) -> int:
    """Log-normal, as lengths in recorded chats are."""
    return max(8, min(most, round(exp(random.gauss(log(median), sigma)))))
