"""Examples of classes: those that are shipped, those of a file, and files that are wrong."""

from pathlib import Path

import pytest

from headrace.config.classes import SHIPPED, Classes
from headrace.config.examples import Example, examples
from headrace.errors import ConfigError


def from_file(folder: Path, text: str, **settings: object) -> list[Example]:
    path = folder / "examples.yaml"
    path.write_text(text)
    return [*examples(Classes.model_validate({"file": path, **settings}))]


def test_shipped_examples() -> None:
    """Without any others there are those that come with Headrace, each with its source."""
    found = examples(Classes())

    assert set(SHIPPED) == {example.name for example in found}
    assert all(example.source and example.text.strip() for example in found)
    assert len(found) > 800


def test_examples_of_the_configuration() -> None:
    """Those of the configuration are instead of the shipped ones; blank texts are none."""
    given = Classes(default="a", examples={"a": ("x", "y", " "), "b": ("z", "w")})

    assert [("x", "a"), ("y", "a"), ("z", "b"), ("w", "b")] == [
        (example.text, example.name) for example in examples(given)
    ]


def test_file_adds_examples(tmp_path: Path) -> None:
    """A file adds texts and classes to those of the configuration; ${...} stays as it stands."""
    found = from_file(tmp_path, "b: [z, '${w}']\na: [y]\n", default="b", examples={"a": ("x", "v")})

    assert [("x", "a"), ("v", "a"), ("y", "a"), ("z", "b"), ("${w}", "b")] == [
        (example.text, example.name) for example in found
    ]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: [x, y]\nreasoning: hello\n", "examples.yaml:2: reasoning must be a list of texts"),
        ("a: [x, y]\nreasoning: [{b: c}]\n", "examples.yaml:2: reasoning must be a list of texts"),
        ("[x, y]\n", "examples.yaml:1: must hold classes"),
        ("reasoning: [x, y]\n", "two classes or more"),
        ("a: [x, y]\nb: [z, w]\n", "none of a, b"),
        ("a: [x\n", "examples.yaml:"),
    ],
)
def test_wrong_files_are_refused(tmp_path: Path, text: str, reason: str) -> None:
    """What is wrong with a file is said with its name, and its line where there is one."""
    with pytest.raises(ConfigError) as caught:
        from_file(tmp_path, text)

    assert reason in str(caught.value)


def test_missing_file(tmp_path: Path) -> None:
    """A file that is not there is named; so is one that is not text."""
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\xff")

    with pytest.raises(ConfigError, match=r"classes\.file .*none\.yaml: No such file"):
        examples(Classes(file=tmp_path / "none.yaml"))
    with pytest.raises(ConfigError, match="not UTF-8"):
        examples(Classes(file=tmp_path / "bytes.yaml"))
