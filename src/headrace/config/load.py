"""Reading the configuration: the only place that opens its file or looks at the environment."""

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from pydantic import ValidationError

from headrace.config.backends import Backend
from headrace.config.document import parse
from headrace.config.draft import Draft, Origin, Problem
from headrace.config.fields import ENV_PREFIX, Keys, dotted, find, is_list, is_mapping, is_section
from headrace.config.problems import explain
from headrace.config.rules import Rule
from headrace.config.schema import Config
from headrace.errors import ConfigError

FILE_VARIABLE = "HEADRACE_CONFIG"
DEFAULT_FILE = Path("headrace.yaml")
BACKENDS: Keys = ("backends",)
RULES: Keys = ("rules",)

# Variables of other tools that are used where nothing else sets the value.
STANDARD: Mapping[str, Keys] = MappingProxyType(
    {
        "HF_TOKEN": ("store", "token"),
        "HF_ENDPOINT": ("store", "hub"),
        "AWS_ENDPOINT_URL": ("store", "s3_endpoint"),
        "AWS_REGION": ("store", "s3_region"),
    }
)
NULLS = frozenset({"null", "~"})  # of a variable: back to the default

# Sources in the order of reading; problems are told in the same order.
FROM_FILE, FROM_ENVIRONMENT, FROM_COMMAND_LINE = range(3)

NO_OVERRIDES: Mapping[str, object] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Loaded:
    """
    The configuration, the file it came from (None: no file), and the origin of every given value.

    An origin is ``headrace.yaml:12``, the name of a variable, or ``command line``;
    a setting without one has its default.
    """

    config: Config
    file: Path | None
    origins: Mapping[Keys, str]


class Ruled(NamedTuple):
    """Rules, and where each of their values stands: ``rules.yaml:12``."""

    rules: tuple[Rule, ...]
    origins: Mapping[Keys, str]


def load(
    path: Path | None = None,
    env: Mapping[str, str] = os.environ,
    overrides: Mapping[str, object] = NO_OVERRIDES,
) -> Config:
    """
    The effective configuration: overrides win over ``HEADRACE__*`` variables, these over the file.

    Without ``path`` the file is ``$HEADRACE_CONFIG``, or headrace.yaml in the current directory if
    there is one, or none. ``overrides`` has the shape of the file; None in it is not given.

    Raises:
        ConfigError: with one line for each problem, all of them at once.
    """
    return read(path, env, overrides).config


def read(
    path: Path | None = None,
    env: Mapping[str, str] = os.environ,
    overrides: Mapping[str, object] = NO_OVERRIDES,
) -> Loaded:
    """Like ``load``, with the origin of every value."""
    draft = Draft()
    file = _add_file(draft, path, env)
    _add_environment(draft, env)
    _add_overrides(draft, overrides)
    config = _validate(draft)
    origins = {keys: origin.source for keys, origin in draft.origins.items()}
    return Loaded(config, file, MappingProxyType(origins))


def state_folder(env: Mapping[str, str] = os.environ) -> Path | None:
    """
    Where this user's programs keep what is of this machine only: headrace in ``$XDG_STATE_HOME``,
    or in ~/.local/state; None for a user without a home
    (https://specifications.freedesktop.org/basedir-spec/latest/).
    """
    given = Path(env.get("XDG_STATE_HOME", ""))
    try:
        folder = given if given.is_absolute() else Path("~/.local/state").expanduser()
    except RuntimeError:
        return None
    return folder / "headrace"


def environment(extra: Mapping[str, str]) -> dict[str, str]:
    """Our environment with these variables on top, for a program that we start."""
    return {**os.environ, **extra}


def backends(
    path: Path,
    models: Iterable[str],
    defaults: Mapping[str, object] = NO_OVERRIDES,
    env: Mapping[str, str] = os.environ,
) -> tuple[Backend, ...]:
    """
    The backends that a file lists; ``defaults`` are for the entries that do not say themselves.

    Raises:
        ConfigError: like ``load``; also for an empty file (one that is being written looks so),
            and for models other than these.

    """
    draft, entries = _listing(path, BACKENDS, env)
    if entries is None and not draft.problems:
        raise ConfigError(f"{path}: lists nothing; write [] if there is no backend")
    if isinstance(entries, list):
        entries = [{**defaults, **each} if isinstance(each, dict) else each for each in entries]
    draft.values.update(backends=entries, models=[{"name": name} for name in models])
    return _validate(draft).backends


def rules(path: Path, models: Iterable[str], env: Mapping[str, str] = os.environ) -> Ruled:
    """
    The rules that a file lists, with the line of each; their targets must be among these models'
    names and aliases (of none: may be anything).

    Raises:
        ConfigError: like ``backends``.

    """
    draft, entries = _listing(path, RULES, env)
    if entries is None and not draft.problems:
        raise ConfigError(f"{path}: lists nothing; write [] if there is no rule")
    draft.values.update(rules=entries, models=[{"name": name} for name in models])
    found = _validate(draft).rules
    return Ruled(found, {keys: origin.source for keys, origin in draft.origins.items()})


def _listing(path: Path, named: Keys, env: Mapping[str, str]) -> tuple[Draft, object]:
    """A file that is one list, or one key with it: the draft with its lines, and the entries."""
    document = parse(_read_text(path, ""), str(path), env)
    draft = Draft(written=document.written, wrong=document.wrong)
    draft.problems.extend(Problem((FROM_FILE, line), text) for line, text in document.problems)
    entries, above = document.value, named
    if isinstance(entries, dict) and [*entries] == [*named]:
        entries, above = entries[str(named[0])], ()
    for keys, line in document.lines.items():
        draft.origins[*above, *keys] = Origin(f"{path}:{line}", rank=(FROM_FILE, line))
    return draft, entries


def _add_file(draft: Draft, path: Path | None, env: Mapping[str, str]) -> Path | None:
    named_by = ""
    if path is None and env.get(FILE_VARIABLE):
        path, named_by = Path(env[FILE_VARIABLE]), f"{FILE_VARIABLE}: "
    if path is None and not DEFAULT_FILE.exists():
        return None
    path = path or DEFAULT_FILE
    document = parse(_read_text(path, named_by), str(path), env)
    draft.problems.extend(Problem((FROM_FILE, line), text) for line, text in document.problems)
    if isinstance(document.value, dict):
        draft.values.update(document.value)
    elif document.value is not None:
        what = "a list" if isinstance(document.value, list) else "plain text"
        raise ConfigError(
            f"{path}:{document.lines[()]}: the file holds {what}; it must hold sections"
            " (`server:`, `backends:`, ...)"
        )
    elif draft.problems:
        raise _refusal(draft.problems)  # nothing could be read, so nothing else can be judged
    for keys, line in document.lines.items():
        draft.origins[keys] = Origin(f"{path}:{line}", rank=(FROM_FILE, line))
    draft.written.update(document.written)
    draft.wrong.update(document.wrong)
    return path


def _read_text(path: Path, named_by: str) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{named_by}{path}: is not UTF-8 text (byte {error.start}); save it as UTF-8"
        ) from error
    except FileNotFoundError as error:
        raise ConfigError(f"{named_by}{path}: there is no such file") from error
    except IsADirectoryError as error:
        raise ConfigError(f"{named_by}{path}: is a directory; name the file in it") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a path"
        raise ConfigError(f"{named_by}{path}: cannot be read ({reason})") from error


def _add_environment(draft: Draft, env: Mapping[str, str]) -> None:
    """Whole sections before their parts, and the entries of a list in their order."""
    ours = [name for name in env if name.startswith(ENV_PREFIX) and env[name]]
    for name in sorted(ours, key=lambda name: [_order(part) for part in name.split("__")]):
        _add_variable(draft, name, env[name])
    for name, keys in STANDARD.items():
        if env.get(name) and draft.get(keys) is None:
            _put(draft, keys, env[name], Origin(name, names=keys, rank=(FROM_ENVIRONMENT, 0)))


def _order(part: str) -> tuple[int, str]:
    return (int(part), "") if part.isascii() and part.isdigit() else (-1, part)


def _add_variable(draft: Draft, name: str, text: str) -> None:
    keys = _place(name)
    origin = Origin(name, names=keys, rank=(FROM_ENVIRONMENT, 0))
    annotation = find(keys)
    if not (is_section(annotation) or is_list(annotation) or is_mapping(annotation)):
        _put(draft, keys, None if text in NULLS else text, origin)
        return
    document = parse(text, name)
    if document.problems:
        draft.problems.extend(Problem(origin.rank, text) for _, text in document.problems)
        draft.wrong.add(keys)
        return
    for place, leaf in _leaves(document.value, keys):
        _put(draft, place, leaf, origin)


def _add_overrides(draft: Draft, overrides: Mapping[str, object]) -> None:
    origin = Origin("command line", rank=(FROM_COMMAND_LINE, 0))
    for place, leaf in _leaves(overrides, ()):
        if leaf is not None:
            _put(draft, place, leaf, origin)


def _put(draft: Draft, keys: Keys, value: object, origin: Origin) -> None:
    if draft.put(keys, value, origin):
        return
    draft.wrong.add(keys)
    for length, key in enumerate(keys):
        parent = draft.get(keys[:length])
        entries = len(parent) if isinstance(parent, list) else 0
        if isinstance(key, int) and key > entries:
            reason = f"leaves a gap; the next entry of {dotted(keys[:length])} is number {entries}"
            break
    else:
        reason = "cannot be set, because what stands above it is not a mapping or a list of entries"
    draft.problems.append(Problem(origin.rank, f"{origin.place(keys)}: {reason}"))


def _leaves(value: object, keys: Keys) -> Iterator[tuple[Keys, object]]:
    """A mapping of a section is set key by key; anything else is set as a whole."""
    if isinstance(value, Mapping) and is_section(find(keys)):
        for key, inner in value.items():
            yield from _leaves(inner, (*keys, key))
    else:
        yield keys, value


def _place(name: str) -> Keys:
    """``HEADRACE__BACKENDS__0__URL`` is ``("backends", 0, "url")``; numbers count only in lists."""
    keys: Keys = ()
    for part in name.removeprefix(ENV_PREFIX).lower().split("__"):
        in_list = is_list(find(keys)) and part.isascii() and part.isdigit()
        keys = (*keys, int(part) if in_list else part)
    return keys


def _validate(draft: Draft) -> Config:
    try:
        config = Config.model_validate(draft.values)
    except ValidationError as error:
        # `from None`: Pydantic's own text shows values, and these may be secrets.
        raise _refusal([*draft.problems, *explain(error, draft)]) from None
    if draft.problems:
        raise _refusal(draft.problems)
    return config


def _refusal(problems: list[Problem]) -> ConfigError:
    return ConfigError("\n".join(dict.fromkeys(problem.text for problem in sorted(problems))))
