"""
Where the rows of the evaluation come from: licence, split, class, and the published results that
say whether a large model is worth it there. Reading the sources is gather.py's.
"""

from dataclasses import dataclass
from typing import Literal

# The rule: a source is `reasoning` where published results of a small and a large model of one
# kind differ by 10 points of 100 or more (on MT-Bench: half a point of 10), else it is `fast`.
LLAMA = (
    "[Llama 3.1, 8B to 70B]"
    "(https://github.com/meta-llama/llama-models/blob/main/models/llama3_1/MODEL_CARD.md)"
)
MIXTRAL = "[Mixtral 8x7B to GPT-4](https://github.com/lm-sys/RouteLLM/tree/main/routellm/evals)"
SCALE = "[PaLM and GPT-3 by size](https://arxiv.org/abs/2201.11903)"

MT_BENCH_SMALL = (
    f"{MIXTRAL}, MT-Bench of 10: writing 9.55 to 9.65, roleplay 9.50 to 9.48, humanities 9.90 to"
    " 10.00, stem 9.63 to 9.95"
)
MT_BENCH_LARGE = (
    f"{MIXTRAL}, MT-Bench of 10: coding 6.30 to 8.65, math 5.95 to 7.95, extraction 8.25 to 9.75,"
    " reasoning 7.65 to 8.40"
)


@dataclass(frozen=True, slots=True)
class Source:
    """One data set. ``argued`` says how strong the evidence for its class is."""

    name: str
    url: str
    licence: str
    split: Literal["train", "test"]
    tier: Literal["fast", "reasoning"]
    rows: int
    evidence: str
    argued: Literal["measured on it", "measured on its kind", "by analogy"]


SOURCES = (
    Source(
        "aqua", "https://github.com/google-deepmind/AQuA", "Apache-2.0", "train", "reasoning", 110,
        f"{LLAMA}: MATH 51.9 to 68.0; solving AQuA with steps comes with size ({SCALE})",
        "measured on its kind",
    ),
    Source(
        "svamp", "https://github.com/arkilpatel/SVAMP", "MIT", "train", "reasoning", 60,
        f"solving it with steps comes with size ({SCALE}, figure 4)", "measured on it",
    ),
    Source(
        "mbpp", "https://github.com/google-research/google-research/tree/master/mbpp", "CC-BY-4.0",
        "train", "reasoning", 120, f"{LLAMA}: MBPP++ 72.8 to 86.0",
        "measured on it",
    ),
    Source(
        "bbh", "https://github.com/suzgunmirac/BIG-Bench-Hard", "MIT", "train", "reasoning", 120,
        f"{LLAMA}: BIG-Bench Hard 64.2 to 81.6; only its algorithmic tasks",
        "measured on it",
    ),
    Source(
        "arena-hard", "https://github.com/lm-sys/arena-hard-auto (v0.1)", "Apache-2.0", "train",
        "reasoning", 120,
        "users' hard questions; win rate of Llama 3.1, 8B to 70B: 21.3 to 55.7, Mixtral 8x7B to"
        " GPT-4: 23.4 to 78.0 (its README)", "measured on it",
    ),
    Source(
        "vicuna-hard", "https://github.com/lm-sys/FastChat (vicuna_bench)", "Apache-2.0", "train",
        "reasoning", 20, f"coding, math and fermi: {MT_BENCH_LARGE}", "measured on its kind",
    ),
    Source(
        "seeds-hard", "https://github.com/yizhongw/self-instruct (seed_tasks)", "Apache-2.0",
        "train", "reasoning", 30, f"its code and maths tasks: {MT_BENCH_LARGE}",
        "measured on its kind",
    ),
    Source(
        "clinc", "https://github.com/clinc/oos-eval", "CC-BY-3.0", "train", "fast", 200,
        "one short command or question; no comparison of sizes that we could check was found",
        "by analogy",
    ),
    Source(
        "vicuna-easy", "https://github.com/lm-sys/FastChat (vicuna_bench)", "Apache-2.0", "train",
        "fast", 60, f"its other categories: {MT_BENCH_SMALL}", "measured on its kind",
    ),
    Source(
        "seeds-easy", "https://github.com/yizhongw/self-instruct (seed_tasks)", "Apache-2.0",
        "train", "fast", 150,
        f"writing, rewriting, chat, simple classification: {MT_BENCH_SMALL}; summaries:"
        " [tuning decides, not size](https://arxiv.org/abs/2301.13848)", "measured on its kind",
    ),
    Source(
        "gsm8k", "https://github.com/openai/grade-school-math", "MIT", "test", "reasoning", 300,
        f"{LLAMA}: 84.5 to 95.1; {MIXTRAL}: 63.8 to 85.7", "measured on it",
    ),
    Source(
        "humaneval", "https://github.com/openai/human-eval", "MIT", "test", "reasoning", 164,
        f"{LLAMA}: 72.6 to 80.5 (Llama 3: 60.4 to 81.7)", "measured on it",
    ),
    Source(
        "mt-bench-hard", "https://github.com/lm-sys/FastChat (mt_bench)", "Apache-2.0", "test",
        "reasoning", 40, f"first turns; {MT_BENCH_LARGE}", "measured on it",
    ),
    Source(
        "banking", "https://github.com/PolyAI-LDN/task-specific-datasets (banking_data)",
        "CC-BY-4.0", "test", "fast", 200,
        "customers' one-line questions; no comparison of sizes that we could check was found",
        "by analogy",
    ),
    Source(
        "snips", "https://github.com/sonos/nlu-benchmark", "CC0-1.0", "test", "fast", 150,
        "one spoken command; no comparison of sizes that we could check was found", "by analogy",
    ),
    Source(
        "user-tasks", "https://github.com/yizhongw/self-instruct (human_eval)", "Apache-2.0",
        "test", "fast", 150,
        f"tasks of writing, shopping, travel and social applications: {MT_BENCH_SMALL}",
        "measured on its kind",
    ),
    Source(
        "mt-bench-easy", "https://github.com/lm-sys/FastChat (mt_bench)", "Apache-2.0", "test",
        "fast", 40, f"first turns; {MT_BENCH_SMALL}", "measured on it",
    ),
)  # fmt: skip

# What we looked for and could not have, or may not ship; docs/tiers.md says so.
ABSENT = {
    "IFEval": "tried as `fast` examples (Llama 3.1, 8B to 70B: 80.4 to 87.5) and made most held-out"
    " sources worse, since its rules of form look like puzzles",
    "Dolly-15k": "CC-BY-SA-3.0: share-alike",
    "BoolQ, SQuAD, ARC": "CC-BY-SA: share-alike",
    "DialogSum, AlpacaEval": "not for commercial use",
    "OASST, WildChat, RouterBench's rows": "on a hub that cannot be reached here",
    "MATH": "the copy here holds pointers to large files, not the rows",
    "BIG-bench": "no copy here; BIG-Bench Hard stands in",
}
