"""The price book in force: that of the configuration, or that of a file of its own."""

from pathlib import Path

from pydantic import ValidationError

from headrace.config.document import parse
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
        first = error.errors(include_url=False)[0]
        keys, lines = first["loc"], document.lines
        line = next((lines[keys[:n]] for n in range(len(keys), -1, -1) if keys[:n] in lines), 1)
        what = first["msg"].removeprefix("Value error, ")
        place = ".".join(map(str, keys)) or "the book"
        raise ConfigError(f"{file}:{line}: {place}: {what}.") from None
