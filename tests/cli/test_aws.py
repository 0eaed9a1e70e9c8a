"""``headrace aws``: which programs it runs, in which order, and what it never does."""

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws
from typer.testing import CliRunner, Result

from headrace.cli.app import app
from tests.aws.recorded import Recorded, path, recorded

TERRAFORM = Path(__file__).parents[2] / "deploy" / "terraform"
PLAN = {"planned_values": {"root_module": {"resources": [
    {"type": "aws_eks_cluster", "name": "this", "address": "aws_eks_cluster.this", "values": {}},
]}}}  # fmt: skip
OUTPUTS = {
    "name": "headrace-dev",
    "namespace": "headrace",
    "url": "https://llm.example.com",
    "values": "karpenter: {enabled: true}\n",
    "manifests": ["kind: StorageClass"],
    "releases": [
        {"name": "keda", "namespace": "keda", "chart": "keda", "repository": "https://charts",
         "version": "2.20.2", "values": "operator: {}\n"},
    ],
    "secrets": {"redis": None, "postgres": None},
}  # fmt: skip
ENGINE: dict[str, Any] = {
    "metadata": {"name": "qwen", "annotations": {}}, "spec": {"replicas": 3}
}  # fmt: skip


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Recorded]:
    """Recorded programs, AWS that is none, and an account in it."""
    found = recorded(tmp_path / "bin", "tofu", "kubectl", "helm", "aws")
    monkeypatch.setenv("PATH", path(found))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    monkeypatch.setenv("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")  # seconds, for nothing
    answers(found)
    with mock_aws():
        yield found


def answers(found: Recorded, engine: dict[str, Any] | None = None, **outputs: Any) -> None:
    values = {name: {"value": value} for name, value in {**OUTPUTS, **outputs}.items()}
    node = {"metadata": {"labels": {
        "node.kubernetes.io/instance-type": "g6.xlarge", "karpenter.sh/capacity-type": "spot",
    }}}  # fmt: skip
    found.answer(
        (("show", "headrace.plan"), PLAN),
        (("show",), {"values": PLAN["planned_values"]}),
        (("output",), values),
        (("get", "deployments"), {"items": [engine or ENGINE]}),
        (("get", "nodes"), {"items": [node, node]}),
        (("get",), {"items": []}),
    )


def call(*arguments: str, given: str | None = None, stack: str = "eks") -> Result:
    return CliRunner().invoke(
        app, ["aws", *arguments, "--stack", stack, "--dir", str(TERRAFORM)], input=given
    )


def test_up_makes_aws_first_and_then_the_cluster(programs: Recorded) -> None:
    """State, plan, apply, access, charts, secrets, Headrace, what binds it to the load balancer."""
    found = call("up", "--yes")

    assert 0 == found.exit_code, found.output
    verbs = [re.sub(r" (/|-).*", "", line) for line in programs.lines()]
    assert [
        "tofu init", "tofu plan", "tofu show", "tofu apply", "tofu output",
        "aws eks update-kubeconfig", "kubectl", "helm upgrade", "kubectl", "kubectl",
        "helm upgrade", "kubectl",
    ] == verbs  # fmt: skip
    init = programs.lines()[0]
    assert "-backend-config=bucket=headrace-state-123456789012-us-east-1" in init
    assert "-backend-config=key=eks/dev.tfstate" in init
    charts = [call for call in programs.calls() if call["line"][0] == "helm"]
    assert ["operator: {}\n", OUTPUTS["values"]] == [call["given"] for call in charts]
    assert "USD a month" in found.stdout


def test_up_keeps_secrets_off_command_lines(programs: Recorded) -> None:
    """Passwords and the pepper go through standard input and are not printed."""
    secret = boto3.client("secretsmanager", "us-east-1").create_secret(
        Name="x", SecretString="hunter2"
    )["ARN"]
    answers(programs, secrets={"redis": {"endpoint": "c:6379", "secret_arn": secret},
                               "postgres": None})  # fmt: skip

    found = call("up", "--yes")

    assert 0 == found.exit_code, found.output
    given = [json.loads(each["given"]) for each in programs.calls() if '"Secret"' in each["given"]]
    assert ["headrace-pepper", "headrace-redis"] == [each["metadata"]["name"] for each in given]
    assert b"rediss://:hunter2@c:6379/0" == base64.b64decode(given[1]["data"]["url"])
    assert len(base64.b64decode(given[0]["data"]["pepper"])) >= 32
    assert "hunter2" not in found.output
    assert not any("hunter2" in line for line in programs.lines())


def test_up_asks_before_anything_is_made(programs: Recorded) -> None:
    """No is no: a plan was made, and nothing else."""
    found = call("up", given="n\n")

    assert 2 == found.exit_code
    assert not any("apply" in line for line in programs.lines())


def test_up_stops_where_a_program_fails(programs: Recorded) -> None:
    """A failed apply is the end; no chart goes into half a cluster."""
    programs.answer((("show",), PLAN), (("apply",), 1))

    found = call("up", "--yes")

    assert 2 == found.exit_code
    assert "tofu failed with code 1" in found.stderr
    assert not any(line.startswith("helm") for line in programs.lines())


@pytest.mark.parametrize("command", ["up", "down", "pause", "resume"])
@pytest.mark.parametrize("stack", ["eks", "ec2"])
def test_a_dry_run_runs_nothing(programs: Recorded, command: str, stack: str) -> None:
    """It prints what would be run, without an account and without a program."""
    found = call(command, "--dry-run", stack=stack)

    assert 0 == found.exit_code, found.output
    assert [] == programs.lines()
    assert "$ (cd " in found.stdout
    assert "tofu init" in found.stdout
    assert not any(word in found.stdout for word in ("URL", "is gone"))


def test_down_destroys_only_what_was_named(programs: Recorded) -> None:
    """Another name, and nothing is destroyed."""
    found = call("down", given="headrace-prod\n")

    assert 2 == found.exit_code
    assert "nothing was destroyed" in found.stderr
    assert not any("apply" in line or "uninstall" in line for line in programs.lines())


def test_down_takes_the_cluster_s_own_nodes_first(programs: Recorded) -> None:
    """Nodes that Karpenter started are not in the state: they would outlive it, and cost."""
    found = call("down", given="headrace-dev\n")

    assert 0 == found.exit_code, found.output
    lines = programs.lines()
    words = ("plan", "helm uninstall", "nodepools", "nodeclaims", "tofu apply")
    order = [next(n for n, line in enumerate(lines) if word in line) for word in words]
    assert order == sorted(order)
    assert "-destroy" in lines[order[0]]


def test_a_pause_writes_down_what_there_was(programs: Recorded) -> None:
    """KEDA is held, engines go to zero and say from what, nodes go, the rest is told."""
    found = call("pause")

    assert 0 == found.exit_code, found.output
    lines = " | ".join(programs.lines())
    assert "annotate scaledobjects --all -n headrace autoscaling.keda.sh/paused-replicas=0" in lines
    assert "annotate deployment qwen -n headrace headrace.dev/paused-from=3" in lines
    assert "--replicas=0" in lines
    assert "delete nodeclaims --all --wait=false" in lines
    assert "qwen (3)" in found.stdout
    assert "73 USD a month" in found.stdout


def test_a_resume_gives_back_what_there_was(programs: Recorded) -> None:
    """The number from before, and KEDA is let go."""
    paused = {
        "metadata": {"name": "qwen", "annotations": {"headrace.dev/paused-from": "3"}},
        "spec": {"replicas": 0},
    }
    answers(programs, paused)

    found = call("resume")

    assert 0 == found.exit_code, found.output
    lines = " | ".join(programs.lines())
    assert "scale deployment qwen -n headrace --replicas=3" in lines
    assert "annotate scaledobjects --all -n headrace autoscaling.keda.sh/paused-replicas-" in lines
    assert "qwen (3)" in found.stdout


def test_status_tells_nodes_and_what_they_cost(programs: Recorded) -> None:
    """Two Spot nodes, at the table's share of the price on demand."""
    found = call("status")

    assert 0 == found.exit_code, found.output
    assert "2 x g6.xlarge Spot" in found.stdout
    assert f"{2 * 0.8048 * 0.4:.2f} USD of GPUs, 0.10 USD of the rest" in found.stdout


def test_a_group_is_paused_and_resumed(programs: Recorded) -> None:
    """Without a cluster it is the Auto Scaling group that goes to zero and comes back."""
    scaling = boto3.client("autoscaling", "us-east-1")
    scaling.create_launch_configuration(
        LaunchConfigurationName="gpu", ImageId="ami-12345678", InstanceType="g6.xlarge"
    )
    scaling.create_auto_scaling_group(
        AutoScalingGroupName="gpu", MinSize=1, MaxSize=4, DesiredCapacity=2,
        LaunchConfigurationName="gpu", AvailabilityZones=["us-east-1a"],
    )  # fmt: skip
    answers(programs, group="gpu")

    paused, status, resumed = (
        call(command, stack="ec2") for command in ("pause", "status", "resume")
    )

    assert "Paused: 2 instances of gpu end after their streams." in paused.stdout
    assert "headrace-dev (ec2, us-east-1), paused" in status.stdout
    assert "Resumed: gpu has 2 instances to start, at least 1." in resumed.stdout
    (group,) = scaling.describe_auto_scaling_groups()["AutoScalingGroups"]
    assert (1, 2) == (group["MinSize"], group["DesiredCapacity"])


def test_what_is_not_there_is_told(programs: Recorded) -> None:
    """An empty state says how to begin."""
    programs.answer((("output",), {}))

    found = call("status")

    assert 2 == found.exit_code
    assert "headrace aws up --stack eks --env dev" in found.stderr


def test_cost_of_a_plan_in_a_file(tmp_path: Path) -> None:
    """No program and no account is needed to price a plan that is there."""
    file = tmp_path / "plan.json"
    file.write_text(json.dumps(PLAN), encoding="utf-8")

    found = CliRunner().invoke(
        app, ["aws", "cost", "--plan", str(file), "--gpus", "g6.xlarge:2", "--on-demand"]
    )

    assert 0 == found.exit_code, found.output
    assert f"{730 * (0.1 + 2 * 0.8048):10.2f}  USD a month of 730 hours, running" in found.stdout
    assert f"{73:10.2f}  USD a month, paused" in found.stdout
    assert "List prices of 2026-07-20" in found.stdout


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("status", "--env", "qa"), "environments of eks are: dev, prod, staging"),
        (("cost", "--gpus", "two"), "--gpus: two is not TYPE:N"),
        (("cost", "--plan", "/nowhere.json"), "--plan: /nowhere.json is no plan"),
        (("up", "--values", "/nowhere.yaml"), "--values: /nowhere.yaml is missing"),
    ],
)
def test_mistakes_are_told(programs: Recorded, arguments: tuple[str, ...], told: str) -> None:
    """One sentence that says what is wrong, and exit code 2."""
    found = call(*arguments)

    assert 2 == found.exit_code
    assert told in found.stderr


def test_a_folder_that_is_none_is_told(programs: Recorded, tmp_path: Path) -> None:
    """Where no stack is, the error says what to name."""
    found = CliRunner().invoke(app, ["aws", "status", "--dir", str(tmp_path)])

    assert 2 == found.exit_code
    assert "holds no stack eks" in found.stderr


def test_a_missing_program_is_told(
    programs: Recorded, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without tofu and terraform the error says where to get one."""
    monkeypatch.setenv("PATH", str(tmp_path))

    found = call("status")

    assert 2 == found.exit_code
    assert "Neither tofu nor terraform is on PATH" in found.stderr
