"""config/queue.py: the classes that are always there, and what a file may change of them."""

import pytest
from pydantic import ValidationError

from headrace.config.queue import Queue


def test_usual_classes() -> None:
    """Without a word of it there are three, in their order."""
    classes = Queue().classes

    assert {"interactive": 0, "batch": -50, "background": -100} == {
        name: each.rank for name, each in classes.items()
    }
    assert [None, 600, 3600] == [each.deadline_s for each in classes.values()]


def test_one_key_of_one_class() -> None:
    """What a file changes is changed, and all the rest stays; new classes stand beside them."""
    given = {"batch": {"deadline_s": 60}, "nightly": {"rank": -80, "max_requests": 5}}
    queue = Queue.model_validate({"classes": given})
    again = Queue.model_validate(queue.model_dump())

    assert (-50, 60.0) == (queue.classes["batch"].rank, queue.classes["batch"].deadline_s)
    assert ["interactive", "batch", "background", "nightly"] == [*queue.classes]
    assert again == queue


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"classes": {"nightly": {"rank": -50}}}, "the same rank"),
        ({"classes": {"nightly": {}}}, "rank"),
        ({"classes": {"Nightly": {"rank": 1}}}, "pattern"),
        ({"classes": {"batch": {"rank": 101}}}, "less than or equal to 100"),
        ({"header": "x priority"}, "must be the name of a header"),
    ],
)
def test_what_is_refused(given: dict[str, object], why: str) -> None:
    """Classes that cannot be told apart, have no rank, or no usable name."""
    with pytest.raises(ValidationError, match=why):
        Queue.model_validate(given)
