"""watch.py: what is shown again and again."""

import time

import pytest

from headrace.cli import watch
from headrace.errors import StartError


class Looks:
    """Looks one after another, an error among them; the one after the last is Ctrl-C."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *looks: str | StartError) -> None:
        self.left = [*looks]
        self.waits: list[float] = []
        monkeypatch.setattr(time, "sleep", self.sleep)

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)

    def __call__(self) -> str:
        if not self.left:
            raise KeyboardInterrupt
        look = self.left.pop(0)
        if isinstance(look, StartError):
            raise look
        return look


def test_once(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Without the option there is one look, and no pause."""
    looks = Looks(monkeypatch, "first", "second")
    watch.show(looks, watch=False)

    assert ("first\n", []) == (capsys.readouterr().out, looks.waits)


def test_until_ctrl_c(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Each look takes the place of the one before, after the pause; Ctrl-C ends it in silence."""
    looks = Looks(monkeypatch, "first", "second", "third")
    watch.show(looks, watch=True, every_s=0.5)

    assert [0.5, 0.5] == looks.waits
    assert "third" == capsys.readouterr().out  # in a pipe only the last one is printed


def test_a_restart_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody there at first is an error; nobody there later is told, and asked again."""
    away = StartError("Nobody answers.")
    with pytest.raises(StartError):
        watch.show(Looks(monkeypatch, away), watch=True)

    watch.show(Looks(monkeypatch, "first", away), watch=True)
    assert "Nobody answers. Trying again." == capsys.readouterr().out

    watch.show(Looks(monkeypatch, "first", away, "back"), watch=True)
    assert "back" == capsys.readouterr().out
