"""
How large a regular expression or a grammar is once its counted repeats are written out, and whether
it is one at all. It is read once, never run; what may be how large is forms.py's.
"""

import re
from typing import NamedTuple

MANY = 10**9  # what a count of more digits is taken for

_TOKEN = re.compile(
    r"""
    (?P<escape>\\(?:[pPxu]\{[^}]{0,64}\}|k<[^>]{0,64}>|.)?)
    |(?P<set>\[\^?\]?(?:[^\]\\]++|\\.)*+\])
    |(?P<open>\((?:\?(?:(?P<look><?[=!])|P?<\w{1,64}>|[aiLmsux-]*+:|>)?)?)
    |(?P<close>\))
    |(?P<count>(?:\{(?=\d|,\d)(?P<low>\d*+)(?P<to>,(?P<high>\d*+))?\})[?+]?)
    |(?P<repeat>[*+?][?+]?)
    |(?P<edge>[|^$])
    |(?P<atom>[^\\\[\](){}*+?|^$]++|.)
    """,
    re.VERBOSE | re.DOTALL,
)
# Of grammars: what stands in quotes, comments and character sets has no brackets of its own.
_QUIET = re.compile(
    r'"(?:[^"\\\n]++|\\.)*+"|\'(?:[^\'\\\n]++|\\.)*+\'|\[(?:[^\]\\\n]++|\\.)*+\]|(?:\#|//)[^\n]*+'
)
_LARK = re.compile(r"~\s{0,8}(\d{1,20})(?:\s{0,8}\.\.\s{0,8}(\d{1,20}))?")


class Malformed(ValueError):
    """It is no regular expression; the text is half a sentence that says why."""


class _Group(NamedTuple):
    """A group that is open: what came before it, and whether it only looks ahead or back."""

    size: int
    looks: bool


def states(pattern: str, depth: int) -> int:
    """
    The size of a regular expression: one for each character, set or group that it has with every
    counted repeat written out.

    Raises:
        Malformed: it is none, or its groups are nested deeper than ``depth``.

    """
    return _read(pattern, depth, strict=True)


def rules(grammar: str, depth: int) -> int:
    """
    The same for a grammar (EBNF, GBNF, Lark), whose own rules nobody checks here.

    Raises:
        Malformed: its groups are nested deeper than ``depth``.

    """
    plain = _LARK.sub(r"{\1,\2}", _QUIET.sub("x", grammar)).replace(",}", "}")
    return _read(plain, depth, strict=False)


def _read(text: str, depth: int, *, strict: bool) -> int:
    groups = list[_Group]()
    size, last = 0, 0  # of this group so far; of its latest part, if that can be repeated
    for found in _TOKEN.finditer(text):
        kind = found.lastgroup if found.lastgroup not in {"look", "low", "to", "high"} else None
        kind = kind or ("open" if found["open"] is not None else "count")
        if kind == "open":
            groups.append(_Group(size, found["look"] is not None))
            size = last = 0
            if len(groups) > depth:
                raise Malformed(f"has groups nested more than {depth} deep")
        elif kind == "close":
            size, last = _closed(groups, size, strict=strict)
        elif kind in {"repeat", "count"}:
            if strict and not last:
                raise Malformed("repeats nothing somewhere")
            size += last * (_times(found) - 1) if kind == "count" else 0
            last = 0 if strict else last
        elif kind == "edge":
            last = 0
        else:
            if strict and found[0] in {"[", "\\"}:
                raise Malformed("has a set or an escape without an end")
            size, last = size + (len(found[0]) if kind == "atom" else 1), 1
        size = min(size, MANY)
    if groups and strict:
        raise Malformed("has a group that is not closed")
    return size + sum(group.size for group in groups)


def _closed(groups: list[_Group], size: int, *, strict: bool) -> tuple[int, int]:
    """The size with the group that ends here, and what of that could be repeated."""
    if not groups:
        if strict:
            raise Malformed("closes a group that is not open")
        return size, size
    group = groups.pop()
    whole = size + 1
    return group.size + whole, 0 if group.looks else whole


def _times(found: "re.Match[str]") -> int:
    """
    How often a counted repeat has to be written out.

    Raises:
        Malformed: it counts down.

    """
    low, high = (int(each) if len(each or "") < 10 else MANY for each in _ends(found))
    if found["high"] and high < low:
        raise Malformed("has a repeat that counts down")
    return max(1, low, high)


def _ends(found: "re.Match[str]") -> tuple[str, str]:
    return found["low"] or "0", found["high"] or found["low"] or "0"
