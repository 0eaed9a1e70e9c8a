"""
The words of validation in ours, for wrong settings and wrong options. Which setting or option it is
stands elsewhere; so that help need not wait for it, nothing here imports a library.
"""

import re

SOFTER = (
    (re.compile(r"\bValue error, "), ""),
    (re.compile(r"\bInput should be a valid integer\b.*"), "must be a whole number"),
    (re.compile(r"\bInput should be a valid number\b.*"), "must be a number"),
    (re.compile(r"\b(?:Input|String|Value|Tuple|List|URL) should "), "must "),
    (re.compile(r"\bgreater than or equal to\b"), "at least"),
    (re.compile(r"\bless than or equal to\b"), "at most"),
    (re.compile(r"\bgreater than\b"), "more than"),
    (re.compile(r"\b1 characters?\b"), "one character"),
    (re.compile(r" after validation\b"), ""),
)


def soften(text: str) -> str:
    """What Pydantic says is wrong, as we say it."""
    for pattern, plain in SOFTER:
        text = pattern.sub(plain, text)
    return text
