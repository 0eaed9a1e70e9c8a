"""``headrace models``: pull, list, rm, as a person uses them."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from headrace.cli.app import app
from headrace.cli.models import size
from tests.engines.weights.hub import REPO, SHA, HubServer


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A hub, named by HF_ENDPOINT, and a store in a folder of the test's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HEADRACE_CONFIG", raising=False)
    monkeypatch.setenv("HEADRACE__STORE__DIR", str(tmp_path / "store"))
    monkeypatch.setenv("HEADRACE__STORE__RESERVE_BYTES", "0")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with HubServer() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        server.repos[REPO] = {"config.json": b"{}", "model.gguf": b"x" * 5000, "README.md": b"#"}
        yield server


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["models", *arguments], prog_name="headrace")


def test_pull_list_rm(hub: HubServer, tmp_path: Path) -> None:
    """A model arrives, is in the table, and is gone after its removal, with its folders."""
    pulled = run("pull", REPO)
    listed = run("list")
    removed = run("rm", REPO, "--yes")
    empty = run("list")
    folder = tmp_path / "store" / "hf" / "org" / "tiny" / SHA

    assert f"{folder}\n3 files, 4.9 KiB.\n" == pulled.stdout
    assert {"Bearer hf_secret"} == hub.tokens
    (row,) = [line.split() for line in listed.stdout.splitlines() if REPO in line]
    assert [REPO, SHA[:12], "Hugging", "Face", "3"] == row[:5]
    assert "complete" == row[-1]
    assert f"{REPO} {SHA}" in removed.stdout
    assert "There is no model in" in empty.stdout
    assert [] == [path for path in (tmp_path / "store").rglob("*") if path.is_file()]
    assert [0] * 4 == [each.exit_code for each in (pulled, listed, removed, empty)]


def test_patterns(hub: HubServer) -> None:
    """Only what is chosen is pulled; choosing nothing is a mistake."""
    pulled = run("pull", REPO, "--include", "*.gguf", "--include", "*.json", "--exclude", "con*")
    nothing = run("pull", REPO, "--include", "*.bin")

    assert "1 files" in pulled.stdout
    assert (2, True) == (nothing.exit_code, "No file of org/tiny is left" in nothing.output)


def test_no_verify(hub: HubServer) -> None:
    """What was not compared is told."""
    assert "3 compared by size only" in run("pull", REPO, "--no-verify").stdout


def test_no_hub(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a hub: one sentence, exit code 2, and no trace."""
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    result = run("pull", REPO)
    lines = result.output.splitlines()

    assert 2 == result.exit_code
    assert 1 == len(lines), lines
    assert re.match("headrace: http://127.0.0.1:9 cannot be reached; connect this", lines[0])


def test_rm_asks(hub: HubServer) -> None:
    """Nothing is removed without a yes."""
    run("pull", REPO)
    unasked = run("rm", REPO)
    unknown = run("rm", "org/other", "--yes")
    pinned = run("rm", f"{REPO}@{SHA[:6]}", "--yes")

    assert (2, True) == (unasked.exit_code, "say --yes" in unasked.output)
    assert (2, True) == (unknown.exit_code, "There is no org/other in" in unknown.output)
    assert 0 == pinned.exit_code
    assert "There is no model in" in run("list").stdout


def test_begun(hub: HubServer) -> None:
    """A pull that broke off is in the list as such."""
    hub.wrong = {"model.gguf"}
    failed = run("pull", REPO)

    assert 2 == failed.exit_code
    assert "pulled in part" in run("list").stdout


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1536, "1.5 KiB"),
        (5 * 1024**3, "5.0 GiB"),
        (2**51, "2048.0 TiB"),
    ],
)
def test_size(count: int, text: str) -> None:
    """Sizes as people read them."""
    assert text == size(count)
