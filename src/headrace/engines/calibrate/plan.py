"""Which questions are put to the engine, and how many tokens each has. Pure: nobody is asked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

LENGTHS = (
    16, 32, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096, 8192, 16384, 32768,
    65536,
)  # fmt: skip
BATCHES = (1, 2, 4, 8, 16, 32, 64)
SHORT = 64  # tokens of context where its length is not the question
LONG_SHARES = (0.25, 0.8)  # of the longest prompt, where it is
LONG_BATCHES = (1, 4, 8)
# Steps that are timed, after those in which the last of the sequences come in.
STEPS = 24
ENTRY = 512  # tokens that come in with a step; most engines take more
ROOM = 16  # tokens that a longest prompt leaves for its answer
LONGEST = 8192  # tokens, where the engine does not tell how long a prompt may be
# Shares of the whole time that one probe may take at most, so that each can be repeated.
PREFILL_SHARE, DECODE_SHARE = 1 / 30, 1 / 12
Probe = TypeVar("Probe")

FEWEST = 3  # prompts of different lengths, and batches, that are kept whatever they cost


@dataclass(frozen=True, slots=True)
class Decode:
    """Sequences that decode side by side, each behind a prompt of ``context`` tokens."""

    sequences: int
    context: int

    @property
    def tokens(self) -> int:
        """The length of each answer, so that all of them overlap for STEPS steps."""
        return STEPS + 2 + self.sequences * self.context // ENTRY

    @property
    def held(self) -> int:
        """Tokens in the KV cache at its end."""
        return self.sequences * (self.context + self.tokens)


@dataclass(frozen=True, slots=True)
class Room:
    """What fits: the longest prompt, and all that is in the KV cache at once."""

    prompt: int
    cache: float


def lengths(room: Room) -> list[int]:
    """Prompts, the shortest first; the last is about as long as one may be."""
    found = [length for length in LENGTHS if length <= room.prompt]
    if not found or room.prompt > 1.2 * found[-1]:
        found.append(room.prompt)
    return found


def decodes(room: Room) -> list[Decode]:
    """Batches at a short context, then longer contexts at some batches; all fit in the cache."""
    short = min(SHORT, room.prompt)
    found = [Decode(sequences, short) for sequences in BATCHES]
    for share in LONG_SHARES:
        context = round(room.prompt * share)
        if context > 2 * short:
            found += [Decode(sequences, context) for sequences in LONG_BATCHES]
    return [one for one in found if one.held <= room.cache]


def prefill_s(times: Mapping[int, float], tokens: int) -> float:
    """
    About how long a prompt takes, from those that were measured (seconds by length): never less
    than a shorter one, and in proportion beyond the longest.
    """
    if not times:
        return 0.0
    longer = [length for length in times if length >= tokens]
    if longer:
        return times[min(longer)]
    longest = max(times)
    return times[longest] * tokens / longest


def decode_s(times: Mapping[int, float], step_s: float, probe: Decode) -> float:
    """About how long a batch takes, its prompts included."""
    return probe.sequences * prefill_s(times, probe.context) + probe.tokens * step_s


def thinned(probes: Sequence[Probe]) -> list[Probe]:
    """Every second one, with the first and the last; as they are when there are few."""
    if len(probes) <= FEWEST:
        return [*probes]
    kept = [*probes[::2]]
    return kept if probes[-1] in kept else [*kept, probes[-1]]
