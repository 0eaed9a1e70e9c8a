"""
The chart's schema and README, from the comments of its values.yaml. Helm enforces the schema.

A key is described by the comment above it that begins with ``# --``; ``# @schema {json}`` adds
what its default does not show. ``python -m deploy.kit.values`` writes both, and copies the
dashboards and rules of observability/ into the chart, since Helm reads no file outside it.
"""

import copy
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from deploy.kit.helm import CHART

ROOT = Path(__file__).parents[2]
KEY = re.compile(r"( *)([A-Za-z][\w-]*):(?: (.*))?")
TYPES = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array"}
COPIES = {
    ROOT / "observability" / "prometheus" / "rules": CHART / "files" / "rules",
    ROOT / "observability" / "grafana" / "dashboards": CHART / "files" / "dashboards",
    ROOT / "observability" / "dcgm": CHART / "files" / "dcgm",
    ROOT / "observability" / "collector": CHART / "files" / "collector",
    ROOT / "observability" / "prometheus": CHART / "files" / "prometheus",
    ROOT / "observability" / "alertmanager": CHART / "files" / "alertmanager",
    ROOT / "observability" / "alertmanager" / "templates": CHART / "files" / "alertmanager",
    ROOT / "observability" / "grafana" / "provisioning" / "dashboards": CHART / "files" / "grafana",
    ROOT / "observability" / "grafana" / "provisioning" / "datasources": CHART
    / "files"
    / "grafana",
    ROOT / "observability" / "loki": CHART / "files" / "loki",
    ROOT / "observability" / "tempo": CHART / "files" / "tempo",
}
SUFFIXES = {".yaml", ".json", ".csv", ".tmpl"}
# For clusters without the chart, and for one machine.
LEFT = {"dcgm/kubernetes.yaml", "collector/collector.yaml", "prometheus/prometheus.yaml"}


@dataclass(frozen=True, slots=True)
class Note:
    """What stands above a key."""

    text: str = ""
    extra: dict[str, Any] = field(default_factory=dict)


def notes(text: str) -> dict[str, Note]:
    """The comments by the path of their key: ``gateway.drain.seconds``."""
    found: dict[str, Note] = {}
    above: list[str] = []
    path: list[tuple[int, str]] = []
    for line in text.splitlines():
        if line.strip().startswith("#"):
            above.append(line.strip().removeprefix("#").strip())
            continue
        key = KEY.match(line)
        if key:
            depth = len(key[1])
            path = [(at, name) for at, name in path if at < depth] + [(depth, key[2])]
            found[".".join(name for _, name in path)] = _note(above)
        above = []
    return found


def _note(lines: list[str]) -> Note:
    begin = next((i for i, line in enumerate(lines) if line.startswith("-- ")), None)
    if begin is None:
        return Note(" ".join(line for line in lines if line and not line.startswith("@schema")))
    words = [line.removeprefix("-- ") for line in lines[begin:] if not line.startswith("@schema")]
    extra = [line.removeprefix("@schema ") for line in lines if line.startswith("@schema")]
    return Note(" ".join(words), json.loads(extra[0]) if extra else {})


def schema(text: str) -> dict[str, Any]:
    """The JSON Schema of the values: closed, so that a misspelt key is an error."""
    tree, known = yaml.safe_load(text), notes(text)
    properties = {key: _schema(value, key, known) for key, value in tree.items()}
    model = copy.deepcopy(properties["modelDefaults"])
    model["properties"]["name"] = {
        "type": "string",
        "minLength": 1,
        "maxLength": 63,
        "pattern": "^[A-Za-z0-9]([A-Za-z0-9._/-]*[A-Za-z0-9])?$",
        "description": "The name that clients use.",
    }
    model["required"] = ["name"]
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Values of the chart headrace",
        "type": "object",
        "additionalProperties": False,
        "properties": {**properties, "global": {"type": "object"}},
        "$defs": {"model": model},
    }


def _schema(value: Any, path: str, known: dict[str, Note]) -> dict[str, Any]:
    note = known[path]
    said: dict[str, Any] = {"description": note.text} if note.text else {}
    if isinstance(value, dict):
        said |= {"type": "object"}
        if "additionalProperties" not in note.extra:
            said["additionalProperties"] = False
            inner = ((key, f"{path}.{key}") for key in value)
            said["properties"] = {
                key: _schema(value[key], at, known if at in known else {**known, at: Note()})
                for key, at in inner
            }
    elif "type" not in note.extra and "enum" not in note.extra:
        said["type"] = TYPES[type(value)]
    return said | note.extra


def rows(text: str) -> Iterator[tuple[str, str, str]]:
    """Path, default and description of each value that can be set."""
    tree, known = yaml.safe_load(text), notes(text)

    def leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
        # What has a comment of its own is one value, for example `resources`.
        closed = isinstance(value, dict) and "additionalProperties" in known[path].extra
        if (
            isinstance(value, dict)
            and value
            and not closed
            and any(f"{path}.{key}" in known for key in value)
        ):
            for key, inner in value.items():
                yield from leaves(inner, f"{path}.{key}")
        else:
            yield path, value

    for key, value in tree.items():
        for path, default in leaves(value, key):
            yield path, json.dumps(default), known[path].text


def readme(text: str, profiles: list[Path]) -> str:
    """The chart's page: what it is, its profiles, and a table of all values."""
    lines = [
        "# The chart headrace",
        "",
        "A gateway for your own language models, the engines behind it, and what scales them.",
        "How to install and run it is told in `docs/deploy/kubernetes.md`. This page is made from",
        "values.yaml and ci/ by `make chart`.",
        "",
        "## Profiles",
        "",
        "| file | what it is |",
        "|---|---|",
    ]
    for path in profiles:
        first = path.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")
        lines.append(f"| `ci/{path.name}` | {first} |")
    lines += ["", "## Values", "", "| value | default | what it does |", "|---|---|---|"]
    for name, default, said in rows(text):
        lines.append(f"| `{name}` | `{default}` | {said} |")
    return "\n".join(lines) + "\n"


def generated() -> dict[Path, bytes]:
    """Each file that is made, with what belongs into it."""
    text = (CHART / "values.yaml").read_text(encoding="utf-8")
    made = {
        CHART / "values.schema.json": json.dumps(schema(text), indent=2) + "\n",
        CHART / "README.md": readme(text, sorted((CHART / "ci").glob("*.yaml"))),
    }
    copied = {
        folder / each.name: each.read_bytes()
        for source, folder in COPIES.items()
        if source.is_dir()
        for each in sorted(source.iterdir())
        if each.suffix in SUFFIXES and f"{source.name}/{each.name}" not in LEFT
    }
    return {path: content.encode() for path, content in made.items()} | copied


def stale() -> list[Path]:
    """Files that are not what they would be made to be, and copies of what is gone."""
    wanted = generated()
    old = [path for path, content in wanted.items() if not path.exists()
           or path.read_bytes() != content]  # fmt: skip
    there = [each for folder in COPIES.values() for each in folder.glob("*")]
    return old + [path for path in there if path not in wanted]


def write() -> None:
    """Make them all."""
    for folder in COPIES.values():
        shutil.rmtree(folder, ignore_errors=True)
    for path, content in generated().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


if __name__ == "__main__":
    write()
