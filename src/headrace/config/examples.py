"""
Examples of classes: those of the configuration, of a file of their own, or those that come with
Headrace. What is learned from them is routing/classify.py's.
"""

import json
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import NamedTuple

from headrace.config.classes import Classes, check
from headrace.config.document import parse
from headrace.errors import ConfigError

FILE = "tiers.jsonl"


class Example(NamedTuple):
    """A text of a class. ``source`` is the data set that it is from; "" does not say."""

    text: str
    name: str
    source: str = ""


def examples(config: Classes) -> tuple[Example, ...]:
    """
    The texts to learn from.

    Raises:
        ConfigError: the file cannot be read, does not hold classes, or with it classes cannot be
            learned.

    """
    if config.file is None:
        return _listed(config.examples) if config.examples else shipped()
    given = dict(config.examples)
    for name, texts in _read(config.file).items():
        given[name] = (*given.get(name, ()), *texts)
    try:
        check(given, config.default)
    except ValueError as error:
        raise ConfigError(f"{config.file}: classes {error}.") from error
    return _listed(given)


def shipped() -> tuple[Example, ...]:
    """Those that come with Headrace; each row of the file names its source and its licence."""
    text = resources.files("headrace.config").joinpath(FILE).read_text(encoding="utf-8")
    rows = (json.loads(line) for line in text.splitlines())
    return tuple(Example(row["text"], row["class"], row["source"]) for row in rows)


def _read(file: Path) -> dict[str, tuple[str, ...]]:
    try:
        text = file.expanduser().read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "is not UTF-8 text"
        raise ConfigError(f"classes.file {file}: {why}.") from error
    document = parse(text, str(file))
    if document.problems:
        raise ConfigError("\n".join(problem for _, problem in document.problems))
    found = document.value
    if not isinstance(found, dict):
        raise ConfigError(f"{file}:1: must hold classes, each with a list of texts.")
    for name, texts in found.items():
        if not isinstance(texts, list) or not all(isinstance(each, str) for each in texts):
            line = document.lines.get((name,), 1)
            raise ConfigError(f"{file}:{line}: {name} must be a list of texts.")
    return {str(name): tuple(texts) for name, texts in found.items()}


def _listed(given: Mapping[str, Sequence[str]]) -> tuple[Example, ...]:
    return tuple(
        Example(text, name) for name, texts in given.items() for text in texts if text.strip()
    )
