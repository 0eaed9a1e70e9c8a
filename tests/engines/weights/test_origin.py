"""Names of models, and choices of their files."""

import pytest

from headrace.engines.weights.origin import Item, Listing, Name, parse, safe
from headrace.errors import StartError


@pytest.mark.parametrize(
    ("text", "name", "folders"),
    [
        ("org/name", Name("org/name"), ("hf", "org", "name")),
        ("org/name@v1", Name("org/name", "v1"), ("hf", "org", "name")),
        ("s3://b/p/q/", Name("s3://b/p/q"), ("s3", "b", "p", "q")),
        ("s3://b", Name("s3://b"), ("s3", "b")),
    ],
)
def test_names(text: str, name: Name, folders: tuple[str, ...]) -> None:
    """A repository with or without a revision, or a bucket with a prefix."""
    assert name == parse(text)
    assert folders == parse(text).folders


@pytest.mark.parametrize(
    "text", ["", "name", "a/b/c", "a//b", "../b", "a/..", "s3://", "s3://b/../c", "a\\b/c"]
)
def test_no_names(text: str) -> None:
    """Anything else is told what a name looks like."""
    with pytest.raises(StartError, match="write org/name"):
        parse(text)


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../../x", "a\\..\\x", "", "a\0b"])
def test_paths_outside(path: str) -> None:
    """No path of an origin leads out of the model's folder."""
    with pytest.raises(StartError, match="would lie outside"):
        safe(path)


def test_choice() -> None:
    """Patterns choose by path; what is excluded is excluded."""
    items = tuple(Item(path, 1) for path in ("a.json", "a.bin", "sub/b.json"))
    listing = Listing("r", items)

    assert items == listing.chosen((), ()).items
    assert ("a.json", "sub/b.json") == tuple(i.path for i in listing.chosen(("*.json",), ()).items)
    assert ("a.json",) == tuple(i.path for i in listing.chosen(("*.json",), ("sub/*",)).items)
