"""``headrace limits`` and limits of keys: what people type and what they see."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from headrace.cli.app import app
from headrace.cli.limits import table

FOUND: list[dict[str, Any]] = [
    {"scope": "tenant", "whom": "acme", "limit": "tokens_per_day", "unit": "tokens per day",
     "most": 1000, "used": 700, "held": 200, "ratio": 0.9,
     "resets_at": "2026-11-23T00:00:00+00:00"},
    {"scope": "tenant_model", "whom": "acme m", "limit": "requests_per_minute",
     "unit": "requests per minute", "most": 60, "used": 0.5, "held": 0, "ratio": 0.0083,
     "resets_at": None},
    {"scope": "tenant", "whom": "", "limit": "cost_per_month", "unit": "USD per month",
     "most": "2500.00000000", "used": "2501.50000000", "held": "0.00000000", "ratio": 1.0006,
     "resets_at": "2026-12-01T00:00:00+00:00"},
]  # fmt: skip


def call(*arguments: str, **env: str) -> Result:
    return CliRunner().invoke(app, [*arguments], env={"COLUMNS": "140", **env})


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    path = tmp_path / "headrace.yaml"
    identity = {"file": str(tmp_path / "k.json"), "pepper_file": str(tmp_path / "p")}
    path.write_text(json.dumps({"identity": identity}))
    return path


def test_the_table() -> None:
    """Whose it is, what is used and held of what, how full it is, and until when."""
    page = io.StringIO()
    Console(file=page, width=140).print(table(FOUND))
    lines = page.getvalue().splitlines()

    assert "tenant acme" in lines[1]
    assert "tokens per day" in lines[1]
    assert ["700", "200", "1,000"] == [word for word in lines[1].split() if word[0].isdigit()][:3]
    assert "90%" in lines[1]
    assert "2026-11-23 00:00Z" in lines[1]
    assert "tenant and model acme m" in lines[2]
    assert "tenant (no key)" in lines[3]
    assert "2,501.50" in lines[3]
    assert "100%" in lines[3]


def test_nobody_answers() -> None:
    """One sentence and exit code 2."""
    result = call("limits", "show", "--admin-url", "http://127.0.0.1:9")

    assert 2 == result.exit_code
    assert "No admin API answers at http://127.0.0.1:9" in result.stderr


def test_a_key_with_limits(keys: Path) -> None:
    """Limits are given by name and number, and shown with the key."""
    made = call(
        "keys", "create", "demo", "--limit", "requests_per_minute=60", "--limit",
        "tokens_per_day=100000", "--config", str(keys),
    )  # fmt: skip
    shown = json.loads(call("keys", "show", "demo", "--config", str(keys)).stdout)
    listed = call("keys", "list", "--config", str(keys)).stdout

    assert 0 == made.exit_code, made.output
    assert {"requests_per_minute": 60, "tokens_per_day": 100_000} == shown["limits"]
    assert "requests_per_minute=60 tokens_per_day=100000" in " ".join(listed.split())


@pytest.mark.parametrize(
    ("limit", "message"),
    [
        ("rpm=5", "There is no limit 'rpm'; there are: requests_per_minute"),
        ("tokens_per_day=-1", "'tokens_per_day' is -1; it must be a number from 0"),
        ("tokens_per_day", "must be a limit and a number"),
        ("tokens_per_day=many", "must be a limit and a number"),
    ],
)
def test_what_is_no_limit(keys: Path, limit: str, message: str) -> None:
    """It is said what there is, and no key is made."""
    made = call("keys", "create", "demo", "--limit", limit, "--config", str(keys))
    listed = call("keys", "list", "--json", "--config", str(keys))

    assert 2 == made.exit_code
    assert message in " ".join(made.output.replace("│", " ").split())
    assert [] == json.loads(listed.stdout)
