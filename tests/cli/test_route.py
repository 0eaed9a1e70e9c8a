"""``headrace route``: what it tells with and without a gateway, and which questions it refuses."""

import json
from contextlib import closing
from pathlib import Path

import pytest

from headrace.conformance.ports import RefusingPort
from tests.cli.running import NIGHT, NOON, config, headrace, url

__all__ = ["config", "url"]


def told(*arguments: str, **more: str) -> dict[str, str]:
    """What ``route test`` tells, by the first word of each line."""
    result = headrace("route", "test", *arguments, **more)
    assert 0 == result.exit_code, result.output
    return dict(line.split(maxsplit=1) for line in result.output.splitlines())


class TestRoute:
    def test_asks_the_gateway(self, url: str) -> None:
        """The running gateway's rules and replicas answer."""
        found = told("--model", "small", "--text", "hi", "--at", NOON, url=url)

        assert "none of 4 matches" == found["rule"]
        assert ("small", "gpu-1 (the only replica)") == (found["target"], found["replica"])

    def test_reads_the_configuration(self, config: str) -> None:
        """With --config nobody is asked; headers are given as the client's would be."""
        found = told("--text", "hi", "-H", "X-Team=alpha", "-c", config)

        assert ("team", "big, then small") == (found["rule"], found["target"])
        assert "unknown" in found["replica"]

    def test_nobody_runs(self, config: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without a gateway the usual configuration is read."""
        monkeypatch.chdir(Path(config).parent)
        with closing(RefusingPort()) as port:
            found = told("-m", "small", "-t", "hi", "--at", NIGHT, url=port.url)

        assert ("night", "small") == (found["rule"], found["target"])

    @pytest.mark.parametrize(("model", "said"), [("chat", "rule     try"), ("x", "does not exist")])
    def test_experiments_and_errors(self, config: str, model: str, said: str) -> None:
        """The arm is told, and so is what the client would be told instead."""
        result = headrace("route", "test", "-m", model, "-t", "hi", "--at", NOON, "-c", config)

        assert said in result.output
        assert ("arm      e/" in result.output) is (model == "chat")

    def test_a_file(self, config: str, tmp_path: Path) -> None:
        """A body from a file or from standard input, its model replaced if one is named."""
        body = {"model": "chat", "messages": []}
        path = tmp_path / "request.json"
        path.write_text(json.dumps(body), encoding="utf-8")

        assert "try" == told("-f", str(path), "--at", NOON, "-c", config)["rule"]
        assert "try" == told("-f", "-", "--at", NOON, "-c", config, stdin=json.dumps(body))["rule"]
        changed = told("-f", str(path), "-m", "small", "--at", NOON, "-c", config)
        assert "none of 4 matches" == changed["rule"]

    def test_explain(self, url: str) -> None:
        """Every rule with its demands, the facts, and the replicas to choose from."""
        asked = ["-m", "small", "-t", "hi", "--at", NOON, "-H", "x-team=b"]
        result = headrace("route", "explain", *asked, url=url)

        assert 0 == result.exit_code, result.output
        for part in (
            "no  header x-team is a*",
            "no  time is 22:00-06:00",
            "no  class is hard",
            "messages = 1",
            "at = 2026-11-23T12:00:00+00:00",
            "gpu-1  <- the only replica",
        ):
            assert part in result.output

    def test_a_class(self, config: str) -> None:
        """The classifier's word can be given."""
        asked = ["-m", "small", "-t", "hi", "--at", NOON, "-c", config]

        assert "hard" == told(*asked, "--class", "hard")["rule"]
        explained = headrace("route", "explain", *asked, "--class", "hard").output
        assert "hard  <- decides" in explained

    @pytest.mark.parametrize("command", ["test", "explain"])
    def test_json(self, url: str, command: str) -> None:
        """The same for programs; both commands tell all of it."""
        result = headrace(
            "route", command, "-m", "chat", "-t", "hi", "--at", NOON, "--json", url=url
        )

        found = json.loads(result.output)
        assert ("try", "e", 4) == (found["rule"], found["experiment"], len(found["verdicts"]))

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ([], "either --file FILE or --text TEXT"),
            (["-t", "a", "-f", "b"], "either --file FILE or --text TEXT"),
            (["-t", "a", "-H", "x"], "--header 'x' must be NAME=VALUE"),
            (["-t", "a", "--at", "soon"], "--at 'soon' must be a time such as"),
            (["-f", "/no/such"], "cannot be read"),
            (["-t", "a", "--endpoint", "/x"], "There is no endpoint /x"),
        ],
    )
    def test_mistakes(self, config: str, arguments: list[str], message: str) -> None:
        """One line that says what would be right, and exit code 2."""
        result = headrace("route", "test", *arguments, "-c", config)

        assert (2, True) == (result.exit_code, message in result.output), result.output
