"""
A recorded answer as a file: its form, the key it is found by, and which recording comes closest.

Files are YAML, so that a person can read and mend them. Who records is recorder.py's, who answers
from them replay.py's.
"""

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import yaml

from headrace.errors import StartError

VERSION = 1
# Who asks, not what is asked: two runs of the same test may differ in these.
VOLATILE = frozenset({"user", "metadata", "safety_identifier", "prompt_cache_key", "request_id"})
MASK = "********"
SHOWN = 3  # differences told about the closest recording
SHOWN_LENGTH = 60

_SECRET = re.compile(r"(?:^|[_-])(?:authorization|api[_-]?key|access[_-]?token|secret|password)$")
_BOUNDARY = re.compile(rb"boundary=\"?([^\s\";]+)")
_ID_IN_NAME = re.compile(r"[^a-z0-9]+")
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_SafeDumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class _Dumper(_SafeDumper):  # type: ignore[misc]
    """Texts of several lines as blocks, where YAML allows it."""

    def represent_text(self, text: str) -> Any:
        """One text; PyYAML quotes it by itself where a block would change it."""
        style = "|" if "\n" in text else None
        return self.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _Dumper.represent_text)


@dataclass(frozen=True, slots=True)
class Question:
    """
    A request as it is compared. ``body`` is its JSON without secrets and volatile fields, or the
    bytes of any other body in base64.
    """

    method: str
    path: str
    body: Any

    @property
    def key(self) -> str:
        """The same for requests that are the same but for order, spacing and volatile fields."""
        text = json.dumps([self.method, self.path, self.body], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def model(self) -> str:
        """The engine's name for the model; empty where the body has none."""
        name = self.body.get("model") if isinstance(self.body, dict) else None
        return name if isinstance(name, str) else ""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of an answer's body and how long after the one before it came."""

    after_ms: float
    data: bytes


@dataclass(frozen=True, slots=True)
class Cassette:
    """A question, the names that clients use for its model, and the answer."""

    question: Question
    names: tuple[str, ...]
    status: int
    content_type: str
    chunks: tuple[Chunk, ...]
    file: str = ""


def question(method: str, path: str, content_type: str, body: bytes) -> Question:
    """The request with this body, fit to be compared and to be written to disk."""
    if not body:
        return Question(method, path, None)
    try:
        return Question(method, path, _cleaned(json.loads(body), top=True))
    except ValueError:
        found = _BOUNDARY.search(content_type.encode())
        same = body.replace(found[1], b"boundary") if found else body
        return Question(method, path, {"base64": base64.b64encode(same).decode()})


def _cleaned(value: Any, *, top: bool = False) -> Any:
    if isinstance(value, dict):
        return {
            key: MASK if isinstance(inner, str) and _SECRET.search(key.lower()) else _cleaned(inner)
            for key, inner in sorted(value.items())
            if not (top and (key in VOLATILE or _says_nothing(key, inner)))
        }
    if isinstance(value, list):
        return [_cleaned(inner) for inner in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)  # 0.0 and 0 ask for the same
    return value


def _says_nothing(key: str, value: Any) -> bool:
    """Some clients send what others leave out."""
    return value is None or (key == "stream" and value is False)


# --- files ----------------------------------------------------------------------------------


def save(folder: Path, cassette: Cassette) -> Path:
    """
    Write it; a recording of the same question is replaced.

    Raises:
        OSError: it cannot be written.

    """
    asked = cassette.question
    place = _ID_IN_NAME.sub("-", asked.path.removeprefix("/v1/").lower()).strip("-")[:40]
    path = folder / f"{place or 'root'}-{asked.key}.yaml"
    content = {
        "version": VERSION,
        "recorded": datetime.now(UTC).isoformat(timespec="seconds"),
        "request": {
            "method": asked.method,
            "path": asked.path,
            "names": [*cassette.names],
            "body": asked.body,
        },
        "answer": {
            "status": cassette.status,
            "content_type": cassette.content_type,
            "chunks": [_written(chunk) for chunk in cassette.chunks],
        },
    }
    text = yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10_000)
    draft = path.with_suffix(".part")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)
    return path


def _written(chunk: Chunk) -> dict[str, object]:
    try:
        return {"after_ms": chunk.after_ms, "text": chunk.data.decode()}
    except UnicodeDecodeError:  # a chunk may end within a character
        return {"after_ms": chunk.after_ms, "base64": base64.b64encode(chunk.data).decode()}


def load(folder: Path) -> list[Cassette]:
    """
    All recordings of a folder.

    Raises:
        StartError: there is no such folder, none in it, or one cannot be read.

    """
    if not folder.is_dir():
        raise StartError(f"There is no folder {folder} of recordings; make one with --record.")
    files = sorted(folder.glob("*.yaml"))
    if not files:
        raise StartError(f"{folder} holds no recordings (*.yaml); make some with --record.")
    return [_read(file) for file in files]


def _read(file: Path) -> Cassette:
    try:
        content = yaml.load(file.read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506 - safe
        if content["version"] != VERSION:
            raise StartError(
                f"{file} has the version {content['version']}, not {VERSION}; record it again."
            )
        asked, answer = content["request"], content["answer"]
        return Cassette(
            Question(asked["method"], asked["path"], asked["body"]),
            tuple(asked["names"]),
            int(answer["status"]),
            str(answer["content_type"]),
            tuple(_heard(chunk) for chunk in answer["chunks"]),
            file.name,
        )
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        what = str(error).splitlines()[0]
        raise StartError(f"{file} is not a recording: {what}; record it again.") from None


def _heard(chunk: dict[str, Any]) -> Chunk:
    data = chunk["text"].encode() if "text" in chunk else base64.b64decode(chunk["base64"])
    return Chunk(float(chunk["after_ms"]), data)


# --- misses ---------------------------------------------------------------------------------


def closest(asked: Question, recorded: list[Cassette]) -> tuple[Cassette, list[str]] | None:
    """The recording that is most like a question, and in what they differ; None without any."""
    if not recorded:
        return None
    ranked = [
        (_distance(asked, cassette.question), cassette.file, cassette) for cassette in recorded
    ]
    _, _, nearest = min(ranked, key=lambda entry: entry[:2])
    return nearest, [*differences(asked, nearest.question)]


def _distance(one: Question, other: Question) -> float:
    """Whole settings count one each, texts by how much of them differs; other paths are far."""
    left, right = dict(_leaves(one.body)), dict(_leaves(other.body))
    far = 1000.0 * ((one.path != other.path) + (one.method != other.method))
    return far + sum(
        _gap(left.get(place), right.get(place))
        for place in left.keys() | right.keys()
        if left.get(place) != right.get(place)
    )


def _gap(one: object, other: object) -> float:
    if isinstance(one, str) and isinstance(other, str):
        return 1.0 - SequenceMatcher(None, one[:2000], other[:2000]).quick_ratio() / 2
    return 1.0


def differences(asked: Question, recorded: Question) -> Iterator[str]:
    """In what a question differs from a recorded one, in words."""
    for name in ("method", "path"):
        if getattr(asked, name) != getattr(recorded, name):
            yield f"{name} ({getattr(recorded, name)} recorded, {getattr(asked, name)} asked)"
    left, right = dict(_leaves(recorded.body)), dict(_leaves(asked.body))
    for place in [*left, *(place for place in right if place not in left)]:
        if left.get(place, ...) != right.get(place, ...):
            yield f"{place} ({_shown(left, place)} recorded, {_shown(right, place)} asked)"


def _shown(leaves: dict[str, Any], place: str) -> str:
    if place not in leaves:
        return "none"
    text = json.dumps(leaves[place], ensure_ascii=False)
    return text if len(text) <= SHOWN_LENGTH else f"{text[:SHOWN_LENGTH]}…"


def _leaves(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _leaves(inner, f"{place}.{key}" if place else str(key))
    elif isinstance(value, list) and value:
        for index, inner in enumerate(value):
            yield from _leaves(inner, f"{place}[{index}]")
    else:
        yield place or "body", value
