"""The chart's objects against the schemas of Kubernetes and of other projects' resources."""

import copy
from pathlib import Path
from typing import Any

import pytest

from deploy.kit.helm import CHART, one, profile, render
from deploy.kit.manifests import problems

PROFILES = sorted((CHART / "ci").glob("*.yaml"))
GROUPS = {"apps/v1", "v1", "policy/v1", "networking.k8s.io/v1", "rbac.authorization.k8s.io/v1"}
KINDS = {
    "autoscaling/v2", "scheduling.k8s.io/v1", "leaderworkerset.x-k8s.io/v1", *GROUPS,
}  # fmt: skip

each_profile = pytest.mark.parametrize("path", PROFILES, ids=lambda path: path.stem)
pytestmark = pytest.mark.xdist_group("helm")

Path_ = tuple[str | int, ...]


@each_profile
def test_kubernetes_takes_it(path: Path) -> None:
    """Every built-in object is one that the API server of Kubernetes 1.35 would take."""
    assert [] == problems([o for o in profile(path) if o["apiVersion"] in KINDS])


SWITCHES = [
    ["postgresql.enabled=true", "postgresql.passwordSecret.name=db"],
    ["redis.persistence.enabled=true", "redis.persistence.storageClass=gp3"],
    ["gateway.autoscaling.enabled=true"],
    ["edge.enabled=false", "networkPolicy.clients[0].podSelector.matchLabels.app=web"],
    ["edge.tls.secretName=tls", "edge.service.type=LoadBalancer"],
    ["edge.tls.enabled=false", "imagePullSecrets={a,b}", "commonLabels.team=llm"],
    ["gateway.nodeSelector.pool=cpu", "gateway.secretEnv.A.name=s", "gateway.secretEnv.A.key=k"],
    ["networkPolicy.enabled=false", "gateway.podDisruptionBudget.enabled=false"],
    ["models[0].runtimeClassName=nvidia", "models[0].priorityClassName=high"],
    ["trial.prometheus.enabled=true"],
    ["trial.grafana.enabled=true", "trial.grafana.passwordSecret.name=g", "imagePullSecrets={a}"],
]  # fmt: skip


@pytest.mark.parametrize("given", SWITCHES, ids=lambda given: given[0])
def test_switches_make_objects_that_kubernetes_takes(given: list[str]) -> None:
    """What no profile turns on is right, too."""
    sets = [part for each in given for part in ("--set", each)]
    objects = render("--values", str(PROFILES[0]), *sets)

    assert [] == problems([o for o in objects if o["apiVersion"] in KINDS])


@pytest.mark.crds
@each_profile
def test_extensions_take_it(path: Path) -> None:
    """So is every object of Karpenter, KEDA, the Prometheus operator and the Gateway API."""
    assert [] == problems([o for o in profile(path) if o["apiVersion"] not in KINDS])


def planted(thing: dict[str, Any], path: Path_, value: object) -> dict[str, Any]:
    """A copy with another value at a place."""
    spoiled = copy.deepcopy(thing)
    inner: Any = spoiled
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    return spoiled


NODE: Path_ = ("spec", "template", "spec")
DISK: Path_ = ("spec", "blockDeviceMappings", 0, "ebs")
CONTAINER: Path_ = ("spec", "template", "spec", "containers", 0)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ((*CONTAINER, "readynessProbe"), {}),
        (("spec", "replicas"), "two"),
        ((*CONTAINER, "ports", 0, "containerPort"), "http"),
        (("spec", "template", "spec", "terminationGracePeriodSeconds"), "1m"),
    ],
)
def test_planted_mistakes_are_found(path: Path_, value: object) -> None:
    """A misspelt field, and values of the wrong type."""
    thing = one(profile(PROFILES[0]), "Deployment", "prod-headrace")

    assert [] == problems([thing])
    assert 1 == len(problems([planted(thing, path, value)]))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("spec", "metrics", 1, "external", "metrics"), {}),
        (("spec", "metrics", 1, "external", "target", "averageValue"), ["400"]),
        (("spec", "behavior", "scaleDown", "stabilizationWindow"), 300),
    ],
)
def test_planted_mistakes_in_an_autoscaler_are_found(path: Path_, value: object) -> None:
    """The one that scales gateways by an external metric, without KEDA."""
    thing = one(profile(PROFILES[3]), "HorizontalPodAutoscaler", "prod-headrace")

    assert [] == problems([thing])
    assert 1 == len(problems([planted(thing, path, value)]))


def test_pods_of_groups_are_looked_at() -> None:
    """A mistake in the pods of a LeaderWorkerSet is found, too."""
    thing = one(profile(PROFILES[2]), "LeaderWorkerSet", "prod-headrace-reasoning")
    place = ("spec", "leaderWorkerTemplate", "workerTemplate", "spec", "containerz")

    assert [] == problems([thing])
    assert 1 == len(problems([planted(thing, place, [])]))


@pytest.mark.crds
@pytest.mark.parametrize(
    ("kind", "name", "path", "value"),
    [
        ("ScaledObject", "prod-headrace-fast", ("spec", "cooldownPeriodd"), 3),
        ("ScaledObject", "prod-headrace-fast", ("spec", "minReplicaCount"), "zero"),
        ("NodePool", "prod-headrace-spot", ("spec", "disruption", "consolidationPolicy"), "Idle"),
        ("NodePool", "prod-headrace-spot", (*NODE, "nodeClassRef", "kind"), ""),
        ("EC2NodeClass", "prod-headrace", ("spec", "role"), ""),
        ("EC2NodeClass", "prod-headrace", (*DISK, "volumeSize"), "big"),
        ("PodMonitor", "prod-headrace", ("spec", "podMetricsEndpoint"), []),
        ("HTTPRoute", "prod-headrace", ("spec", "rules", 0, "matches", 0, "path", "value"), "v1//"),
        ("InferencePool", "prod-headrace-fast", ("spec", "targetPortNumber"), 8000),
    ],
)  # fmt: skip
def test_planted_mistakes_in_extensions_are_found(
    kind: str, name: str, path: Path_, value: object
) -> None:
    """Misspelt fields, wrong types, and what only a rule in CEL can tell."""
    thing = one(profile(PROFILES[2]), kind, name)

    assert [] == problems([thing])
    assert problems([planted(thing, path, value)])
