"""The price book in force: that of the configuration, or that of a file of its own."""

from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from headrace.config.document import parse
from headrace.config.fields import Keys
from headrace.config.metering import Metering
from headrace.config.prices import Prices
from headrace.errors import ConfigError


def prices(config: Metering) -> Prices:
    """
    The price book in force.

    Raises:
        ConfigError: its file cannot be read, or is wrong; the text names the line.

    """
    return config.prices if config.prices_file is None else _read(config.prices_file)


def _read(file: Path) -> Prices:
    try:
        text = file.expanduser().read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "is not UTF-8 text"
        raise ConfigError(f"metering.prices_file {file}: {why}.") from error
    document = parse(text, str(file))
    if document.problems:
        raise ConfigError("\n".join(problem for _, problem in document.problems))
    try:
        return Prices.model_validate(document.value or {})
    except ValidationError as error:
        problems = error.errors(include_url=False)
        told = [_sentence(file, document.lines, each["loc"], each["msg"]) for each in problems]
        raise ConfigError("\n".join(told)) from None


def _sentence(file: Path, lines: Mapping[Keys, int], keys: Keys, message: str) -> str:
    """One problem, with the line of the place or of what it stands in."""
    line = next((lines[keys[:n]] for n in range(len(keys), -1, -1) if keys[:n] in lines), 1)
    place = ".".join(map(str, keys)) or "the book"
    return f"{file}:{line}: {place}: {message.removeprefix('Value error, ')}."
