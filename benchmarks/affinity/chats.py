"""The conversations and their order, made from a seed. Pure: nothing is sent from here."""

import random
from dataclasses import dataclass

from headrace.engines.sim import text

CONVERSATIONS, TURNS = 6, 5
SYSTEM_WORDS = 300  # two blocks of 128 tokens, the size that vLLM has on CPUs, and a little
ASK_WORDS = (60, 140)  # with its answer, a turn adds about one block
ANSWER_TOKENS = 16


@dataclass(frozen=True, slots=True)
class Chats:
    """One system prompt for all; what users say, by conversation and turn; who speaks when."""

    system: str
    asks: tuple[tuple[str, ...], ...]
    order: tuple[tuple[int, int], ...]
    """(conversation, turn) in the order in which they are to be sent."""

    def messages(self, conversation: int, answers: list[str]) -> list[dict[str, str]]:
        """What is sent after these answers: the whole history, and the next ask."""
        found = [{"role": "system", "content": self.system}]
        for ask, answer in zip(self.asks[conversation], answers, strict=False):
            found += [
                {"role": "user", "content": ask},
                {"role": "assistant", "content": answer},
            ]
        return [*found, {"role": "user", "content": self.asks[conversation][len(answers)]}]


def chats(seed: int) -> Chats:
    """
    Equal seeds give equal conversations; nothing is shared between different ones.

    Each round is in another order: with a fixed one and an even number of conversations, taking
    turns between two replicas would bring each back to its own, by luck.
    """
    dice = random.Random(seed)
    asks = tuple(
        tuple(
            _words(f"{seed}/{conversation}/{turn}", dice.randint(*ASK_WORDS))
            for turn in range(TURNS)
        )
        for conversation in range(CONVERSATIONS)
    )
    order: list[tuple[int, int]] = []
    for turn in range(TURNS):
        present = list(range(CONVERSATIONS))
        dice.shuffle(present)
        order += [(conversation, turn) for conversation in present]
    return Chats(_words(f"{seed}/system", SYSTEM_WORDS), asks, tuple(order))


def _words(seed: str, count: int) -> str:
    return "".join(text.answer(seed, count))
