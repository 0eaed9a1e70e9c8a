"""
What can be told about a text without understanding it: length, code, maths, the shape of its
questions, its script. Pure and cheap; meaning is the embedding's, judging is classify.py's.
"""

import math
import re
from typing import NamedTuple

# A text is read this far from its beginning and its end, in characters: what is asked stands there,
# and the price of one text stays bounded.
HEAD, TAIL = 1_000, 500

_CODE = re.compile(
    r"```|\bdef \w+\(|\bclass \w+|\bimport \w+|[{};]\s*$|=>|\breturn\b|#include|\bfunction\b"
    r"|\bselect\b.+\bfrom\b|</\w+>|\b(?:python|javascript|typescript|java|rust|sql|regex)\b|\bc\+\+"
    r"|\b(?:code|program|algorithm|regular expression|compile|debug)\b",
    re.IGNORECASE | re.MULTILINE,
)
_MATHS = re.compile(
    r"\d\s*[-+*/^=<>%]\s*\d|[=^]|\\(?:frac|sqrt|sum|int)\b"
    r"|\b(?:sqrt|prove|equations?|solve|integrals?|derivatives?|percent|how many|how much|total"
    r"|average|ratio|sum|triangle|integers?|probability|probabilities)\b",
    re.IGNORECASE,
)
_REASONS = re.compile(
    r"\bstep by step\b|\bif\b.*\bthen\b|\bwhy\b|\btherefore\b|\bdeduce|\bargument\b|\blogic"
    r"|\bassum(?:e|ing)\b|\bgiven that\b|\bexplain your\b|\breason",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_OPTION = re.compile(r"^\s*\(?[A-E][).]\s?|\b[A-E]\)", re.MULTILINE)
_WORD = re.compile(r"[^\W\d_]+")
_SENTENCE = re.compile(r"[.?!](?:\s|$)")
# Letters of scripts other than Latin: Greek and Cyrillic up to Thai, then kana, Han and Hangul.
_OTHER_SCRIPT = re.compile(r"[\u0370-\u0fff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")


class Features(NamedTuple):
    """
    Numbers about one text, each about 0 to 8, and each 0 where there is nothing of it.

    Lengths and counts are logarithms (``log(1 + n)``), the others are shares of 1.
    """

    length: float
    words: float
    code: float
    maths: float
    reasons: float
    numbers: float
    digits: float
    asks: float
    ends_asking: float
    lines: float
    options: float
    symbols: float
    script: float
    sentences: float
    word_length: float


def excerpt(text: str) -> str:
    """As much of a text as is looked at: a long one's beginning and its end."""
    if len(text) <= HEAD + TAIL:
        return text
    return f"{text[:HEAD]}\n{text[-TAIL:]}"


def features(text: str) -> Features:
    """Measure a text, which should be an ``excerpt``."""
    words = _WORD.findall(text)
    letters = sum(map(len, words))
    numbers = len(_NUMBER.findall(text))
    symbols = sum(not (sign.isalnum() or sign.isspace()) for sign in text)
    return Features(
        length=math.log1p(len(text)),
        words=math.log1p(len(words)),
        code=min(5, len(_CODE.findall(text))) / 5,
        maths=min(5, len(_MATHS.findall(text))) / 5,
        reasons=min(3, len(_REASONS.findall(text))) / 3,
        numbers=math.log1p(numbers),
        digits=numbers / (len(words) + 1),
        asks=float("?" in text),
        ends_asking=float(text.rstrip().endswith("?")),
        lines=math.log1p(text.count("\n")),
        options=math.log1p(len(_OPTION.findall(text))),
        symbols=symbols / max(1, len(text)),
        script=len(_OTHER_SCRIPT.findall(text)) / max(1, letters),
        sentences=math.log1p(len(_SENTENCE.findall(text))),
        word_length=letters / (len(words) + 1),
    )
