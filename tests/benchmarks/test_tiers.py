"""The evaluation of classes: its data is clean, its sums are right, and the aim is reached."""

import json
from collections import Counter
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from benchmarks.tiers import chart, gather, judged, money, report
from benchmarks.tiers.sources import SOURCES
from headrace.gateway.rules.embedding import Builtin
from headrace.routing.classify import Judge

PERMISSIVE = {"MIT", "Apache-2.0", "CC0-1.0", "CC-BY-3.0", "CC-BY-4.0"}
PANEL = {
    "always_small": 0.5, "always_large": 0.9, "calls_to_large": 0.4, "ours": 0.7,
    "curve": [[0.0, 0.5], [0.5, 0.8], [1.0, 0.9]],
}  # fmt: skip


@pytest.fixture(scope="module")
def builtin() -> Builtin:
    return Builtin()


@pytest.fixture(scope="module")
def shipped(builtin: Builtin) -> Judge:
    """The judge as it is shipped, learned once."""
    return judged.learned(judged.examples(builtin))


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_each_row_has_its_source_class_and_licence() -> None:
    """Every row is of a listed source, with its class and a licence that lets us ship it."""
    listed = {source.name: source for source in SOURCES}
    splits = {"train": gather.SHIPPED, "test": gather.DATA / "evaluation.jsonl"}
    for split, path in splits.items():
        for row in rows(path):
            source = listed[row["source"]]
            assert (split, source.tier, source.licence) == (
                source.split, row["class"], row["licence"],
            )  # fmt: skip
            assert row["licence"] in PERMISSIVE


def test_shipped_texts_are_credited() -> None:
    """Beside the texts that are in the package stands where each is from, and its licence."""
    page = gather.SHIPPED.with_suffix(".md").read_text(encoding="utf-8")

    assert gather.credited("train") == page
    assert all(f"`{row['source']}`" in page for row in rows(gather.SHIPPED))


def test_nothing_held_out_was_learned() -> None:
    """No text of the examples is in the evaluation or among the outcomes."""
    learned = {row["text"] for row in rows(gather.SHIPPED)}
    held = {row["text"] for row in rows(gather.DATA / "evaluation.jsonl")}
    weighed = {row["text"] for row in rows(gather.DATA / "outcomes.jsonl")}

    assert set() == learned & (held | weighed)


@pytest.mark.xdist_group("tiers")
def test_aim_is_reached(builtin: Builtin, shipped: Judge) -> None:
    """What is shipped is right on 85 % of held-out rows, and its confidence is within 0.06."""
    tested = judged.evaluation(builtin)
    found = judged.accuracy(tested, judged.likely(shipped, tested.known))

    assert found["right"] >= 0.85
    assert found["mean_of_sources"] >= 0.85
    assert found["calibration_error"] <= 0.06


@pytest.mark.xdist_group("tiers")
def test_better_than_chance_on_a_mix(builtin: Builtin, shipped: Judge) -> None:
    """Over a mix of kinds, classes keep more quality than chance does at the same cost."""
    found = money.saved(builtin, shipped, 0.6, every=4)

    assert found["even mix"]["gain_over_chance"] > 0.01
    assert {"gsm8k", "mmlu", "mt-bench", "even mix"} == {*found}
    for each in found.values():
        assert each["ours"] <= each["best_at_equal_cost"] + 0.01
        assert [0.0, each["always_small"]] == pytest.approx(each["curve"][0], abs=1e-3)
        assert [1.0, each["always_large"]] == pytest.approx(each["curve"][-1], abs=1e-3)


def test_weighing_by_hand() -> None:
    """Four rows, two of them sent to the large model: cost, quality, chance, the best."""
    small, large = np.array([0.0, 1.0, 0.0, 1.0]), np.array([1.0, 1.0, 1.0, 1.0])
    reasoning = np.array([0.9, 0.8, 0.1, 0.2], np.float32)
    found = money._weighed(small, large, reasoning, 0.6, None)

    assert (0.5, 1.0, 0.5) == (
        found["always_small"], found["always_large"], found["calls_to_large"],
    )  # fmt: skip
    assert (0.75, 0.75, 1.0) == (
        found["ours"], found["chance_at_equal_cost"], found["best_at_equal_cost"],
    )  # fmt: skip
    assert 0.5 == found["gap_recovered"]
    assert 0.4951 == found["money_saved"]


def test_unsure_goes_to_the_default() -> None:
    """Only what is surely fast is fast."""
    reasoning = np.array([0.1, 0.45, 0.55, 0.9], np.float32)

    assert [0, 1, 1, 1] == judged.routed(reasoning, 0.6).tolist()
    assert [0, 0, 1, 1] == judged.routed(reasoning, 0.0).tolist()


def test_samples_are_the_same_each_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Rows are drawn with a seed of their source's name, without repeats, in its order."""
    source = next(source for source in SOURCES if source.name == "mbpp")
    texts = [f"text {number} " + "x" * 2000 for number in range(500)] * 2
    monkeypatch.setitem(gather.READERS, "mbpp", lambda clones: iter(texts))
    drawn = [[*gather.rows(source, gather.Clones(tmp_path))] for _ in range(2)]

    assert drawn[0] == drawn[1]
    assert source.rows == len({row["text"] for row in drawn[0]})
    assert {gather.LONGEST} == {*Counter(len(row["text"]) for row in drawn[0])}


def test_chart_is_a_picture() -> None:
    """The chart is well-formed, and has a panel and a point for each benchmark."""
    drawn = ET.fromstring(chart.draw({"one": PANEL, "two & more": PANEL}, "a < note"))
    circles = [each for each in drawn.iter() if each.tag.endswith("circle")]

    assert 3 == len(circles)  # and one in the legend


def test_page_keeps_what_people_wrote() -> None:
    """Only what stands between the two lines is written anew; a page without them is refused."""
    page = f"# Tiers\n\n{report.BEGIN}\nold\n{report.END}\nafter\n"

    assert f"# Tiers\n\n{report.BEGIN}\n\nnew\n\n{report.END}\nafter\n" == (
        report.replaced(page, "new")
    )
    with pytest.raises(ValueError, match="has no lines"):
        report.replaced("nothing", "new")
