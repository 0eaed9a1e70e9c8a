"""
The short texts of rules: ranges of numbers (``">= 4000"``) and windows of time (``mon-fri
09:00-17:00 Europe/Berlin``). What a rule does with them is routing's.
"""

import math
import re
from typing import NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MIDNIGHT = 24 * 60

_COMPARED = re.compile(r"(>=|<=|>|<)\s*(\d+)")
_BETWEEN = re.compile(r"(\d+)(?:\s*-\s*(\d+))?")
_HOURS = re.compile(r"(\d{1,2}):(\d{2})-(\d{1,2}):(\d{2})")
_DAYS = re.compile(r"[a-z]{3}(?:-[a-z]{3})?(?:,[a-z]{3}(?:-[a-z]{3})?)*")

RANGE = 'must be a range such as ">= 4000", "< 200", "100-400" or "3"'
WINDOW = (
    "must be days, hours and a time zone, each of them optional:"
    " mon-fri 09:00-17:00 Europe/Berlin, or sat,sun, or 22:00-06:00 (UTC)"
)


class Window(NamedTuple):
    """
    Hours of some days, in local time of a zone; ``begin`` and ``end`` are minutes of the day.

    Where the end is not after the beginning, the window lasts into the next day and belongs to
    the day on which it begins. Days are 0 (Monday) to 6.
    """

    days: frozenset[int]
    begin: int
    end: int
    zone: str


def span(text: str) -> tuple[float, float]:
    """
    The smallest and the largest number of a range, both included.

    Raises:
        ValueError: it is no range; the message says what one looks like.

    """
    text = text.strip()
    if found := _COMPARED.fullmatch(text):
        sign, number = found[1], int(found[2])
        if sign.startswith(">"):
            return number + (sign == ">"), math.inf
        return 0, number - (sign == "<")
    found = _BETWEEN.fullmatch(text)
    if found is None:
        raise ValueError(RANGE)
    low, high = int(found[1]), int(found[2] or found[1])
    if low > high:
        raise ValueError(f"must begin with its smaller number: {high}-{low}")
    return low, high


def window(text: str) -> Window:
    """
    A window of time.

    Raises:
        ValueError: it is none; the message says what one looks like.

    """
    words = text.split()
    days, hours, zone = frozenset(range(7)), (0, MIDNIGHT), "UTC"
    if words and _DAYS.fullmatch(words[0].lower()):
        days = _days(words.pop(0).lower())
    if words and _HOURS.fullmatch(words[0]):
        hours = _hours(words.pop(0))
    if words:
        zone = words.pop(0)
    if words or not text.strip():
        raise ValueError(WINDOW)
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"{zone!r} is no time zone; {WINDOW}") from None
    return Window(days, *hours, zone)


def _days(text: str) -> frozenset[int]:
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        if first not in DAYS or (last and last not in DAYS):
            raise ValueError(f"{part!r} names no days; use {', '.join(DAYS)}, or mon-fri")
        begin = DAYS.index(first)
        count = (DAYS.index(last) - begin) % 7 if last else 0
        found.update((begin + step) % 7 for step in range(count + 1))
    return frozenset(found)


def _hours(text: str) -> tuple[int, int]:
    found = _HOURS.fullmatch(text)
    numbers = [int(part) for part in found.groups()] if found else []
    begin, end = (numbers[0] * 60 + numbers[1], numbers[2] * 60 + numbers[3])
    if begin >= MIDNIGHT or end > MIDNIGHT or numbers[1] > 59 or numbers[3] > 59:
        raise ValueError(f"{text!r} has an hour that no day has; use 00:00 to 24:00")
    return begin, end
