"""Images, scripts and YAML of deploy/: linters are content, and find planted mistakes."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DOCKERFILES = sorted((ROOT / "deploy" / "docker").glob("*.Dockerfile"))
BIN = Path(sys.prefix) / "bin"
SHELL = sorted(
    path
    for path in [*(ROOT / "scripts").iterdir(), *(ROOT / "deploy").rglob("*.sh")]
    if path.is_file() and path.suffix in {"", ".sh"}
)
WRITTEN = [
    *(ROOT / "deploy/compose").glob("*.yaml"),
    *(ROOT / "deploy/helm/headrace").glob("*.yaml"),
    *(ROOT / "deploy/helm/headrace/ci").glob("*.yaml"),
]  # fmt: skip
RULES = "{extends: default, rules: {line-length: {max: 190}, document-start: disable, braces: {max-spaces-inside: 1}, comments: {min-spaces-from-content: 1}, comments-indentation: disable, indentation: {indent-sequences: consistent}}}"  # noqa: E501


def run(program: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """A linter from its wheel."""
    return subprocess.run([BIN / program, *arguments], capture_output=True, text=True, check=False)


def told(done: subprocess.CompletedProcess[str]) -> tuple[str, int]:
    """What a linter says, and its exit status."""
    return done.stdout, done.returncode


def test_hadolint_is_content() -> None:
    """Each Dockerfile follows the rules of its linter."""
    assert ("", 0) == told(run("hadolint", *DOCKERFILES))


def test_hadolint_finds_a_planted_mistake(tmp_path: Path) -> None:
    """An image without a tag, and a package without a version."""
    file = tmp_path / "Dockerfile"
    file.write_text("FROM python\nRUN pip install uv\n")

    assert {"DL3006", "DL3013"} <= set(re.findall(r"DL\d+", run("hadolint", file).stdout))


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.stem)
def test_images_do_not_run_as_root(path: Path) -> None:
    """The last user of each image is a number that is not 0, as `runAsNonRoot` asks for."""
    users = re.findall(r"^USER (\S+)$", path.read_text(), re.MULTILINE)

    assert "10001:10001" == users[-1]


def test_the_image_has_what_the_chart_uses() -> None:
    """The extras that it installs exist, and among them are discovery, tokens and both ledgers."""
    text = (ROOT / "deploy/docker/gateway.Dockerfile").read_text()
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = re.findall(r"--extra (\S+)", text)

    assert set(wanted) <= known["optional-dependencies"].keys()
    assert {"kubernetes", "jwt", "postgres", "otlp"} <= set(wanted)
    assert wanted[: len(wanted) // 2] == wanted[len(wanted) // 2 :]  # both stages alike
    left_out = re.findall(r"--no-install-package (\S+)", text)
    names = [re.split(r"[<>=\[]", each)[0] for each in known["dependencies"]]
    assert set(left_out) <= set(names)


def test_shellcheck_is_content() -> None:
    """Every shell script passes; those without a first line are fragments for bash."""
    first = {path: path.read_text().splitlines()[0] for path in SHELL}
    programs = [path for path, line in first.items() if re.match(r"#!.*\bbash$|#!.*/sh$", line)]
    fragments = [path for path, line in first.items() if not line.startswith("#!")]
    others = [line for path, line in first.items() if path not in {*programs, *fragments}]

    assert ("", 0) == told(run("shellcheck", "--severity=warning", *programs))
    assert ("", 0) == told(run("shellcheck", "--severity=warning", "--shell=bash", *fragments))
    assert all("python" in line for line in others)


def test_shellcheck_finds_a_planted_mistake(tmp_path: Path) -> None:
    """A variable without quotes."""
    file = tmp_path / "script.sh"
    file.write_text("#!/bin/bash\nrm -rf $1/x\n")

    assert "SC2086" in run("shellcheck", file).stdout


def test_yamllint_is_content() -> None:
    """YAML that people write has one style, and no key twice."""
    assert ("", 0) == told(run("yamllint", "--strict", "-d", RULES, *WRITTEN))


def test_yamllint_finds_a_planted_mistake(tmp_path: Path) -> None:
    """A key that is there twice, of which YAML silently takes one."""
    file = tmp_path / "a.yaml"
    file.write_text("a: 1\na: 2\n")

    assert "duplication" in run("yamllint", "-d", RULES, file).stdout


def test_compose_and_chart_use_the_same_images() -> None:
    """Redis, PostgreSQL, Envoy and what watches them have one version everywhere."""
    values = yaml.safe_load((ROOT / "deploy/helm/headrace/values.yaml").read_text())
    text = (ROOT / "deploy/compose/compose.yaml").read_text()
    images = [
        values[part]["image"] for part in ("redis", "postgresql", "edge", "dcgm", "collector")
    ]
    images += [each["image"] for each in values["trial"].values()]

    for image in images:
        assert f"image: {image['repository']}:{image['tag']}\n" in text
    engine = (ROOT / "deploy/docker/engine.Dockerfile").read_text()
    assert f"ARG VLLM={values['modelDefaults']['image']['tag']}\n" in engine
