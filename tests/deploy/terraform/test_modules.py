"""Terraform's modules by their text: the same files, described inputs, pages that fit."""

import re
from pathlib import Path

import pytest

from deploy.kit.modules import Module, main, module, readme
from deploy.kit.terraform import SOURCE, parts
from headrace.config.load import load

FILES = {"main.tf", "variables.tf", "outputs.tf", "versions.tf", "README.md"}
ENVIRONMENTS = {"dev", "staging", "prod"}

each_part = pytest.mark.parametrize("path", parts(), ids=lambda path: str(path.relative_to(SOURCE)))
each_stack = pytest.mark.parametrize("stack", ["eks", "ec2"])


@each_part
def test_has_the_five_files(path: Path) -> None:
    """A module has the same five files as any other."""
    assert {file.name for file in path.iterdir() if file.is_file()} >= FILES


@each_part
def test_says_what_it_is_for(path: Path) -> None:
    """A module opens with a sentence that says what it is for."""
    assert len(module(path).purpose) > 40


@each_part
def test_inputs_are_typed_and_described(path: Path) -> None:
    """Each input has a type and a description that is a sentence."""
    wrong = [
        each.name
        for each in module(path).variables
        if not each.type or not each.description.endswith(".")
    ]

    assert [] == wrong


@each_part
def test_inputs_are_validated(path: Path) -> None:
    """Each input but a switch tells what is wrong with a value before AWS does."""
    bare = [
        each.name for each in module(path).variables if each.type != "bool" and not each.validated
    ]

    assert [] == bare


@each_part
def test_outputs_are_described(path: Path) -> None:
    """Each output is described."""
    assert [] == [name for name, description in module(path).outputs if not description]


@each_part
def test_page_is_what_the_files_say(path: Path) -> None:
    """README.md is what `make terraform-docs` would write."""
    assert readme(module(path)) == (path / "README.md").read_text(encoding="utf-8")


@each_part
def test_no_module_comes_from_elsewhere(path: Path) -> None:
    """Everything that is made can be read here: no remote modules."""
    sources = re.findall(r'^  source\s+= "([^"]+)"', (path / "main.tf").read_text(), re.MULTILINE)

    assert [] == [source for source in sources if not source.startswith("../../modules/")]


@each_stack
def test_every_module_input_of_a_stack_exists(stack: str) -> None:
    """What a stack hands to a module is an input of it."""
    text = (SOURCE / "stacks" / stack / "main.tf").read_text(encoding="utf-8")
    calls = re.findall(r'^module "\w+" \{\n  source = "\.\./\.\./modules/(\w+)"\n(.*?)^\}', text,
                       re.MULTILINE | re.DOTALL)  # fmt: skip
    given = {name: set(re.findall(r"^  (\w+)\s+= ", body, re.MULTILINE)) for name, body in calls}

    assert given
    for name, inputs in given.items():
        known = {each.name for each in module(SOURCE / "modules" / name).variables}
        assert inputs - {"count", "providers"} <= known


@each_stack
def test_every_environment_sets_inputs_that_exist(stack: str) -> None:
    """An environment sets only inputs of its stack, and all that have no default."""
    folder = SOURCE / "stacks" / stack
    inputs = module(folder).variables
    needed = {each.name for each in inputs if each.default is None}
    files = {path.stem: path for path in (folder / "environments").glob("*.tfvars")}

    assert ENVIRONMENTS == set(files)
    for path in files.values():
        given = set(re.findall(r"^(\w+)\s*=", path.read_text(encoding="utf-8"), re.MULTILINE))
        assert needed <= given <= {each.name for each in inputs}


@each_stack
def test_state_is_remote_locked_and_encrypted(stack: str) -> None:
    """Two people cannot apply at once, and the state is not readable on a disk."""
    text = (SOURCE / "stacks" / stack / "versions.tf").read_text(encoding="utf-8")
    backend = re.search(r'backend "s3" \{\n(.*?)\n  \}', text, re.DOTALL)

    assert backend is not None
    assert {"encrypt = true", "use_lockfile = true"} == {
        re.sub(r"\s+", " ", line.strip()) for line in backend[1].splitlines()
    }


def test_no_instance_has_port_22() -> None:
    """A shell is Session Manager's: nothing opens SSH."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in SOURCE.rglob("*.tf"))

    assert not re.search(r"from_port\s*= 22\b|key_name", text)


def test_the_configuration_of_an_instance_is_right(tmp_path: Path) -> None:
    """What first boot writes as headrace.yaml is a configuration that Headrace takes."""
    boot = (SOURCE / "modules" / "fleet" / "boot.sh.tftpl").read_text(encoding="utf-8")
    found = re.search(r"headrace\.yaml <<'YAML'\n(.*?)\nYAML", boot, re.DOTALL)
    assert found is not None
    text = found[1]
    for name, value in {"port": "8000", "drain_s": "90", "served_name": "qwen3-4b"}.items():
        text = text.replace(f"${{{name}}}", value)
    file = tmp_path / "headrace.yaml"
    file.write_text(text, encoding="utf-8")

    config = load(file, {})

    assert 8000 == config.server.port
    assert ("qwen3-4b",) == tuple(config.backends[0].serves)


def test_stale_pages_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    """The check of pages agrees with this tree."""
    assert 0 == main(["--check"])
    assert "" == capsys.readouterr().err


def test_a_planted_change_makes_a_page_stale() -> None:
    """A new input is a new page."""
    found = module(SOURCE / "modules" / "network")
    more = Module(
        found.path, found.purpose, (*found.variables, found.variables[0]), found.outputs, ()
    )

    assert readme(found) != readme(more)
