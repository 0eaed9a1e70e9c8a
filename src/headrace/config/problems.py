"""What validation found, as sentences for people: where, what is wrong, and what would be right."""

import re
from collections.abc import Sequence
from difflib import get_close_matches

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from headrace.config.draft import Draft, Origin, Problem
from headrace.config.fields import (
    Keys,
    describe,
    dotted,
    find,
    is_secret,
    is_section,
    sections,
    variable,
)
from headrace.config.words import soften

SHOWN_LENGTH = 60  # of a wrong value; enough to find it
MISTYPED = 0.75  # so alike (difflib's ratio) are a word and the same word with a slip
MASK = "********"

# Pydantic's kinds of error and our words; its own words stand for all others.
WORDS = {
    "int_": "must be a whole number",
    "float_": "must be a number",
    "finite_number": "must be a number",
    "bool_": "must be true or false",
    "string_type": "must be text",
    "path_": "must be a path",
    "model_": "must be a mapping (`key: value` lines)",
    "dict_": "must be a mapping (`key: value` lines)",
    "tuple_": "must be a list (each entry with `- ` before it, or [a, b])",
    "list_": "must be a list (each entry with `- ` before it, or [a, b])",
    "frozen_set_": "must be a list (each entry with `- ` before it, or [a, b])",
}
CREDENTIALS = re.compile(r"//[^/@\s]*@")


def explain(error: ValidationError, draft: Draft) -> list[Problem]:
    """
    One problem for each error, except where the draft has a problem with the same value, or where
    an error only follows from others.
    """
    return [
        _explain(details, draft)
        for details in error.errors(include_url=False)
        if not _is_known(_keys(details), draft) and not _follows(details)
    ]


def _explain(details: ErrorDetails, draft: Draft) -> Problem:
    keys = _keys(details)
    origin = draft.origin(keys) or Origin("configuration")
    return Problem(origin.rank, f"{origin.place(keys)}: {_sentence(details, keys, origin, draft)}")


def _keys(details: ErrorDetails) -> Keys:
    """Pydantic's location without its marks for the key of a mapping."""
    return tuple(part for part in details["loc"] if part != "[key]")


def _is_known(keys: Keys, draft: Draft) -> bool:
    return any(keys[:length] in draft.wrong for length in range(1, len(keys) + 1))


def _follows(details: ErrorDetails) -> bool:
    """A list is too short only since its wrong entries, which are told, were not counted."""
    given = details["input"]
    if details["type"] != "too_short" or not isinstance(given, list | tuple):
        return False
    return bool(len(given) >= details["ctx"]["min_length"])


def _sentence(details: ErrorDetails, keys: Keys, origin: Origin, draft: Draft) -> str:
    if details["type"] == "missing":
        return f"is required: {describe(keys) or 'the setting has no default'}"
    if details["type"] == "extra_forbidden":
        return _unknown(keys, origin)
    words = _words(details)
    return f"{_shown(details, keys, draft)} {words}" if words.startswith("must ") else words


def _words(details: ErrorDetails) -> str:
    for kind, words in WORDS.items():
        if details["type"].startswith(kind):
            return words
    return soften(details["msg"])


def _shown(details: ErrorDetails, keys: Keys, draft: Draft) -> str:
    """The wrong value as the person wrote it, if it may be shown at all."""
    value = draft.written.get(keys, details["input"])
    if isinstance(value, dict):
        return "a mapping" if value else "an empty mapping"
    if isinstance(value, list | tuple):
        return "a list" if value else "an empty list"
    if value is None:
        return "an empty value"
    if is_secret(keys):
        return f"'{MASK}'"
    text = CREDENTIALS.sub(f"//{MASK}@", str(value))
    text = text if len(text) <= SHOWN_LENGTH else text[:SHOWN_LENGTH] + "…"
    return text if re.fullmatch(r"-?\d+(\.\d+)?", text) else repr(text)


def _unknown(keys: Keys, origin: Origin) -> str:
    """An unknown key: what was meant, if one can tell, and what is known there."""
    section = find(keys[:-1])
    known = list(section.model_fields) if is_section(section) else []
    where = dotted(keys[:-1]) or "the top level"
    allowed = f"{where} has {', '.join(sorted(known))}"
    meant = _meant(keys, known)
    if not meant:
        return f"there is no such setting; {allowed}"
    beside = meant[:-1] == keys[:-1]
    name = _name(meant, str(meant[-1]) if beside else dotted(meant), origin)
    return f"there is no such setting; did you mean {name}? ({allowed})"


def _meant(keys: Keys, known: Sequence[str]) -> Keys:
    """
    One beside it that is written much alike, else one of this very name in another section, else
    one beside it that is somewhat alike. Within a section a name that several others have, such as
    ``enabled``, points nowhere.
    """
    key = str(keys[-1])
    word = key.lower().replace("-", "_")
    if mistyped := get_close_matches(word, known, n=1, cutoff=MISTYPED):
        return (*keys[:-1], mistyped[0])
    elsewhere = [place for place, other in sections() if key in other.model_fields]
    if len(elsewhere) == 1 or (elsewhere and len(keys) == 1):
        return (*elsewhere[0], key)
    if alike := get_close_matches(word, known, n=1):
        return (*keys[:-1], alike[0])
    return ()


def _name(keys: Keys, name: str, origin: Origin) -> str:
    """A setting in the words of the source that the person wrote."""
    return variable(keys) if origin.names is not None else f"`{name}`"
