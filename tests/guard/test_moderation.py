"""moderation.py: a classifier is asked in OpenAI's form, and whatever it says is understood."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from headrace.config.guards import Moderation as Settings
from headrace.conformance import answers
from headrace.conformance.fake import FakeEngine
from headrace.guard.moderation import Moderation
from headrace.guard.types import Unavailable


@pytest.fixture
async def engine() -> AsyncIterator[FakeEngine]:
    made = await FakeEngine(answers.hangs).start()
    yield made
    await made.stop()


def asked(engine: FakeEngine) -> Moderation:
    return Moderation(
        Settings(url=f"{engine.url}/v1/moderations", model="m", api_key="k")  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(
    ("results", "found"),
    [
        ([{"flagged": False, "categories": {"hate": False}}], []),
        ([{"flagged": True, "categories": {"hate": True, "spam": False}}], ["hate"]),
        ([{"flagged": True}], ["FLAGGED"]),
        ([], []),
    ],
)
async def test_categories(engine: FakeEngine, results: Any, found: list[str]) -> None:
    """Those that are flagged, of texts that are."""
    engine.script = answers.says(200, json.dumps({"results": results}).encode())
    moderation = asked(engine)

    assert found == await moderation.find("hello")
    sent = engine.exchanges[-1]
    assert {"input": "hello", "model": "m"} == sent.json()
    assert "Bearer k" == sent.header("authorization")
    moderation.close()


@pytest.mark.parametrize(
    ("script", "why"),
    [
        (answers.says(500, b""), "it answered 500"),
        (answers.says(200, b"[]"), "something else than moderations"),
        (answers.resets, "."),
    ],
)
async def test_no_answer(engine: FakeEngine, script: Any, why: str) -> None:
    """It is told why; what then happens is the guard's word."""
    engine.script = script
    moderation = asked(engine)
    with pytest.raises(Unavailable, match=why):
        await moderation.find("hello")
    moderation.close()
