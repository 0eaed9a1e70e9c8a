"""reload.py: what changes in the file comes into force whole, or not at all."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from headrace.config.schema import Config
from headrace.errors import ConfigError
from headrace.fleet.catalogue import Catalogue
from headrace.fleet.registry import Fleet
from headrace.gateway.place.placement import Placement
from headrace.gateway.rules.reload import Reload
from headrace.gateway.rules.shadow import Shadows
from headrace.gateway.rules.steer import Steer
from tests.edge.rig import eventually

POLL_S = 0.01


class Log:
    """Remembers events."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def event(self, event: str, **fields: object) -> None:
        self.events.append({"event": event, **fields})


class Stage:
    """A file of rules that is watched."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.log = Log()
        self.config = Config.model_validate({"models": [{"name": "m"}], "rules_file": str(path)})
        catalogue = Catalogue(self.config.models)
        fleet = Fleet(["m"], 1.0)
        shadows = Shadows(fleet, Placement(self.config.routing, fleet, lambda _: None))
        self.steer = Steer(self.config, catalogue, shadows, self.log)  # type: ignore[arg-type]
        self.reload = Reload(self.config, catalogue, self.steer, self.log, POLL_S)  # type: ignore[arg-type]

    @property
    def rules(self) -> list[str]:
        """The names of the rules in force."""
        book = self.steer.book
        return [rule.name for rule in book.rules] if book is not None else []

    async def told(self, event: str, count: int = 1) -> dict[str, Any]:
        """The last event of a kind, once there are so many."""
        await eventually(lambda: len(self._of(event)) >= count, lambda: repr(self.log.events))
        assert count == len(self._of(event))
        return self._of(event)[-1]

    def _of(self, event: str) -> list[dict[str, Any]]:
        return [each for each in self.log.events if each["event"] == event]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "rules.yaml"
    path.write_text("- {name: first, target: m}", encoding="utf-8")
    return path


def write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def remove(path: Path) -> None:
    path.unlink()


async def test_changes_come_into_force(path: Path) -> None:
    """A changed file replaces all rules; the log and the counts say so, with another version."""
    stage = Stage(path)
    stage.reload.start()
    before = await stage.told("rules_loaded")
    write(path, "- {name: second}\n- {name: third}")

    after = await stage.told("rules_loaded", 2)
    await stage.reload.stop()
    assert (["second", "third"], 2, str(path)) == (stage.rules, after["rules"], after["file"])
    assert before["version"] != after["version"]
    assert {"good": 1, "bad": 0} == stage.reload.counts


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("- {name: second, target: x}", "rules.yaml:1:rules[0].target: 'x' is no model"),
        ("- {name: second}\n- {nam: x}", "rules.yaml:2:rules[1].nam"),
        ("- {name: [", "rules.yaml:1"),
        ("", "lists nothing"),
    ],
)
async def test_a_bad_file_changes_nothing(path: Path, text: str, error: str) -> None:
    """The old rules stay, the log has file, line and key, once; a good file is taken again."""
    stage = Stage(path)
    stage.reload.start()
    write(path, text)

    refused = await stage.told("rules_refused")
    await asyncio.sleep(5 * POLL_S)
    assert error in refused["error"]
    assert (["first"], {"good": 0, "bad": 1}) == (stage.rules, stage.reload.counts)

    write(path, "- {name: second}")
    await stage.told("rules_loaded", 2)
    await stage.reload.stop()
    assert ["second"] == stage.rules


async def test_a_file_that_is_gone(path: Path) -> None:
    """So does a file that is away; when it is back it is read."""
    stage = Stage(path)
    stage.reload.start()
    remove(path)

    assert "there is no such file" in (await stage.told("rules_refused"))["error"]
    assert ["first"] == stage.rules
    write(path, "[]")
    await stage.told("rules_loaded", 2)
    await stage.reload.stop()
    assert stage.steer.book is None


def test_a_bad_start(path: Path) -> None:
    """With a bad file the gateway does not start: nobody should run without their rules."""
    write(path, "- {name: first, target: x}")

    with pytest.raises(ConfigError, match="'x' is no model"):
        Stage(path)


async def test_experiments_go_on(path: Path) -> None:
    """An experiment that stays the same keeps its ramp and its counts; another does not."""
    arms = "arms: [{name: a}, {name: b}]"
    write(path, f"- {{name: r, experiment: {{name: e, {arms}}}}}")
    stage = Stage(path)
    stage.reload.start()
    trials = stage.steer.trials
    trials.ramp("e", 1, 10)
    kept = trials.running["e"]

    write(path, f"- {{name: new}}\n- {{name: r, experiment: {{name: e, {arms}}}}}")
    await stage.told("rules_loaded", 2)
    assert kept is trials.running["e"]
    assert (90, 10) == trials.weights["e"]

    write(path, f"- {{name: r, experiment: {{name: e, by: user, {arms}}}}}")
    await stage.told("rules_loaded", 3)
    await stage.reload.stop()
    assert (1, 1) == trials.weights["e"]
