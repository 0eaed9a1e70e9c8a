"""
Edits to the parameters of a body, as a rule wants them: spans of its bytes are replaced, all others
go on untouched. How spans are found is scan.py's.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from headrace.config.rules import Limit
from headrace.errors import BadRequest
from headrace.gateway.body.scan import Member, insert, members, spliced

# The names that the APIs have for one thing, how long an answer may be: a limit is for all of them.
LENGTHS = ("max_tokens", "max_completion_tokens", "max_output_tokens")
# Where an answer's length means anything, and the name it has there.
_LENGTH_AT = {
    "/v1/chat/completions": "max_tokens",
    "/v1/completions": "max_tokens",
    "/v1/messages": "max_tokens",
    "/v1/responses": "max_output_tokens",
}
_BLANK = b" \t\r\n"
_COMMA = re.compile(rb"[ \t\r\n]*,[ \t\r\n]*")
_PLAIN = re.compile(r"[A-Za-z0-9_-]+")
_COLON = re.compile(rb"[ \t\r\n]*:[ \t\r\n]*")


class Change(NamedTuple):
    """One parameter: a value to write, or None to take it out."""

    value: object


TAKEN_OUT = Change(None)


class Edits:
    """The edits of one rule, ready to be applied to any body."""

    def __init__(self, parameters: Mapping[str, Limit]) -> None:
        self._limits: dict[str, Limit] = {}
        self._length: Limit | None = None
        for name, limit in parameters.items():
            if name in LENGTHS:
                self._length = limit
                self._limits.update(dict.fromkeys(LENGTHS, limit))
            else:
                self._limits[name] = limit
        self._given = _decoder(tuple(self._limits))

    @property
    def of_length(self) -> bool:
        """Whether they may change how long an answer may be."""
        return self._length is not None

    def apply(self, body: bytes, endpoint: str) -> bytes:
        """
        The edited body; the same object where nothing is to be changed.

        Raises:
            BadRequest: a parameter is refused, the message says what is allowed; or the body
                cannot be decoded.

        """
        try:
            return self._apply(body, endpoint)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            reason = "a text is not UTF-8" if isinstance(error, UnicodeDecodeError) else error
            message = f"The body is not valid JSON: {reason}."
            raise BadRequest(message, code="invalid_json") from None

    def _apply(self, body: bytes, endpoint: str) -> bytes:
        given = self._quick_members(body)
        if given is None:
            given = members(body, self._limits)
        edits, limit = list[tuple[int, int, bytes]](), len(body)
        for member in reversed(given):
            value = msgspec.json.decode(body[member.start : member.end])
            change = _change(member.key, value, self._limits[member.key])
            if change is None:
                continue
            if change is TAKEN_OUT:
                edits.append((*_gap(body, member, limit), b""))
            else:
                edits.append((member.start, member.end, msgspec.json.encode(change.value)))
            limit = edits[-1][0]
        edited = spliced(body, reversed(edits)) if edits else body
        for name, value in self._absent({member.key for member in given}, endpoint).items():
            encoded = msgspec.json.encode(name) + b":" + msgspec.json.encode(value)
            edited = insert(edited, encoded)
        return edited

    def _quick_members(self, body: bytes) -> list[Member] | None:
        r"""
        What ``members`` finds, twenty times as fast; None where it cannot be told so.

        The decoder knows what is given. Where a name stands only once with a colon behind it, that
        is the place; escapes (``\u00..``) could hide another, and odd names may be spelled oddly.
        """
        if self._given is None or (b"\\" in body and b"\\u00" in body):
            return None
        decoded, found = self._given.decode(body), list[Member]()
        for index, name in enumerate(self._limits):
            raw = getattr(decoded, f"f{index}")
            if raw is msgspec.UNSET:
                continue
            places = _places(body, b'"%b"' % name.encode("ascii"))
            if len(places) != 1:
                return None
            begin, start = places[0]
            found.append(Member(name, begin, start, start + len(bytes(raw))))
        return sorted(found, key=lambda member: member.begin)

    def _absent(self, given: set[str], endpoint: str) -> dict[str, object]:
        """What the body lacks and should have."""
        wanted: dict[str, object] = {}
        for name, limit in self._limits.items():
            value = limit.set if limit.set is not None else limit.default
            if name not in LENGTHS and name not in given and value is not None:
                wanted[name] = value
        length = self._length
        name = _LENGTH_AT.get(endpoint, "")
        if length is None or not name or not given.isdisjoint(LENGTHS):
            return wanted
        value = length.set if length.set is not None else length.default
        if value is None and not length.refuse:
            value = _whole(length.max)  # else leaving it out would be the way around the limit
        return wanted if value is None else {**wanted, name: value}


def _decoder(names: tuple[str, ...]) -> "msgspec.json.Decoder[msgspec.Struct] | None":
    """Finds the raw values of these top-level members; None where a name is not a plain word."""
    if not all(_PLAIN.fullmatch(name) for name in names):
        return None
    spelled = {f"f{index}": name for index, name in enumerate(names)}
    fields = [(field, msgspec.Raw | msgspec.UnsetType, msgspec.UNSET) for field in spelled]
    return msgspec.json.Decoder(msgspec.defstruct("Given", fields, rename=spelled))


def _places(body: bytes, name: bytes) -> list[tuple[int, int]]:
    """Where a quoted name stands with a colon behind it, and where what follows begins."""
    found, start = [], body.find(name)
    while start >= 0:
        colon = _COLON.match(body, start + len(name))
        if colon is not None and body[start - 1 : start] != b"\\":
            found.append((start, colon.end()))
        start = body.find(name, start + len(name))
    return found


def _change(name: str, value: object, limit: Limit) -> Change | None:
    """What becomes of a parameter that was given; None: it stays."""
    if limit.drop:
        return TAKEN_OUT
    if limit.set is not None:
        return Change(limit.set)
    if value is None:
        default = limit.default
        if default is None and name in LENGTHS and not limit.refuse:
            default = _whole(limit.max)
        return None if default is None else Change(default)
    if limit.min is None and limit.max is None:
        if limit.refuse:
            raise BadRequest(f"The parameter `{name}` may not be set here.", param=name)
        return None
    return _clamped(name, value, limit)


def _clamped(name: str, value: object, limit: Limit) -> Change | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None  # whatever it is, the engine says what it thinks of it
    bound = None
    if limit.max is not None and value > limit.max:
        bound = limit.max
    elif limit.min is not None and value < limit.min:
        bound = limit.min
    if bound is None:
        return None
    if limit.refuse:
        sense = "most" if bound == limit.max else "least"
        raise BadRequest(f"`{name}` may be {_whole(bound)} at {sense} here.", param=name)
    return Change(_whole(bound))


def _whole(number: float | None) -> float | int | None:
    """1024, not 1024.0: engines refuse the latter where a count belongs."""
    return int(number) if number is not None and number == int(number) else number


def _gap(body: bytes, member: Member, limit: int) -> tuple[int, int]:
    """
    From where to where a member is taken out: with the comma after it, or else the one before.
    What stands from ``limit`` on is taken out or changed already.
    """
    comma = _COMMA.match(body, member.end, limit)
    if comma is not None:
        return member.begin, comma.end()
    begin = member.begin
    while body[begin - 1] in _BLANK:
        begin -= 1
    return begin - (body[begin - 1 : begin] == b","), member.end
