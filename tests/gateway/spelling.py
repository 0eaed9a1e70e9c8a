"""JSON as a stranger may spell it: odd spaces, needless escapes, keys given twice."""

import random
from typing import Any

from hypothesis import strategies as st

KEYS = ("model", "stream", "user", "metadata", "Model", "mod", "", 'say "model"', "tail\\", "ä😀")
_SPACES = ("", "", "", " ", "\n\t", " \r\n")
_SHORT = {"\n": "\\n", "\t": "\\t", "\r": "\\r", "\b": "\\b", "\f": "\\f"}

texts = st.sampled_from([*KEYS, "m", '{"model":"m"}', "}", "]", "\\", '"', "a\nb", "\x00"])
scalars = st.one_of(st.none(), st.booleans(), st.integers(-9, 9), st.just(2.5e-7), texts)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


class Pen:
    """Writes JSON, each time a little differently."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)

    def value(self, value: Any) -> str:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return self.members([(key, self.value(each)) for key, each in value.items()])
        if isinstance(value, list):
            inner = ",".join(self.space() + self.value(each) + self.space() for each in value)
            return f"[{inner or self.space()}]"
        return {None: "null", True: "true", False: "false"}.get(value) or repr(value)

    def members(self, members: list[tuple[str, str]]) -> str:
        """An object from keys and values that are written already; a key may come twice."""
        inner = ",".join(
            f"{self.space()}{self.text(key)}{self.space()}:{self.space()}{value}{self.space()}"
            for key, value in members
        )
        return f"{{{inner or self.space()}}}"

    def text(self, text: str) -> str:
        escapes = self._chance.random() < 0.3
        return '"' + "".join(self._letter(letter, escapes) for letter in text) + '"'

    def space(self) -> str:
        return self._chance.choice(_SPACES)

    def _letter(self, letter: str, escapes: bool) -> str:
        if letter in '"\\':
            return "\\" + letter
        if letter in _SHORT and not escapes:
            return _SHORT[letter]
        if letter < " " or (escapes and self._chance.random() < 0.5):
            units = letter.encode("utf-16-be")
            pairs = [units[i : i + 2].hex() for i in range(0, len(units), 2)]
            return "".join("\\u" + self._chance.choice([p, p.upper()]) for p in pairs)
        return letter


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    """Data cut at these places (modulo its length)."""
    places = sorted({cut % (len(data) + 1) for cut in cuts})
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]
