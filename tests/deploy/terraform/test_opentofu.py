"""Stacks and modules are for OpenTofu and Terraform alike: nothing that only one of them knows."""

import shutil
from pathlib import Path

import pytest

from deploy.kit.opentofu import FOREIGN, foreign
from deploy.kit.terraform import SOURCE

# What is planted into a module, and a word of what is then told.
MISTAKES = {
    'ephemeral "random_password" "x" {}': "1.11",
    'variable "x" {\n  ephemeral = true\n}': "1.11",
    "  password_wo = var.password": "1.11",
    'action "aws_lambda_invoke" "x" {}': "no actions",
    "  action_trigger {\n  }": "no actions",
    "  count = terraform.applying ? 1 : 0": "applying",
    'terraform {\n  cloud {\n    organization = "x"\n  }\n}': "HCP",
    "  override_during = plan": "tests",
    "test {\n  parallel = true\n}": "tests",
    "  encryption {\n  }": "states",
    "  x = ephemeralasnull(var.x)": "ephemeralasnull is no function of both",
    '  x = "${templatestring(var.x, {})}"': "templatestring is no function of both",
    "  x = provider::aws::arn_parse(var.x)": "no function of both",
    'terraform {\n  required_version = ">= 1.5"\n}': "required_version",
}


def test_nothing_is_foreign() -> None:
    """Each file is of the language that both programs share."""
    assert [] == foreign(SOURCE)


@pytest.mark.parametrize("planted", MISTAKES)
def test_a_planted_mistake_is_found(tmp_path: Path, planted: str) -> None:
    """Each thing that only one of them knows is told, with its line."""
    shutil.copytree(SOURCE / "modules" / "budget", tmp_path / "budget")
    with (tmp_path / "budget" / "main.tf").open("a", encoding="utf-8") as file:
        file.write(planted + "\n")

    found = foreign(tmp_path)

    assert found
    assert all(each.startswith("budget/main.tf") for each in found)
    assert any(MISTAKES[planted] in each for each in found)


def test_every_kind_of_mistake_is_planted() -> None:
    """No sentence of the table is without its case."""
    said = "\n".join(FOREIGN.values())

    assert all(any(word in line for word in MISTAKES.values()) for line in said.splitlines())


def test_files_of_one_program_are_found(tmp_path: Path) -> None:
    """A file that only OpenTofu reads would change what it makes, and Terraform would not know."""
    (tmp_path / "main.tofu").write_text("", encoding="utf-8")

    assert ["main.tofu: only one program reads it"] == foreign(tmp_path)


def test_comments_and_words_are_not_code(tmp_path: Path) -> None:
    """A sentence in a comment or in a description calls nothing."""
    text = '# a cloud { or two (of them)\nx = "the role (see there) of action(s)"\n'
    (tmp_path / "main.tf").write_text(text, encoding="utf-8")

    assert [] == foreign(tmp_path)
