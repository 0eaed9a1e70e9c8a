"""How long prompts and answers are: distributions by name, and text of a wanted length."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from headrace.errors import ConfigError

FORMS = "fixed:512, uniform:128-1024, normal:512,128, lognormal:512,0.6 or exponential:512"
MOST_TOKENS = 1_000_000
# Words that tokenizers of the usual families know as one token, with the space before them.
WORDS = (
    "water",
    "river",
    "stone",
    "light",
    "house",
    "field",
    "north",
    "south",
    "summer",
    "winter",
    "paper",
    "table",
    "music",
    "story",
    "garden",
    "window",
    "morning",
    "evening",
    "village",
    "market",
    "bridge",
    "mountain",
    "island",
    "forest",
    "letter",
    "number",
    "picture",
    "machine",
    "engine",
    "system",
    "power",
    "energy",
    "history",
    "science",
    "nature",
    "people",
    "family",
    "friend",
    "question",
    "answer",
    "reason",
    "result",
    "moment",
    "minute",
    "place",
    "point",
    "party",
    "office",
    "school",
    "church",
    "street",
    "country",
    "city",
    "state",
    "world",
)


@dataclass(frozen=True, slots=True)
class Sizes:
    """A distribution of lengths in tokens, and how it was written."""

    text: str
    mean: float
    draw: Callable[[Random], int]


def sizes(text: str, option: str) -> Sizes:
    """
    A distribution as it is written: ``fixed:512``; ``uniform:LOW-HIGH``; ``normal:MEAN,DEVIATION``;
    ``lognormal:MEDIAN,SIGMA``; ``exponential:MEAN``; a bare number is fixed.

    Raises:
        ConfigError: it is none of these; the text names the option.

    """
    kind, _, rest = text.partition(":") if ":" in text else ("fixed", "", text)
    numbers = [float(part) for part in re.findall(r"\d+(?:\.\d+)?", rest)]
    wanted = {"fixed": 1, "uniform": 2, "normal": 2, "lognormal": 2, "exponential": 1}.get(kind)
    spelt = re.fullmatch(r"\d+(\.\d+)?([-,]\d+(\.\d+)?)?", rest)
    if wanted != len(numbers) or not spelt or not 1 <= numbers[0] <= MOST_TOKENS:
        raise ConfigError(f"{option}: {text} is no distribution of tokens; write {FORMS}.")
    if kind == "uniform" and numbers[1] < numbers[0]:
        raise ConfigError(f"{option}: {text} ends before it begins; write uniform:LOW-HIGH.")
    return _known(kind, text, numbers)


def _known(kind: str, text: str, numbers: list[float]) -> Sizes:
    first = numbers[0]
    if kind == "fixed":
        return Sizes(text, first, lambda _random: int(first))
    if kind == "exponential":
        return Sizes(text, first, lambda random: _whole(random.expovariate(1 / first)))
    second = numbers[1]
    if kind == "uniform":
        low, high = int(first), int(second)
        return Sizes(text, (low + high) / 2, lambda random: random.randint(low, high))
    if kind == "normal":
        return Sizes(text, first, lambda random: _whole(random.normalvariate(first, second)))
    mean = first * math.exp(second * second / 2)
    return Sizes(text, mean, lambda random: _whole(random.lognormvariate(math.log(first), second)))


def _whole(tokens: float) -> int:
    return max(1, min(MOST_TOKENS, round(tokens)))


def prose(tokens: int, random: Random) -> str:
    """Text of about so many tokens, new with each draw, so that no cache has it."""
    return " ".join(random.choices(WORDS, k=tokens))


def block(name: int, tokens: int) -> str:
    """The text of a named block of a trace: equal names give equal text, in every run."""
    return prose(tokens, Random(f"block {name}"))
