"""
What a model would read in a text: without letters that nobody sees, with encodings and spellings
laid open. What the result says is injection.py's to judge.

Everything here is linear in the text: it is a client's, and looked at before it is believed.
"""

import base64
import binascii
import codecs
import html
import re
import unicodedata
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

# Zero-width signs and tags, which models read and people do not see.
_UNSEEN = re.compile(r"[\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff\u00ad]")
_TAGS = re.compile(r"[\U000e0020-\U000e007e]+")
_ESCAPES = re.compile(r"\\u[0-9A-Fa-f]{4}|\\x[0-9A-Fa-f]{2}|%[0-9A-Fa-f]{2}")
_ENTITIES = re.compile(r"&#(?:\d{1,7}|[xX][0-9A-Fa-f]{1,6});")
# Letters with one and the same sign between them, and words that are spelled so.
_SPELLED = re.compile(r"(?<!\w)\w([ ._*-])(?:\w\1){2,200}\w(?!\w)")
_SPELLED_TOO = re.compile(r"(?<!\w)\w([ ._*-])(?:\w\1){0,200}\w(?!\w)")  # short ones beside it
# Letters of other alphabets that look like Latin ones, a few of each:
# https://www.unicode.org/reports/tr39/#Confusable_Detection
_ALIKE = str.maketrans(
    "\u0430\u0435\u043e\u0440\u0441\u0443\u0445\u0456\u0458\u0455\u04bb\u0501\u051b\u051d\u0432\u043a\u043c\u043d\u0442"
    "\u0410\u0415\u041e\u0420\u0421\u0423\u0425\u0406\u0408\u0405\u0412\u041a\u041c\u041d\u0422"
    "\u03b1\u03b5\u03bf\u03c1\u03c5\u03b9\u03bd\u03ba\u03c4\u0391\u0392\u0395\u0396\u0397\u0399\u039a\u039c\u039d\u039f\u03a1"
    "\u03a4\u03a5\u03a7\u0131\u0261\u0262\u026a\u0274\u0280\u029f\u1d00\u1d04\u1d07\u1d0f\u1d18\u1d1b\u1d1c",
    "aeopcyxijshdqwvkmhtAEOPCYXIJSBKMHTaeopuivktABEZHIKMNOPTYXigGINRLACEOPTU",
)
_MIXED = re.compile(r"\b(?=\w*[A-Za-z])\w*[\u0131\u0261-\u029f\u0370-\u052f\u1d00-\u1d1c]\w*")
_LEET = str.maketrans("013457@$!|", "oieastasii")
_LEET_L = str.maketrans("013457@$!|", "oleastasil")
_LEET_SIGN = re.compile(r"[013457@$!|]")
_LEET_WORD = re.compile(r"\b(?=\w*[A-Za-z])[A-Za-z@$!|]*[013457@$!|][\w@$!|]*|\b[01345]{2,8}\b")
_WORD = re.compile(r"[a-z]{2,16}")
# Words by which a text is known to be English, and an order.
_COMMON = frozenset({
    "above", "all", "and", "answer", "any", "are", "assistant", "disregard", "do", "follow",
    "for", "forget", "from", "give", "ignore", "instruction", "instructions", "is", "it", "me",
    "message", "my", "no", "not", "now", "obey", "of", "output", "password", "previous", "print",
    "prior", "prompt", "repeat", "respond", "restrictions", "reveal", "rule", "rules", "secret",
    "send", "show", "system", "tell", "that", "the", "this", "to", "user", "with", "without",
    "write", "you", "your",
})  # fmt: skip
_TURNED = frozenset(codecs.encode(word, "rot13") for word in _COMMON)
_BACKWARDS = frozenset(word[::-1] for word in _COMMON)
ENOUGH = 3  # such words, and more than the text has as it stands


class _Code(NamedTuple):
    """An encoding: what a run of it looks like, and what it says."""

    run: "re.Pattern[str]"
    decode: Callable[[str], bytes]


def _base64(run: str) -> bytes:
    return base64.b64decode(run.rstrip("=").replace("-", "+").replace("_", "/") + "==")


def _bits(run: str) -> bytes:
    return bytes(int(octet, 2) for octet in re.findall("[01]{8}", run))


def _morse(run: str) -> bytes:
    words = re.split(r"\s*/\s*|\s{2,}", run.strip())
    return " ".join(
        "".join(_MORSE.get(sign, "?") for sign in word.split()) for word in words
    ).encode()


_MORSE = {
    ".-": "a", "-...": "b", "-.-.": "c", "-..": "d", ".": "e", "..-.": "f", "--.": "g",
    "....": "h", "..": "i", ".---": "j", "-.-": "k", ".-..": "l", "--": "m", "-.": "n",
    "---": "o", ".--.": "p", "--.-": "q", ".-.": "r", "...": "s", "-": "t", "..-": "u",
    "...-": "v", ".--": "w", "-..-": "x", "-.--": "y", "--..": "z",
}  # fmt: skip
_CODES = (
    _Code(re.compile(r"(?<![\w+/-])[\w+/-]{16,4000}+={0,2}", re.ASCII), _base64),
    _Code(re.compile(r"(?<![0-9A-Fa-f])(?:[0-9A-Fa-f]{2}){12,2000}+(?![0-9A-Fa-f])"),
          bytes.fromhex),
    _Code(re.compile(r"(?<![0-9A-Fa-f])(?:[0-9A-Fa-f]{2}[ :]){11,2000}+[0-9A-Fa-f]{2}"),
          lambda run: bytes.fromhex(run.replace(":", " "))),
    _Code(re.compile(r"(?<![A-Z2-7])[A-Z2-7]{16,4000}+={0,6}(?![A-Z2-7])"),
          lambda run: base64.b32decode(run.rstrip("=") + "=" * (-len(run.rstrip("=")) % 8))),
    _Code(re.compile(r"<~[!-u\s]{8,4000}?~>"), lambda run: base64.a85decode(run, adobe=True)),
    _Code(re.compile(r"(?<!\S)[!#-&(-+\--;<-Z^-~]{20,4000}+(?!\S)"), base64.b85decode),
    _Code(re.compile(r"(?<![01])(?:[01]{8}\s?){3,2000}+"), _bits),
    _Code(re.compile(r"(?<!\S)(?:[.-]{1,4}+\s+(?:/\s+)?){8,2000}+(?:[.-]{1,4})?"), _morse),
)  # fmt: skip


def readable(text: str) -> str:
    """The text, and below it what was hidden in it; what is hidden twice, too."""
    seen, found = (text, list[str]()) if text.isascii() else _seen(text)
    found += _opened(seen)
    again = [inner for each in found for inner in _opened(each)]
    return "\n".join([seen, *found, *again])


def _seen(text: str) -> tuple[str, list[str]]:
    """What a text looks like, and what stands in it that nobody sees."""
    tags = [
        bytes(ord(each) - 0xE0000 for each in run).decode("ascii") for run in _TAGS.findall(text)
    ]
    seen = _TAGS.sub("", unicodedata.normalize("NFKC", _UNSEEN.sub("", text)))
    return _MIXED.sub(partial(_translated, _ALIKE), seen), tags


def _opened(text: str) -> list[str]:
    """What is hidden in a text."""
    found = [
        said
        for code in _CODES
        for run in code.run.finditer(text)
        if (said := _decoded(code.decode, run[0]))
    ]
    if _ESCAPES.search(text):
        found.append(_ESCAPES.sub(_unescaped, text))
    if _ENTITIES.search(text):
        found.append(html.unescape(text))
    if _SPELLED.search(text):
        found.append(_SPELLED_TOO.sub(lambda run: run[0].replace(run[1], ""), text))
    return found + _respelled(text)


def _respelled(text: str) -> list[str]:
    """A text that is English only when its letters are others, or are read from its end."""
    words = _WORD.findall(text.lower())
    enough = max(ENOUGH, 2 + sum(word in _COMMON for word in words))
    found = []
    if sum(word in _TURNED for word in words) >= enough:
        found.append(codecs.decode(text, "rot13"))
    if sum(word in _BACKWARDS for word in words) >= enough:
        found.append(text[::-1])
    if _LEET_SIGN.search(text) and _LEET_WORD.search(text):
        for table in (_LEET, _LEET_L):
            plain = _LEET_WORD.sub(partial(_translated, table), text)
            if sum(word in _COMMON for word in _WORD.findall(plain.lower())) >= enough:
                found.append(plain)
    return found


def _translated(table: dict[int, int], found: "re.Match[str]") -> str:
    return found[0].translate(table)


def _decoded(decode: Callable[[str], bytes], run: str) -> str:
    """What an encoded run says; empty where it says nothing that could be read."""
    try:
        text = " ".join(decode(run).decode("utf-8").split())
    except (binascii.Error, ValueError):
        return ""
    return text if text.isprintable() else ""


def _unescaped(found: "re.Match[str]") -> str:
    return chr(int(found[0].lstrip("\\ux%"), 16))
