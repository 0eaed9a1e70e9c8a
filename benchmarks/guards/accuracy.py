"""Precision and recall: of each entity, of attacks, of harmless prompts that look like attacks."""

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from bastioncorpus import load_corpus

from benchmarks.guards.made import FILE
from headrace.config.examples import shipped as tiers
from headrace.config.guards import Injection as Settings
from headrace.config.guards import Pii
from headrace.gateway.rules.embedding import Builtin
from headrace.guard.injection import Injection
from headrace.guard.patterns import ENTITIES, Patterns
from headrace.guard.presidio import Presidio
from headrace.guard.types import Detector

Row = tuple[str, set[tuple[str, int, int]]]


def labelled() -> list[Row]:
    """The rows of the test set."""
    read = [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]
    return [(row["text"], {(each[0], each[1], each[2]) for each in row["spans"]}) for row in read]


def entities() -> dict[str, dict[str, Any]]:
    """By engine and entity: found rightly (the whole thing, by its right name), wrongly, missed."""
    rows = labelled()
    return {
        "patterns": _scores(Patterns(), rows),
        "presidio": _scores(Presidio(Pii(engine="presidio")), rows),
    }


def _scores(detector: Detector, rows: Sequence[Row]) -> dict[str, Any]:
    right, wrong, missed = Counter[str](), Counter[str](), Counter[str]()
    harmless = 0
    for text, spans in rows:
        found = {(each.entity, each.start, each.end) for each in detector.find(text)}
        right.update(entity for entity, *_ in found & spans)
        wrong.update(entity for entity, *_ in found - spans)
        missed.update(entity for entity, *_ in spans - found)
        harmless += not spans and bool(found)
    scores: dict[str, Any] = {
        name: _score(right[name], wrong[name], missed[name]) for name in ENTITIES
    }
    scores["all"] = _score(right.total(), wrong.total(), missed.total())
    scores["harmless"] = {"rows": sum(not spans for _, spans in rows), "found": harmless}
    return scores


def _score(right: int, wrong: int, missed: int) -> dict[str, float]:
    return {
        "right": right,
        "wrong": wrong,
        "missed": missed,
        "precision": round(right / max(1, right + wrong), 4),
        "recall": round(right / max(1, right + missed), 4),
    }


def attacks() -> dict[str, dict[str, Any]]:
    """Rules alone, and with nearness: on the corpus, and on prompts of no attacker."""
    corpus = [(row["text"], row["label"] == "malicious") for row in map(_plain, load_corpus())]
    prompts = [example.text for example in tiers()[1::2]]  # not those that it has learned from
    builtin = Builtin()
    kinds = {
        "rules": Injection(Settings(vectors=False)),
        "rules and vectors": Injection(Settings(), builtin),
    }
    return {name: _attacks(detector, corpus, prompts) for name, detector in kinds.items()}


def _plain(row: Any) -> dict[str, Any]:
    return row if isinstance(row, dict) else vars(row)


def _attacks(
    detector: Injection, corpus: Sequence[tuple[str, bool]], prompts: Sequence[str]
) -> dict[str, Any]:
    said = [(bool(detector.find(text)), attack) for text, attack in corpus]
    right = sum(found and attack for found, attack in said)
    wrong = sum(found and not attack for found, attack in said)
    missed = sum(attack and not found for found, attack in said)
    false = sum(bool(detector.find(text)) for text in prompts)
    return {
        **_score(right, wrong, missed),
        "traps": sum(not attack for _, attack in said),
        "prompts": len(prompts),
        "false": false,
    }
