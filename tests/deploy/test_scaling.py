"""KEDA's queries and the adapter's, by Prometheus' own engine on series with known answers."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.kit.helm import CHART, one, profile, render

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
    "another model, another namespace and another release do not count": (
        {
            f'vllm:num_requests_running{{{OURS},release="prod"}}': 4,
            f'vllm:num_requests_running{{{OURS},release="staging"}}': 50,
            f'headrace_held_requests{{{HELD},release="staging"}}': 50,
            'vllm:num_requests_running{namespace="llm",model_name="other"}': 50,
            'vllm:num_requests_waiting{namespace="test",model_name="qwen3-8b"}': 50,
            'headrace_held_requests{namespace="test",model="qwen3-8b"}': 50,
        },
        4,
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
    return judged(folder, tests)


def judged(folder: Path, tests: list[dict[str, Any]]) -> str:
    """What Prometheus finds wrong with these tests."""
    rules = ["rules.yaml"] if (folder / "rules.yaml").exists() else []
    (folder / "tests.yaml").write_text(
        yaml.safe_dump({"rule_files": rules, "evaluation_interval": "5s", "tests": tests})
    )
    call = ["promtool", "test", "rules", "tests.yaml"]
    done = subprocess.run(call, cwd=folder, capture_output=True, text=True, check=False)
    return done.stderr + done.stdout if done.returncode else ""


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


# --- the gateway itself: KEDA's trigger and the adapter's rule say the same ---------------------

ADAPTER = CHART / "examples" / "prometheus-adapter-values.yaml"
# The fields of a rule: pkg/config/config.go of prometheus-adapter.
RULE = {"seriesQuery", "seriesFilters", "resources", "name", "metricsQuery"}
GATEWAYS = {
    "no series at all": ({}, 0),
    "engines at zero, two wait for the first": (
        {'headrace_held_requests{namespace="llm",pod="a"}': 2},
        2,
    ),
    "two gateways, requests at replicas and in queues": (
        {
            'headrace_replica_inflight_requests{namespace="llm",pod="a",replica="e1"}': 100,
            'headrace_replica_inflight_requests{namespace="llm",pod="b",replica="e1"}': 50,
            'headrace_waiting_requests{namespace="llm",pod="b",model="m"}': 7,
            'headrace_replica_inflight_requests{namespace="test",pod="c",replica="e9"}': 900,
        },
        157,
    ),
}


def adapter_rule() -> dict[str, Any]:
    """The one rule of the example for the adapter."""
    (rule,) = yaml.safe_load(ADAPTER.read_text())["rules"]["external"]
    found: dict[str, Any] = rule
    return found


def gateway_queries() -> dict[str, str]:
    """What KEDA asks, and what the adapter asks for an HPA in the namespace llm."""
    spec = one(profile(CHART / "ci/03-multi-tier-values.yaml"), "ScaledObject", "prod-headrace")[
        "spec"
    ]
    query = adapter_rule()["metricsQuery"].replace("<<.LabelMatchers>>", 'namespace="llm"')
    return {"keda": spec["triggers"][1]["metadata"]["query"], "adapter": query}


@pytest.mark.parametrize("asker", ["keda", "adapter"])
def test_gateways_scale_by_all_that_they_have_in_hand(tmp_path: Path, asker: str) -> None:
    """Requests at replicas, in queues, and held for a model at zero; without series it is 0."""
    query = gateway_queries()[asker]
    tests = [
        {
            "name": name,
            "interval": "5s",
            "input_series": [
                {"series": key, "values": f"{value}x3"} for key, value in series.items()
            ],
            "promql_expr_test": [
                {
                    "expr": query,
                    "eval_time": "10s",
                    "exp_samples": [{"labels": "{}", "value": load}],
                }
            ],
        }
        for name, (series, load) in GATEWAYS.items()
    ]

    assert "" == judged(tmp_path, tests)
    tests[0]["promql_expr_test"][0]["exp_samples"][0]["value"] = 1  # type: ignore[index]
    assert "FAILED" in judged(tmp_path, tests)


def test_the_adapter_serves_what_the_hpa_asks() -> None:
    """Its rule has the adapter's fields, names the metric, and is found by a series of ours."""
    rule = adapter_rule()
    spec = one(
        profile(CHART / "ci/04-spot-values.yaml"), "HorizontalPodAutoscaler", "prod-headrace"
    )["spec"]
    cpu, requests = spec["metrics"]
    series = rule["seriesQuery"].partition("{")[0]
    table = (CHART.parents[2] / "docs" / "metrics.md").read_text()

    assert set(rule) <= RULE
    assert rule["name"]["as"] == requests["external"]["metric"]["name"]
    assert re.fullmatch(rule["name"]["matches"], series)
    assert f"| `{series}` | gauge |" in table
    assert ("cpu", "400") == (
        cpu["resource"]["name"],
        requests["external"]["target"]["averageValue"],
    )


@pytest.mark.parametrize(
    ("inflight", "metrics_from", "kind"),
    [
        (0, "keda", "HorizontalPodAutoscaler"),
        (0, "prometheus-adapter", "HorizontalPodAutoscaler"),
        (400, "keda", "ScaledObject"),
        (400, "prometheus-adapter", "HorizontalPodAutoscaler"),
    ],
)
def test_one_scales_the_gateway(inflight: int, metrics_from: str, kind: str) -> None:
    """KEDA makes an HPA of its own, so there is never one beside its ScaledObject."""
    at = "gateway.autoscaling"
    values = f"{at}.enabled=true,{at}.inflight={inflight},{at}.metricsFrom={metrics_from}"
    made = render(
        "--values",
        str(CHART / "ci/01-minimal-cpu-values.yaml"),
        "--set",
        values,
    )
    scalers = [
        o["kind"]
        for o in made
        if o.get("spec", {}).get("scaleTargetRef", {}).get("name") == "prod-headrace"
    ]

    assert [kind] == scalers
