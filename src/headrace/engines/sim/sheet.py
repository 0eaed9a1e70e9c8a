"""Presets in files: reading one, and the text of one. Which presets are shipped is presets.py's."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import yaml
from pydantic import ValidationError

from headrace.config.document import Document, parse
from headrace.config.fields import Keys, dotted
from headrace.config.preset import PresetSheet
from headrace.engines.sim.cost import Cost, Preset
from headrace.errors import ConfigError

SUFFIXES = (".yaml", ".yml")
WIDTH = 100  # of lines in the file
DIGITS = 4  # significant ones of a coefficient; no fit has more


def is_file(name: str) -> bool:
    """Whether a preset's name means a file."""
    return name.endswith(SUFFIXES)


def read(path: Path) -> Preset:
    """
    The preset in a file.

    Raises:
        ConfigError: it cannot be read, or is none; one line for each problem.

    """
    try:
        text = path.expanduser().read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is not UTF-8 text; save it as UTF-8") from None
    except OSError as error:
        raise ConfigError(
            f"{path}: {error.strerror or error}; `headrace engine calibrate --out` writes presets"
        ) from None
    document = parse(text, str(path))
    if document.problems:
        raise ConfigError("\n".join(problem for _, problem in document.problems))
    try:
        sheet = PresetSheet.model_validate(document.value)
    except ValidationError as error:
        raise ConfigError("\n".join(_told(error, path, document))) from None
    fields = sheet.model_dump()
    return Preset(**{**fields, "cost": Cost(**fields["cost"])})


def text(preset: Preset, remarks: Sequence[str] = ()) -> str:
    """The file of a preset, with remarks above it."""
    fields = {"name": preset.name, "source": preset.source, **asdict(preset)}
    fields["cost"] = {name: _rounded(value) for name, value in fields["cost"].items()}
    fields["request_ms"] = _rounded(preset.request_ms)
    lines = [f"# {remark}".rstrip() for remark in remarks]
    body = yaml.safe_dump(fields, sort_keys=False, allow_unicode=True, width=WIDTH)
    return "\n".join([*lines, body])


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def _told(error: ValidationError, path: Path, document: Document) -> list[str]:
    found = []
    for details in error.errors(include_url=False):
        keys: Keys = tuple(details["loc"])
        above = (keys[:length] for length in range(len(keys), -1, -1))
        line = next((document.lines[place] for place in above if place in document.lines), 1)
        words = {
            "missing": "is required",
            "extra_forbidden": "there is no such key",
            "model_type": "must hold the keys of a preset",
        }.get(details["type"], details["msg"].replace("Input should", "must", 1))
        found.append(f"{path}:{line}: {dotted(keys)}: {words}" if keys else f"{path}: {words}")
    return found
