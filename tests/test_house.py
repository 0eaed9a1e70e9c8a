"""The house rules that no linter holds: sizes, names, docstrings, and who reads the environment."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace import errors

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "headrace"
TESTS = ROOT / "tests"
BANNED = {"utils", "helpers", "common", "base", "manager", "service", "handler", "misc", "core"}

each_source = pytest.mark.parametrize(
    "path", sorted(SOURCE.rglob("*.py")), ids=lambda path: str(path.relative_to(SOURCE))
)
each_test = pytest.mark.parametrize(
    "path", sorted(TESTS.rglob("*.py")), ids=lambda path: str(path.relative_to(TESTS))
)


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def reads_environment(path: Path) -> Iterator[int]:
    """Lines with os.environ, os.getenv and their like, or an import of them."""
    names = {"environ", "environb", "getenv", "getenvb"}
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Attribute) and node.attr in names:
            yield node.lineno
        if isinstance(node, ast.ImportFrom) and node.module == "os":
            yield from (node.lineno for alias in node.names if alias.name in names)


@each_source
def test_source_is_short(path: Path) -> None:
    """A file has at most 400 lines."""
    assert lines(path) <= 400


@each_test
def test_test_is_short(path: Path) -> None:
    """A test file has at most 800 lines."""
    assert lines(path) <= 800


@each_source
def test_source_opens_with_a_docstring(path: Path) -> None:
    """A file opens with what lives in it."""
    assert ast.get_docstring(tree(path))


@each_source
def test_source_has_a_plain_name(path: Path) -> None:
    """A name is one word that says what is there; no drawer for what fits nowhere."""
    name = path.stem.strip("_") if path.stem.startswith("__") else path.stem

    assert re.fullmatch(r"[a-z0-9]+", name)
    assert not {name, path.parent.name} & BANNED


@each_source
def test_nothing_is_global(path: Path) -> None:
    """No function writes to its module's variables."""
    assert [] == [node.lineno for node in ast.walk(tree(path)) if isinstance(node, ast.Global)]


@each_source
def test_only_one_file_reads_the_environment(path: Path) -> None:
    """Settings come from the configuration, which config/load.py alone reads."""
    if path.relative_to(SOURCE) == Path("config/load.py"):
        assert list(reads_environment(path))
    else:
        assert [] == list(reads_environment(path))


@each_test
def test_test_says_its_promise(path: Path) -> None:
    """Every test states in its docstring which promise it keeps."""
    silent = [
        node.name
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
        and not ast.get_docstring(node)
    ]

    assert [] == silent


def test_error_tree_is_drawn() -> None:
    """The docstring of errors.py shows every error, below its parent, with its status."""
    classes = [
        thing
        for thing in vars(errors).values()
        if isinstance(thing, type) and issubclass(thing, errors.HeadraceError)
    ]

    assert drawn_errors() == {thing.__name__: (parent(thing), status(thing)) for thing in classes}


def drawn_errors() -> dict[str, tuple[str, str]]:
    """Each name of the drawn tree with the name above it and its status."""
    drawn: dict[str, tuple[str, str]] = {}
    above: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"([ │├└─]+)([A-Z]\w+)(?: +(\d{3}|any) )?", line)
        if found:
            depth = len(found[1])
            above = [(outer, name) for outer, name in above if outer < depth]
            drawn[found[2]] = (above[-1][1] if above else "", found[3] or "")
            above.append((depth, found[2]))
    return drawn


def parent(error: type) -> str:
    return "" if error is errors.HeadraceError else error.__mro__[1].__name__


def status(error: type) -> str:
    """The status of an error's answer; ``any`` where each error of the kind has its own."""
    if not issubclass(error, errors.ApiError) or error is errors.ApiError:
        return ""
    kinds = error.__mro__[: error.__mro__.index(errors.ApiError)]
    return str(error.status) if any("status" in vars(kind) for kind in kinds) else "any"
