"""config/pressure.py: steps that do something, do not flap, and name what there is."""

import pytest
from pydantic import ValidationError

from headrace.config.pressure import Pressure, Step
from headrace.config.schema import Config

STEP = {"name": "a", "above_s": 4, "shed": True}


def test_it_ends_at_half() -> None:
    """Without a lower limit a step ends at half of the upper one."""
    assert 2.0 == Step.model_validate(STEP).end_s
    assert 0.0 == Step.model_validate(STEP | {"below_s": 0}).end_s


@pytest.mark.parametrize(
    ("step", "why"),
    [
        ({"shed": False}, "needs one of"),
        ({"max_tokens": 9}, "what is refused needs no more"),
        ({"below_s": 4}, "it would flap"),
        ({"above_s": 0}, "greater than 0"),
    ],
)
def test_steps_that_make_no_sense(step: dict[str, object], why: str) -> None:
    """A step does something, one thing or the other, and ends below where it begins."""
    with pytest.raises(ValidationError, match=why):
        Step.model_validate(STEP | step)


def test_names_are_unique() -> None:
    """Two steps of one name could not be told apart in metrics."""
    with pytest.raises(ValidationError, match="two steps named 'a'"):
        Pressure.model_validate({"steps": [STEP, STEP]})


@pytest.mark.parametrize(
    ("step", "why"),
    [
        ({"models": "gone"}, "'gone' is no model; there are m"),
        ({"shed": False, "fallback": "gone"}, "'gone' is no model"),
        ({"watch": "urgent"}, "'urgent' is no class of `queue.classes`"),
        ({"classes": ["batch", "urgent"]}, "'urgent' is no class"),
    ],
)
def test_what_there_is_not(step: dict[str, object], why: str) -> None:
    """Models and classes that there are not are said when the configuration is read."""
    tree = {"models": [{"name": "m"}], "pressure": {"steps": [STEP | step]}}
    with pytest.raises(ValidationError, match=why):
        Config.model_validate(tree)
