"""``headrace experiment``: ramps, the table, and its pictures."""

import json

import pytest
from rich.console import Console

from headrace.cli.experiment import SCALE_WIDTH, interval, shown
from tests.cli.running import headrace, url

__all__ = ["url"]


class TestExperiment:
    def test_ramp_and_status(self, url: str) -> None:
        """A ramp tells the new shares, and the status shows them."""
        ramped = headrace("experiment", "ramp", "e", "new", "40", url=url)
        shown_now = headrace("experiment", "status", "e", url=url).output

        assert "e: old 60 %, new 40 %\n" == ramped.output
        assert "e (rule try, by session)" in shown_now
        assert ["60", "%", "██████░░░░"] == shown_now.splitlines()[2].split()[2:5]
        assert "no difference is certain" in shown_now

    def test_json(self, url: str) -> None:
        """All numbers for programs."""
        (seen,) = json.loads(headrace("experiment", "status", "--json", url=url).output)

        assert ["old", "new"] == [arm["name"] for arm in seen["arms"]]

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["status", "x"], "There is no experiment 'x'; there are: e."),
            (["ramp", "x", "new", "4"], "There is no experiment 'x'; there are: e."),
            (["ramp", "e", "x", "4"], "There is no arm 'x'; there are: old, new."),
        ],
    )
    def test_mistakes(self, url: str, arguments: list[str], message: str) -> None:
        """What there is, is named."""
        result = headrace("experiment", *arguments, url=url)

        assert (2, f"headrace: {message}\n") == (result.exit_code, result.output)

    def test_no_experiment(self) -> None:
        """Nothing to show is said."""
        console = Console(width=80)
        with console.capture() as captured:
            console.print(shown([]))

        assert "No rule in force has an experiment." in captured.get()

    def test_a_roll_back(self) -> None:
        """An arm that was taken out says by which metric; what is certain is named."""
        versus = {"error_p": 1e-5, "slow_p": 0.5, "ttft_p": 0.2, "ttft_change": 0.1,
                  "ttft_low": -0.1, "ttft_high": 0.3}  # fmt: skip
        arm = {"name": "a", "target": [], "percent": 100.0, "requests": 9, "error_rate": 0.5,
               "ttft_p50_ms": 5.0, "ttft_p95_ms": None, "tokens_out": 3, "taken_out": None,
               "versus_control": None}  # fmt: skip
        alarm = {"metric": "error_rate", "value": 0.5, "control": 0.01}
        out = {**arm, "name": "b", "taken_out": alarm, "versus_control": versus}
        console = Console(width=120)
        with console.capture() as captured:
            console.print(
                shown([{"name": "e", "rule": "r", "by": "user", "alpha": 0.01, "arms": [arm, out]}])
            )

        text = captured.get()
        assert "taken out, error_rate 0.5 against 0.01. failures differ" in text
        assert "ttft -10% " in text
        assert "as asked" in text

    @pytest.mark.parametrize(
        ("numbers", "expected"),
        [
            ((0.0, 0.0, 0.0), "·" * 20 + "●" + "·" * 20),
            ((0.25, 0.0, 0.5), "·" * 20 + "┼" + "─" * 9 + "●" + "─" * 10),
            ((-3.0, -9.0, 9.0), "●" + "─" * 19 + "┼" + "─" * 20),
        ],
    )
    def test_intervals(self, numbers: tuple[float, float, float], expected: str) -> None:
        """The picture has one width, and its middle is no change."""
        assert (SCALE_WIDTH, expected) == (len(expected), interval(*numbers))
