"""``headrace keys``: what people type, what they see, and that a gateway follows."""

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from headrace.cli.app import app
from tests.cli.program import Program
from tests.state.server import RedisServer


class Keys:
    """The command with a configuration of its own."""

    def __init__(self, folder: Path, **more: object) -> None:
        self.file = folder / "headrace.yaml"
        tree = {
            "identity": {"file": str(folder / "k.json"), "pepper_file": str(folder / "p")},
            "tenants": [{"name": "acme"}],
            **more,
        }
        self.file.write_text(json.dumps(tree))

    def __call__(self, *arguments: str) -> Result:
        called = ["keys", *arguments, "--config", str(self.file)]
        return CliRunner().invoke(app, called, env={"COLUMNS": "140"})

    def made(self, *arguments: str) -> str:
        result = self("create", *arguments)
        assert 0 == result.exit_code, result.output
        return result.stdout.strip()


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path)


def test_the_key_alone_is_on_standard_output(keys: Keys) -> None:
    """So that it can be put into a file or a variable; what it is is told beside."""
    result = keys("create", "my-app", "--tenant", "acme")

    assert re.fullmatch(r"hr-[0-9A-Za-z]{8}-[0-9A-Za-z]{49}\n", result.stdout)
    assert "the key my-app of the tenant acme; it is shown only now" in result.stderr


def test_an_empty_list_says_so(keys: Keys) -> None:
    """Whoever has no keys is told how to make one; programs get an empty list."""
    assert "There are no keys; `headrace keys create" in keys("list").stdout
    assert [] == json.loads(keys("list", "--json").stdout)


def test_list_and_show(keys: Keys) -> None:
    """Both show prefix, scopes and state, and neither the key nor its hash."""
    secret = keys.made("ci", "--model", "m*", "--endpoint", "/v1/embeddings", "--expires", "90d")
    admin = keys.made("ops", "--admin")
    table, shown = keys("list").stdout, keys("show", "ci").stdout
    listed = json.loads(keys("list", "--json").stdout)

    assert re.search(
        rf"ci +default +{secret[:11]}-\.\.\. +active +20\d\d-.* m\* /v1/embeddings", table
    )
    assert re.search(r"ops .*never .*admin", table)
    assert ["ci", "ops"] == [each["name"] for each in listed]
    assert ("active", None, ["m*"]) == tuple(
        json.loads(shown)[name] for name in ("state", "used_at", "models")
    )
    for text in (table, shown, json.dumps(listed)):
        assert "hash" not in text
        assert secret not in text
        assert admin not in text


def test_rotate_and_revoke(keys: Keys) -> None:
    """Another key with the old one's name; then none."""
    first = keys.made("app")
    second = json.loads(keys("rotate", "app", "--overlap", "7d", "--json").stdout)["secret"]
    revoked = keys("revoke", "app")

    assert first != second
    assert "app is revoked.\n" == revoked.stdout
    assert "revoked" == json.loads(keys("show", "app").stdout)["state"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("create", "a b"), 2, "'a b' is no name"),
        (("create", "app"), 2, "already"),
        (("create", "b", "--tenant", "acmee"), 2, "no tenant 'acmee'; there are: acme, default"),
        (("create", "b", "--expires", "soon"), 2, "such as 24h or 30d"),
        (("create", "b", "--endpoint", "/v1/chat"), 2, "no endpoint /v1/chat"),
        (("show", "nobody"), 2, "no key 'nobody'"),
        (("revoke", "nobody"), 2, "no key 'nobody'; there are: app"),
        (("rotate", "nobody"), 2, "no key 'nobody'"),
    ],
)
def test_wrong(keys: Keys, arguments: tuple[str, ...], code: int, said: str) -> None:
    """One sentence on standard error, and exit code 2."""
    keys.made("app")
    result = keys(*arguments)

    assert (code, "") == (result.exit_code, result.stdout)
    assert said in " ".join(result.stderr.replace("│", " ").split())


def test_in_redis(tmp_path: Path) -> None:
    """With a shared state the keys are there; without it the command says so."""
    server = RedisServer(tmp_path).start()
    keys = Keys(tmp_path, state={"url": server.url, "timeout_s": 10})
    keys.made("app")
    listed = keys("list").stdout
    server.kill()
    lost = keys("list")

    assert "app" in listed
    assert not (tmp_path / "k.json").exists()
    assert 2 == lost.exit_code
    assert "The shared state at" in lost.stderr


def test_a_gateway_for_others_needs_keys(tmp_path: Path) -> None:
    """On an address that others can reach it does not start without a key, but with one."""
    engine = [{"url": "http://127.0.0.1:9", "serves": ["m"]}]
    keys = Keys(tmp_path, backends=engine, admin={"enabled": False}, health={"enabled": False})
    serve = ["serve", "--config", str(keys.file), "--host", "0.0.0.0", "--port", "0"]
    with Program(serve, tmp_path) as refused:
        code = refused.wait()
    keys.made("app")
    with Program(serve, tmp_path) as program:
        url = program.read_until(r"listens on (\S+) ")

    assert 2 == code
    assert "create one (`headrace keys create NAME`)" in refused.text()
    assert url.startswith("http://127.0.0.1:")
