"""
Personal data by patterns and checksums, with names as Presidio's entities have them. Stateless, in
time linear in the text; where a pattern alone would be wrong too often, a checksum, a table or a
word before it decides.
"""

import hashlib
import ipaddress
import re
from collections.abc import Callable, Iterator, Sequence

from headrace.errors import ConfigError
from headrace.guard.types import Finding

Find = Callable[[str], Iterator[tuple[int, int]]]

_EMAIL = re.compile(
    r"(?<![A-Za-z0-9.!#$%&'*+/?^_`{|}~-])[A-Za-z0-9.!#$%&'*+/?^_`{|}~-]++"
    r"@([A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,8})"
)
_EDGE = ".!#$%&'*/?^`{|}~"  # may stand inside an address; before one it is rather punctuation

# Payment cards have 13 to 19 digits, in one piece or in the groups that are printed on them.
_CARD = re.compile(
    r"(?<![0-9])(?:[0-9]{4}([ -]?)[0-9]{4}\1[0-9]{4}\1[0-9]{1,7}|[0-9]{4}([ -]?)[0-9]{6}\2[0-9]{5}"
    r"|[0-9]{13,19})(?![0-9])"
)
# The beginnings of Visa, Mastercard, American Express, Discover, JCB, Diners and UnionPay.
_ISSUERS = re.compile(r"4|5[1-5]|2(?:22[1-9]|2[3-9]|[3-6]|7[01]|720)|3[47]|6(?:011|4[4-9]|5|2)"
                      r"|35(?:2[89]|[3-8])|3(?:0[0-5]|[689])")  # fmt: skip

_IBAN = re.compile(
    r"(?<![A-Za-z0-9])[A-Za-z]{2}[0-9]{2}(?:[ -]?[A-Za-z0-9]{4}){2,7}(?:[ -]?[A-Za-z0-9]{1,3})?"
)
# Lengths by country: https://www.swift.com/standards/data-standards/iban-international-bank-account-number
_IBAN_LENGTHS = {
    country: int(length)
    for length, countries in {
        "15": "NO", "16": "BE BI", "18": "DK FK FI FO GL NL SD", "19": "MK SI",
        "20": "AT BA EE KZ LT LU MN XK", "21": "CH HR LI LV", "22": "BG BH CR DE GB GE IE ME RS VA",
        "23": "AE GI IL IQ OM SO TL", "24": "AD CZ ES MD PK RO SA SE SK TN VG",
        "25": "LY PT ST", "26": "IS TR", "27": "BI DJ FR GR IT MC MR SM",
        "28": "AL AZ BY CY DO GT HU LB NI PL SV", "29": "BR EG PS QA UA", "30": "JO KW MU",
        "31": "MT SC", "32": "LC", "33": "RU",
    }.items()
    for country in countries.split()
}  # fmt: skip

_PHONES = (
    re.compile(  # +49 (0)30 901820-12, 0049 30 901820
        r"(?<![\w+.])(?<![0-9][ -])(?:\+|00)[1-9][0-9]{0,2}"
        r"(?:[ ./-]?\(?[0-9]{1,5}\)?){2,6}(?![\w])",
        re.ASCII,
    ),
    re.compile(  # (212) 555-0188, 1-212-555-0188 x12
        r"(?<![\w+.-])(?:1[ .-])?(?:\([2-9][0-9]{2}\) ?|[2-9][0-9]{2}([ .-]))[2-9][0-9]{2}[ .-]"
        r"[0-9]{4}(?: ?(?:x|ext\.?) ?[0-9]{1,5})?(?![\w-])",
        re.ASCII,
    ),
    re.compile(  # 030 901820, 020 7946 0958, 01 42 68 53 00
        r"(?<![\w+.,/-])(?<![0-9][ -])\(?0[1-9][0-9]{0,4}\)?[ /-](?:[0-9]{2,8}[ -]?){1,4}(?<=[0-9]"
        r")(?![\w.,/-]{0,8}[0-9])",
        re.ASCII,
    ),
)
_PHONE_WORD = re.compile(
    r"(?i:\b(?:tel|phone|telephone|mobile|cell|cellphone|fax|whatsapp|telefon|handy|mobil"
    r"|call me (?:at|on)"
    r"|call|text me at)(?: (?:number|no"
    r"|nr))?(?: is)?[.:]{0,2} ?)(\+?[0-9(][0-9 ()./-]{5,20}[0-9])(?![\w])",
    re.ASCII,
)
PHONE_DIGITS = range(7, 16)  # E.164 has 15 at most

_SSN = re.compile(r"(?<![0-9-])(?!000|666|9)[0-9]{3}-(?!00)[0-9]{2}-(?!0000)[0-9]{4}(?![0-9-])")
_SSN_WORD = re.compile(
    r"(?i:\b(?:ssn|social security(?: number| no\.?)?)\W{0,3}(?:is )?)"
    r"((?!000|666|9)[0-9]{3} ?(?!00)[0-9]{2} ?(?!0000)[0-9]{4})(?![0-9])",
    re.ASCII,
)
_IPV4 = re.compile(r"(?<![\w.])(?:[0-9]{1,3}\.){3}[0-9]{1,3}(?![\w]|\.[0-9])", re.ASCII)
_VERSION = re.compile(r"(?i)(?:\bv|version|release|build)[ :]?$", re.ASCII)
_IPV6 = re.compile(r"(?<![\w:.])(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}(?![\w:])", re.ASCII)
_MAC = re.compile(
    r"(?<![\w:-])[0-9A-Fa-f]{2}(?:([:-])[0-9A-Fa-f]{2})(?:\1[0-9A-Fa-f]{2}){4}(?![\w:-])", re.ASCII
)
_COIN = re.compile(
    r"(?<![\w])(?:bc1[02-9ac-hj-np-z]{11,71}|0x[0-9a-fA-F]{40}"
    r"|[13][1-9A-HJ-NP-Za-km-z]{25,34})(?![\w])",
    re.ASCII,
)
_BASE58 = {letter: index for index, letter in enumerate(
    "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
)}  # fmt: skip


def _emails(text: str) -> Iterator[tuple[int, int]]:
    if "@" not in text:
        return
    for found in _EMAIL.finditer(text):
        last = found[1].rpartition(".")[2]
        start = found.end() - len(found[0].lstrip(_EDGE))
        if len(last) >= 2 and last.isalpha() and text[start] != "@":
            yield start, found.end()


def _cards(text: str) -> Iterator[tuple[int, int]]:
    for found in _CARD.finditer(text):
        digits = re.sub(r"[ -]", "", found[0])
        if len(digits) >= 13 and _ISSUERS.match(digits) and _luhn(digits):
            yield found.span()


def _luhn(digits: str) -> bool:
    """https://en.wikipedia.org/wiki/Luhn_algorithm"""
    total = 0
    for index, digit in enumerate(reversed(digits)):
        value = int(digit) << (index & 1)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def _ibans(text: str) -> Iterator[tuple[int, int]]:
    for found in _IBAN.finditer(text):
        length = _IBAN_LENGTHS.get(found[0][:2].upper())
        if length is None:
            continue
        end = _after(text, found.start(), length)
        compact = re.sub(r"[ -]", "", text[found.start() : end]).upper()
        if len(compact) == length and end <= found.end() and _mod97(compact):
            yield found.start(), end


def _after(text: str, start: int, letters: int) -> int:
    """Where so many letters and digits end; gaps between them do not count."""
    position = start
    while letters and position < len(text):
        letters -= text[position] not in " -"
        position += 1
    return position


def _mod97(compact: str) -> bool:
    """ISO 13616: moved and spelled as a number, the remainder is 1."""
    moved = compact[4:] + compact[:4]
    return int("".join(str(int(letter, 36)) for letter in moved)) % 97 == 1


def _phones(text: str) -> Iterator[tuple[int, int]]:
    for pattern in _PHONES:
        for found in pattern.finditer(text):
            if _dials(found[0]):
                yield found.span()
    for found in _PHONE_WORD.finditer(text):
        if _dials(found[1]):
            yield found.span(1)


def _dials(shown: str) -> bool:
    number = re.split(r"[xe]", shown)[0]
    least = 10 if number.startswith("00") else PHONE_DIGITS.start
    count = sum(map(str.isdigit, number))
    return count in PHONE_DIGITS and count >= least and number.count("(") == number.count(")")


def _ssns(text: str) -> Iterator[tuple[int, int]]:
    for found in _SSN.finditer(text):
        yield found.span()
    for found in _SSN_WORD.finditer(text):
        yield found.span(1)


def _addresses(text: str) -> Iterator[tuple[int, int]]:
    for found in _IPV4.finditer(text):
        before = text[max(0, found.start() - 9) : found.start()]
        if _is_address(found[0]) and not _VERSION.search(before):
            yield found.span()
    for found in _IPV6.finditer(text) if text.count(":") > 1 else ():
        if len(found[0]) > 3 and _is_address(found[0]):
            yield found.span()


def _is_address(shown: str) -> bool:
    try:
        ipaddress.ip_address(shown)
    except ValueError:
        return False
    return True


def _macs(text: str) -> Iterator[tuple[int, int]]:
    yield from (found.span() for found in _MAC.finditer(text))


def _coins(text: str) -> Iterator[tuple[int, int]]:
    for found in _COIN.finditer(text):
        if found[0].startswith(("bc1", "0x")) or _base58check(found[0]):
            yield found.span()


def _base58check(address: str) -> bool:
    """https://en.bitcoin.it/wiki/Base58Check_encoding"""
    number = 0
    for letter in address:
        number = number * 58 + _BASE58[letter]
    if number.bit_length() > 200:
        return False
    raw = number.to_bytes(25, "big")
    return hashlib.sha256(hashlib.sha256(raw[:-4]).digest()).digest()[:4] == raw[-4:]


ENTITIES: dict[str, Find] = {
    "EMAIL_ADDRESS": _emails,
    "IBAN_CODE": _ibans,
    "CREDIT_CARD": _cards,
    "US_SSN": _ssns,
    "IP_ADDRESS": _addresses,
    "MAC_ADDRESS": _macs,
    "CRYPTO": _coins,
    "PHONE_NUMBER": _phones,  # the last: others have such groups of digits in them
}
_NEEDED = re.compile(r"[0-9@]|[a-fA-F]:")  # whatever is found has one of these


class Patterns:
    """The detector (``Detector``)."""

    sentences = heavy = False

    def __init__(self, entities: Sequence[str] = ()) -> None:
        """
        Look for these, or for all.

        Raises:
            ConfigError: there is no pattern for one of them.

        """
        for name in entities:
            if name not in ENTITIES:
                known = ", ".join(ENTITIES)
                raise ConfigError(
                    f"There is no pattern for {name!r}; there are {known}. For others use"
                    " `pii.engine: presidio`."
                )
        self._finds = [
            (name, ENTITIES[name]) for name in ENTITIES if name in (entities or ENTITIES)
        ]

    def find(self, text: str) -> list[Finding]:
        """What is there, in the order of their places; of two that overlap the first entity's."""
        if _NEEDED.search(text) is None:
            return []
        found: list[Finding] = []
        for name, find in self._finds:
            found += [Finding(name, start, end) for start, end in find(text)]
        return apart(found)


def apart(found: list[Finding]) -> list[Finding]:
    """In the order of their places, less those that overlap one that was found before."""
    if len(found) < 2:
        return found
    taken = bytearray(max(each.end for each in found))  # by letter: linear, however many there are
    kept = []
    for each in found:
        if taken.find(1, each.start, each.end) < 0:
            taken[each.start : each.end] = b"\1" * (each.end - each.start)
            kept.append(each)
    return sorted(kept, key=lambda each: each.start)
