"""The table of prices: bundled with its date, or one's own in the same form."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from headrace.errors import ConfigError

TABLES = ("instances", "caches", "databases", "hourly", "monthly")


@dataclass(frozen=True, slots=True)
class Prices:
    """USD: ``instances``, ``caches``, ``databases`` and ``hourly`` an hour, ``monthly`` a month."""

    date: str
    region: str
    spot_share: float
    instances: Mapping[str, float]
    caches: Mapping[str, float]
    databases: Mapping[str, float]
    hourly: Mapping[str, float]
    monthly: Mapping[str, float]


def prices(file: Path | None = None) -> Prices:
    """
    The bundled table, or that of a file.

    Raises:
        ConfigError: the file cannot be read, or is no such table.

    """
    if file is None:
        return _table(files("headrace.aws").joinpath("prices.yaml").read_text(encoding="utf-8"), "")
    try:
        return _table(file.read_text(encoding="utf-8"), str(file))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--prices: {file} cannot be read: {error}.") from error


def _table(text: str, name: str) -> Prices:
    try:
        found: Any = yaml.safe_load(text)
        tables = {key: {str(k): float(v) for k, v in found[key].items()} for key in TABLES}
        return Prices(
            str(found["date"]), str(found["region"]), float(found["spot_share"]), **tables
        )
    except (yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise ConfigError(
            f"--prices: {name} is no table of prices: {error!r}; take the bundled"
            " headrace/aws/prices.yaml as the pattern."
        ) from error
