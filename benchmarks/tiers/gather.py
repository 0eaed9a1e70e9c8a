"""
Takes the evaluation's rows from clones of their sources, with a fixed seed, and writes the data
files. Run once by hand; what it wrote is in the repository, so that nothing is fetched later.
"""

import argparse
import csv
import gzip
import io
import json
import random
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from .sources import SOURCES, Source

SHIPPED = Path("src/headrace/config/tiers.jsonl")
DATA = Path(__file__).parent / "data"
LONGEST = 1_500  # characters of a row: the classifier reads no more than that of a text

# The algorithmic half of BIG-Bench Hard, by its authors' division.
ALGORITHMIC = (
    "boolean_expressions", "dyck_languages", "formal_fallacies", "geometric_shapes",
    "logical_deduction_five_objects", "logical_deduction_seven_objects", "multistep_arithmetic_two",
    "navigate", "object_counting", "penguins_in_a_table", "reasoning_about_colored_objects",
    "temporal_sequences", "tracking_shuffled_objects_five_objects", "web_of_lies", "word_sorting",
)  # fmt: skip
HARD = {"coding", "math", "reasoning", "extraction", "fermi"}
HARD_SEEDS = {
    "fun_math_question", "find_subset_of_numbers_with_target_sum", "perfect_numbers",
    "write_comments_in_python", "complete_python_code", "solving_equation", "code_todo",
    "regular_expression_generation", "math_word_problem_with_reasoning", "text_to_sql",
    "htlm_task", "python_code_generation", "python_sorting", "numerical_question_answering",
    "monthly_budget", "chess_puzzle", "solving_math_problem", "travel_budget",
    "word_math_with_algebra", "code_for_bitcoin_price", "program_for_summation",
    "javascript_date_and_time", "python_leetcode", "solve_equation_system", "syllogism",
    "code_syntax_error",
}  # fmt: skip
EASY_APPS = {
    "Gmail", "Grammarly", "Netflix", "Amazon", "IMDB", "Tasty", "Twitter", "Spotify", "Messenger",
    "tripadvisor.com", "LinkedIn", "Indeed", "instructables", "Goodreads", "Instagram", "YouTube",
    "Yelp", "Notion", "Blogger", "Reddit", "Quora", "Google Docs", "Facebook", "Telegram",
    "Meetup", "Workout", "Wysa", "Weather", "National Geographic", "merriam-webster.com",
}  # fmt: skip


class Clones:
    """A folder of clones, each named like its repository; read as they were committed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, name: str, path: str) -> bytes:
        return self._git(name, "show", f"HEAD:{path}")

    def files(self, name: str, folder: str) -> list[str]:
        return self._git(name, "ls-tree", "-r", "--name-only", "HEAD", folder).decode().split()

    def _git(self, name: str, *words: str) -> bytes:
        argv = ["git", "-C", str(self._folder / name), *words]
        return subprocess.run(argv, check=True, capture_output=True).stdout

    def lines(self, name: str, path: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.read(name, path).splitlines() if line.strip()]


def aqua(clones: Clones) -> Iterator[str]:
    for row in clones.lines("AQuA", "dev.json") + clones.lines("AQuA", "test.json"):
        yield f"{row['question']}\n{' '.join(row['options'])}"


def svamp(clones: Clones) -> Iterator[str]:
    for row in json.loads(clones.read("SVAMP", "SVAMP.json")):
        yield f"{row['Body'].strip()} {row['Question'].strip()}"


def mbpp(clones: Clones) -> Iterator[str]:
    for row in clones.lines("OckBench", "data/mbpp.jsonl"):
        yield row["text"]


def bbh(clones: Clones) -> Iterator[str]:
    for task in ALGORITHMIC:
        examples = json.loads(clones.read("BIG-Bench-Hard", f"bbh/{task}.json"))["examples"]
        yield from (row["input"] for row in examples[:20])


def clinc(clones: Clones) -> Iterator[str]:
    found = json.loads(clones.read("oos-eval", "data/data_full.json"))
    yield from (text for text, intent in found["test"] if intent != "calculator")


def arena_hard(clones: Clones) -> Iterator[str]:
    for row in clones.lines("arena-hard-auto", "data/arena-hard-v0.1/question.jsonl"):
        yield row["turns"][0]["content"]


def _bench(clones: Clones, name: str, hard: bool) -> Iterator[str]:
    path = f"fastchat/llm_judge/data/{name}/question.jsonl"
    for row in clones.lines("FastChat", path):
        if (row["category"] in HARD) is hard:
            yield row["turns"][0]


def _seeds(clones: Clones, hard: bool) -> Iterator[str]:
    for row in clones.lines("self-instruct", "data/seed_tasks.jsonl"):
        if (row["name"] in HARD_SEEDS) is hard:
            yield _instance(row)


def user_tasks(clones: Clones) -> Iterator[str]:
    for row in clones.lines("self-instruct", "human_eval/user_oriented_instructions.jsonl"):
        if row["motivation_app"] in EASY_APPS:
            yield _instance(row)


def _instance(row: dict[str, Any]) -> str:
    return f"{row['instruction']}\n{row['instances'][0]['input']}".strip()


def gsm8k(clones: Clones) -> Iterator[str]:
    for row in clones.lines("grade-school-math", "grade_school_math/data/test.jsonl"):
        yield row["question"]


def humaneval(clones: Clones) -> Iterator[str]:
    packed = clones.read("human-eval", "data/HumanEval.jsonl.gz")
    for line in gzip.decompress(packed).splitlines():
        yield json.loads(line)["prompt"]


def banking(clones: Clones) -> Iterator[str]:
    text = clones.read("task-specific-datasets", "banking_data/test.csv").decode()
    yield from (row["text"] for row in csv.DictReader(io.StringIO(text)))


def snips(clones: Clones) -> Iterator[str]:
    intents = (
        "AddToPlaylist", "BookRestaurant", "GetWeather", "PlayMusic", "RateBook",
        "SearchCreativeWork", "SearchScreeningEvent",
    )  # fmt: skip
    for intent in intents:
        path = f"2017-06-custom-intent-engines/{intent}/validate_{intent}.json"
        rows = json.loads(clones.read("nlu-benchmark", path).decode("utf-8", "replace"))
        yield from ("".join(part["text"] for part in row["data"]) for row in rows[intent])


READERS: dict[str, Callable[[Clones], Iterator[str]]] = {
    "arena-hard": arena_hard, "aqua": aqua, "svamp": svamp, "mbpp": mbpp, "bbh": bbh,
    "clinc": clinc,
    "vicuna-hard": lambda clones: _bench(clones, "vicuna_bench", hard=True),
    "vicuna-easy": lambda clones: _bench(clones, "vicuna_bench", hard=False),
    "seeds-hard": lambda clones: _seeds(clones, hard=True),
    "seeds-easy": lambda clones: _seeds(clones, hard=False),
    "gsm8k": gsm8k, "humaneval": humaneval, "banking": banking, "snips": snips,
    "mt-bench-hard": lambda clones: _bench(clones, "mt_bench", hard=True),
    "mt-bench-easy": lambda clones: _bench(clones, "mt_bench", hard=False),
    "user-tasks": user_tasks,
}  # fmt: skip


def rows(source: Source, clones: Clones) -> Iterator[dict[str, Any]]:
    """A fixed sample of a source, in its own order."""
    texts = [text.strip()[:LONGEST] for text in dict.fromkeys(READERS[source.name](clones))]
    chance = random.Random(f"headrace {source.name}")
    kept = sorted(chance.sample(range(len(texts)), min(source.rows, len(texts))))
    for index in kept:
        yield {
            "class": source.tier, "text": texts[index], "source": source.name,
            "licence": source.licence,
        }  # fmt: skip


def outcomes(clones: Clones) -> Iterator[dict[str, Any]]:
    """What a small and a large model made of each row: from 0 (wrong) to 1 (right)."""
    answers = csv.DictReader(
        io.StringIO(clones.read("RouteLLM", "routellm/evals/gsm8k/gsm8k_responses.csv").decode())
    )
    yield from (_outcome("gsm8k", "", row, "MIT") for row in answers)
    listed = clones.files("RouteLLM", "routellm/evals/mmlu/responses/")
    for path in listed:
        subject = Path(path).stem.removeprefix("mmlu_")
        found = list(csv.DictReader(io.StringIO(clones.read("RouteLLM", path).decode())))
        chance = random.Random(f"headrace mmlu {subject}")
        for index in sorted(chance.sample(range(len(found)), min(20, len(found)))):
            yield _outcome("mmlu", subject, found[index], "MIT")
    yield from _judged(clones)


def _outcome(bench: str, part: str, row: dict[str, str], licence: str) -> dict[str, Any]:
    small = row["mistralai/Mixtral-8x7B-Instruct-v0.1"] == "True"
    large = row["gpt-4-1106-preview"] == "True"
    text = row["prompt"].strip()[:LONGEST]
    return {
        "bench": bench, "part": part, "text": text, "small": float(small), "large": float(large),
        "licence": licence,
    }  # fmt: skip


def _judged(clones: Clones) -> Iterator[dict[str, Any]]:
    asked = {
        row["question_id"]: row
        for row in clones.lines("RouteLLM", "routellm/evals/mt_bench/question.jsonl")
    }
    scores: dict[tuple[int, int], dict[str, float]] = {}
    for row in clones.lines("RouteLLM", "routellm/evals/mt_bench/judgements.jsonl"):
        scores.setdefault((row["question_id"], row["turn"]), {})[row["model"]] = row["score"]
    for (question, turn), by_model in sorted(scores.items()):
        yield {
            "bench": "mt-bench", "part": asked[question]["category"],
            "text": asked[question]["turns"][turn - 1],
            "small": by_model["mistralai/Mixtral-8x7B-Instruct-v0.1"] / 10,
            "large": by_model["gpt-4-1106-preview"] / 10, "licence": "Apache-2.0",
        }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tiers.gather", description=__doc__)
    parser.add_argument("clones", type=Path, help="the folder that holds the clones")
    clones = Clones(parser.parse_args().clones)
    tested = _sampled("test", clones)
    weighed = list(outcomes(clones))
    held_out = {row["text"] for row in (*tested, *weighed)}  # MT-Bench has some of Vicuna's
    learned = [row for row in _sampled("train", clones) if row["text"] not in held_out]
    _write(SHIPPED, learned)
    SHIPPED.with_suffix(".md").write_text(credited("train"), encoding="utf-8")
    _write(DATA / "evaluation.jsonl", tested)
    _write(DATA / "outcomes.jsonl", weighed)


def credited(split: str) -> str:
    """Who made the texts that go out with the package, and under which licence."""
    lines = [
        f"- `{source.name}`: {source.url}, {source.licence}"
        for source in SOURCES
        if source.split == split
    ]
    return (
        "# Sources of tiers.jsonl\n\n"
        "Texts are as they were, cut at 1,500 characters, with a class. Each row names its source"
        " and its licence.\n\n" + "\n".join(lines) + "\n"
    )


def _sampled(split: str, clones: Clones) -> list[dict[str, Any]]:
    return [row for each in SOURCES if each.split == split for row in rows(each, clones)]


def _write(path: Path, found: Sequence[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = (json.dumps(row, ensure_ascii=False) for row in found)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{path}: {len(found)} rows")


if __name__ == "__main__":
    main()
