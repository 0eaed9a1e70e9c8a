"""KEDA's queries, evaluated by Prometheus' own engine on series with known answers."""

import subprocess
from pathlib import Path

import pytest
import yaml

from deploy.kit.helm import CHART, one, profile

pytestmark = pytest.mark.xdist_group("helm")

ZERO = CHART / "ci" / "05-zero-values.yaml"
OURS = 'namespace="llm",model_name="qwen3-8b"'
HELD = 'namespace="llm",model="qwen3-8b"'

# What the series say, then load and wake-up as the queries should tell them.
CASES = {
    "no series at all, as before the first scrape": ({}, 0, 0),
    "idle": ({f"vllm:num_requests_running{{{OURS}}}": 0}, 0, 0),
    "a request waits for a model at zero": ({f'headrace_held_requests{{{HELD},pod="a"}}': 1}, 0, 1),
    "two gateways hold some": (
        {f'headrace_held_requests{{{HELD},pod="{pod}"}}': 3 for pod in ("a", "b")},
        0,
        6,
    ),
    "two engines run, one has a queue, so has a gateway": (
        {
            f'vllm:num_requests_running{{{OURS},pod="e1"}}': 12,
            f'vllm:num_requests_running{{{OURS},pod="e2"}}': 20,
            f'vllm:num_requests_waiting{{{OURS},pod="e1"}}': 2,
            f'headrace_waiting_requests{{{HELD},pod="a"}}': 3,
        },
        32 + 10 * 2 + 10 * 3,
        0,
    ),
    "another model and another namespace do not count": (
        {
            'vllm:num_requests_running{namespace="llm",model_name="other"}': 50,
            'vllm:num_requests_waiting{namespace="test",model_name="qwen3-8b"}': 50,
            'headrace_held_requests{namespace="test",model="qwen3-8b"}': 50,
        },
        0,
        0,
    ),
}


def queries() -> dict[str, str]:
    """The ScaledObject's queries by the names of their triggers."""
    spec = one(profile(ZERO), "ScaledObject", "prod-headrace-qwen3-8b")["spec"]
    return {
        each["name"]: each["metadata"]["query"]
        for each in spec["triggers"]
        if each["type"] == "prometheus"
    }


def promtool(folder: Path, shift: float = 0) -> str:
    """What Prometheus finds wrong with all cases at once; nothing is good."""
    rules = [{"record": f"answer:{name}", "expr": text} for name, text in queries().items()]
    (folder / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "g", "rules": rules}]}))
    tests = []
    for name, (series, load, wake) in CASES.items():
        asked = [("load", load + shift), ("wake", wake)]
        tests.append(
            {
                "name": name,
                "interval": "5s",
                "input_series": [
                    {"series": key, "values": f"{value}x3"} for key, value in series.items()
                ],
                "promql_expr_test": [
                    {
                        "expr": f"answer:{trigger}",
                        "eval_time": "10s",
                        "exp_samples": [{"labels": f"answer:{trigger}", "value": value}],
                    }
                    for trigger, value in asked
                ],
            }
        )
    file = folder / "tests.yaml"
    file.write_text(
        yaml.safe_dump({"rule_files": ["rules.yaml"], "evaluation_interval": "5s", "tests": tests})
    )
    call = ["promtool", "test", "rules", "tests.yaml"]
    done = subprocess.run(call, cwd=folder, capture_output=True, text=True, check=False)
    return done.stderr if done.returncode else ""


def test_prometheus_answers_as_meant(tmp_path: Path) -> None:
    """Load is what runs and ten times what waits, in engines and gateways; nothing is zero."""
    assert "" == promtool(tmp_path)


def test_a_wrong_answer_is_found(tmp_path: Path) -> None:
    """The judge of the test above does fail."""
    assert "FAILED" in promtool(tmp_path, shift=1)


def test_zero_can_be_left_and_reached() -> None:
    """No replica without load; any load wakes one; both triggers begin at the first request."""
    spec = one(profile(ZERO), "ScaledObject", "prod-headrace-qwen3-8b")["spec"]
    prometheus = [each["metadata"] for each in spec["triggers"] if each["type"] == "prometheus"]

    assert (0, 4) == (spec["minReplicaCount"], spec["maxReplicaCount"])
    assert ["0", "0"] == [each["activationThreshold"] for each in prometheus]
    assert ["cron"] == [t["type"] for t in spec["triggers"] if t["type"] != "prometheus"]


def test_up_is_fast_and_down_is_slow() -> None:
    """900 % within 15 s and at once; one a minute, after five minutes."""
    spec = one(profile(ZERO), "ScaledObject", "prod-headrace-qwen3-8b")["spec"]
    behaviour = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    up, down = behaviour["scaleUp"], behaviour["scaleDown"]

    assert (0, 300) == (up["stabilizationWindowSeconds"], down["stabilizationWindowSeconds"])
    assert [{"type": "Percent", "value": 900, "periodSeconds": 15}] == up["policies"]
    assert [{"type": "Pods", "value": 1, "periodSeconds": 60}] == down["policies"]
