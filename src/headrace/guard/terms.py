"""Words and phrases of an operator's own: in any case, as whole words, whatever space is there."""

import re
from collections.abc import Sequence
from pathlib import Path

from headrace.errors import ConfigError
from headrace.guard.types import Finding

TERM = "TERM"
_ONE = re.compile(r"[A-Za-z0-9_]+")  # a word that a text that comes in pieces is never cut in


class Terms:
    """The detector (``Detector``). Findings do not tell which term it was."""

    heavy = False

    def __init__(self, words: Sequence[str], file: Path | None = None) -> None:
        """
        Look for these, and for those of a file.

        Raises:
            ConfigError: the file cannot be read, or there is no word at all.

        """
        listed = [word for word in (*words, *_lines(file)) if word.strip()]
        if not listed:
            raise ConfigError("A guard of kind terms has no words; give it some.")
        self.sentences = any(not _ONE.fullmatch(word.strip()) for word in listed)
        longest_first = sorted(listed, key=len, reverse=True)
        shown = "|".join(r"\s+".join(map(re.escape, word.split())) for word in longest_first)
        self._pattern = re.compile(rf"(?<!\w)(?:{shown})(?!\w)", re.IGNORECASE)

    def find(self, text: str) -> list[Finding]:
        """What is there, in the order of their places."""
        return [Finding(TERM, *match.span()) for match in self._pattern.finditer(text)]


def _lines(file: Path | None) -> list[str]:
    if file is None:
        return []
    try:
        return file.expanduser().read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "is not UTF-8 text"
        raise ConfigError(f"`terms.file` {file}: {why}.") from error
