"""The Helm chart: every profile renders, and says what was meant."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.kit.helm import CHART, HelmError, helm, one, profile, render
from headrace.config.load import read

PROFILES = sorted((CHART / "ci").glob("*.yaml"))
MINIMAL = CHART / "ci" / "01-minimal-cpu-values.yaml"
TIERS = CHART / "ci" / "03-multi-tier-values.yaml"
SPOT = CHART / "ci" / "04-spot-values.yaml"
ZERO = CHART / "ci" / "05-zero-values.yaml"
SECRETS = {
    name: f"{name.lower()}-12345678901234567890123456789012"
    for name in ("HEADRACE_PEPPER", "HEADRACE_ENGINE_KEY")
} | {
    "HEADRACE_STATE_URL": "redis://redis:6379/0",
    "HEADRACE_LEDGER_URL": "postgresql://headrace:x@db/usage",
}

ROOTS = {"dcgm", "collector"}

each_profile = pytest.mark.parametrize("path", PROFILES, ids=lambda path: path.stem)

# All of it in one worker: each has its own helm to unpack otherwise.
pytestmark = pytest.mark.xdist_group("helm")


def pods(objects: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The specs of all pods."""
    found = [
        o["spec"]["template"]["spec"] for o in objects if "containers" in str(o.get("spec", {}))
        and "template" in o["spec"]
    ]  # fmt: skip
    for each in objects:
        if each["kind"] == "LeaderWorkerSet":
            group = each["spec"]["leaderWorkerTemplate"]
            found += [group["leaderTemplate"]["spec"], group["workerTemplate"]["spec"]]
    return found


def engine(objects: list[dict[str, Any]], name: str) -> dict[str, Any]:
    """The container of an engine's Deployment."""
    spec = one(objects, "Deployment", name)["spec"]["template"]["spec"]
    container: dict[str, Any] = spec["containers"][0]
    return container


def test_there_are_profiles() -> None:
    """Each kind of fleet that the documentation speaks of has one."""
    assert [
        "01-minimal-cpu-values", "02-single-gpu-values", "03-multi-tier-values",
        "04-spot-values", "05-zero-values", "06-trial-observability-values",
    ] == [path.stem for path in PROFILES]  # fmt: skip


@each_profile
def test_helm_lint_is_content(path: Path) -> None:
    """`helm lint --strict` has nothing to say."""
    assert "0 chart(s) failed" in helm("lint", "--strict", str(CHART), "--values", str(path))


@pytest.mark.parametrize(
    ("place", "planted", "told"),
    [
        (
            "templates/service.yaml",
            "{{ include headrace.name . }}",
            'function "headrace" not defined',
        ),
        ("templates/service.yaml", "a: [1\n", "unable to parse YAML"),
        ("Chart.yaml", "version: next\n", "version"),
    ],
)
def test_helm_lint_finds_a_planted_mistake(
    tmp_path: Path, place: str, planted: str, told: str
) -> None:
    """A template that is none, YAML that is none, a version that is none."""
    chart = tmp_path / "headrace"
    shutil.copytree(CHART, chart)
    text = (chart / place).read_text()
    kept = re.sub(r"^version: .*\n", "", text, flags=re.MULTILINE) if "Chart" in place else text
    (chart / place).write_text(kept + planted)

    with pytest.raises(HelmError, match=told):
        helm("lint", "--strict", str(chart), "--values", str(MINIMAL))


@each_profile
def test_the_gateway_takes_its_configuration(path: Path, tmp_path: Path) -> None:
    """headrace.yaml of every profile is one that the gateway reads, and so is the edge's."""
    data = one(profile(path), "ConfigMap", "prod-headrace")["data"]
    for name, text in data.items():
        file = tmp_path / name
        file.write_text(text)
        found = read(file, SECRETS).config

        assert [m["name"] for m in yaml.safe_load(text)["models"]] == [m.name for m in found.models]


@each_profile
def test_pods_are_restricted(path: Path) -> None:
    """No root, no privilege, read-only file systems; but for who asks the driver or reads logs."""
    for pod in pods(profile(path)):
        for container in [*pod.get("initContainers", []), *pod["containers"]]:
            security = container["securityContext"]
            assert security["readOnlyRootFilesystem"]
            assert ["ALL"] == security["capabilities"]["drop"]
            if container["name"] not in ROOTS:
                assert not security["allowPrivilegeEscalation"]
                assert pod["securityContext"]["runAsNonRoot"]
                assert {"type": "RuntimeDefault"} == pod["securityContext"]["seccompProfile"]


@each_profile
def test_only_three_may_ask_kubernetes(path: Path) -> None:
    """Gateway, collector and the trial's Prometheus: no other pod has a token of the API server."""
    allowed = {"prod-headrace", "prod-headrace-collector", "prod-headrace-prometheus"}
    for pod in pods(profile(path)):
        asks = pod.get("serviceAccountName") in allowed
        assert asks == pod.get("automountServiceAccountToken", True)


@each_profile
def test_no_variable_comes_from_a_service(path: Path) -> None:
    """Kubernetes adds none after Services of the namespace: one named vllm would break vLLM."""
    assert all(pod["enableServiceLinks"] is False for pod in pods(profile(path)))


@each_profile
def test_no_secret_is_written_down(path: Path) -> None:
    """Secrets are named, never held: there is no object of that kind, and no value of a key."""
    objects = profile(path)

    assert "Secret" not in {each["kind"] for each in objects}
    for pod in pods(objects):
        for each in pod["containers"][0].get("env", []):
            if each["name"].endswith(("KEY", "PASSWORD", "PEPPER", "TOKEN")):
                assert "secretKeyRef" in each["valueFrom"]


@each_profile
def test_who_counts_who_scales(path: Path) -> None:
    """Where something scales, nothing else writes the number of replicas."""
    objects = profile(path)
    scaled = {
        each["spec"]["scaleTargetRef"]["name"]
        for each in objects
        if each["kind"] in {"ScaledObject", "HorizontalPodAutoscaler"}
    }
    for each in objects:
        if each["kind"] in {"Deployment", "LeaderWorkerSet"}:
            assert (each["metadata"]["name"] in scaled) == ("replicas" not in each["spec"])


@each_profile
def test_the_end_of_a_pod_has_time(path: Path) -> None:
    """Grace is more than preStop and the engine's own time; on Spot all of it is within 110 s."""
    objects = profile(path)
    values = yaml.safe_load(path.read_text())
    for model in values["models"]:
        if model.get("nodes", 1) > 1:
            continue
        name = f"prod-headrace-{model['name'].replace('.', '-')}"
        pod = one(objects, "Deployment", name)["spec"]["template"]["spec"]
        wait_s = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
        flag = next(a for a in pod["containers"][0]["args"] if "--shutdown-timeout" in a)
        grace_s = pod["terminationGracePeriodSeconds"]

        assert grace_s == wait_s + int(flag.partition("=")[2]) + 15
        assert grace_s <= 110 or not model.get("spot")


def test_a_gateway_ends_within_its_grace() -> None:
    """Readiness fails first, then requests finish, and the kubelet waits for both."""
    objects = profile(MINIMAL)
    text = one(objects, "ConfigMap", "prod-headrace")["data"]["headrace.yaml"]
    server = yaml.safe_load(text)["server"]
    pod = one(objects, "Deployment", "prod-headrace")["spec"]["template"]["spec"]

    assert (2, 20) == (server["drain_grace_s"], server["drain_s"])
    assert 2 + 20 + 15 == pod["terminationGracePeriodSeconds"]


@pytest.mark.parametrize("name", ["prod-headrace", "prod-headrace-edge"])
def test_a_busy_moment_takes_nobody_out(name: str) -> None:
    """A 503 of readiness counts at once, and an answer may take seconds: all are busy together."""
    pod = one(profile(MINIMAL), "Deployment", name)["spec"]["template"]["spec"]
    probe = pod["containers"][0]["readinessProbe"]

    assert (1, 5) == (probe["failureThreshold"], probe["timeoutSeconds"])


def test_a_load_may_take_its_time() -> None:
    """The start-up probe bears a load of fifteen minutes; liveness does not begin before."""
    probe = engine(profile(CHART / "ci/02-single-gpu-values.yaml"), "prod-headrace-qwen3-8b")

    assert 900 <= probe["startupProbe"]["periodSeconds"] * probe["startupProbe"]["failureThreshold"]
    assert "initialDelaySeconds" not in probe["livenessProbe"]


def test_an_upgrade_of_the_chart_restarts_no_engine() -> None:
    """No label or annotation of an engine's pod has a version in it."""
    for model in ("prod-headrace-qwen3-8b",):
        template = one(profile(SPOT), "Deployment", model)["spec"]["template"]

        assert not [key for key in template["metadata"]["labels"] if "version" in key]
        assert "helm.sh/chart" not in template["metadata"]["labels"]


def test_discovery_finds_the_services() -> None:
    """Each model's source is the Service of its pods, and the role may read EndpointSlices."""
    objects = profile(TIERS)
    text = one(objects, "ConfigMap", "prod-headrace")["data"]["headrace.yaml"]
    for source in yaml.safe_load(text)["discovery"]:
        service = one(objects, "Service", source["selector"].partition("=")[2])
        names = {o["metadata"]["name"]: o for o in objects if o["kind"] in
                 {"Deployment", "LeaderWorkerSet"}}  # fmt: skip
        target = names[service["metadata"]["name"]]["spec"]
        leader = target.get("leaderWorkerTemplate", {}).get("leaderTemplate")
        labels = (leader or target["template"])["metadata"]["labels"]

        assert service["spec"]["selector"].items() <= labels.items()
        assert source["port_name"] in {port["name"] for port in service["spec"]["ports"]}
    rule = one(objects, "Role", "prod-headrace")["rules"][0]
    assert (["endpointslices"], ["get", "list", "watch"]) == (rule["resources"], rule["verbs"])


def test_workers_of_a_group_get_no_requests() -> None:
    """Of a replica over nodes only the leader is behind the Service; all have one command line."""
    objects = profile(TIERS)
    group = one(objects, "LeaderWorkerSet", "prod-headrace-reasoning")["spec"]
    leader, worker = (
        group["leaderWorkerTemplate"][f"{role}Template"] for role in ("leader", "worker")
    )
    selector = one(objects, "Service", "prod-headrace-reasoning")["spec"]["selector"]

    assert selector.items() <= leader["metadata"]["labels"].items()
    assert not selector.items() <= worker["metadata"]["labels"].items()
    waits_s = [
        each["spec"]["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
        for each in (leader, worker)
    ]
    assert [10, 10 + 120] == waits_s  # the leader's requests need the workers until they end
    commands = [each["spec"]["containers"][0]["command"][2] for each in (leader, worker)]
    assert [False, True] == [text.endswith(" --headless") for text in commands]
    assert all("--nnodes=2" in text for text in commands)


def test_annotations_reach_every_pod_of_an_engine() -> None:
    """`podAnnotations` is for replicas over nodes, too: leader and workers."""
    made = render("--values", str(TIERS), "--set", "modelDefaults.podAnnotations.team=llm")
    group = one(made, "LeaderWorkerSet", "prod-headrace-reasoning")["spec"]["leaderWorkerTemplate"]
    fast = one(made, "Deployment", "prod-headrace-fast")["spec"]["template"]
    pods_ = [group["leaderTemplate"], group["workerTemplate"], fast]

    assert 3 * ["llm"] == [each["metadata"]["annotations"]["team"] for each in pods_]


def test_engines_are_reached_by_the_gateway_alone() -> None:
    """Engines take calls of the gateway and the monitoring, Redis of the gateway, on one port."""
    objects = profile(MINIMAL)
    for name, others in (("engine", ["monitoring"]), ("redis", [])):
        rule = one(objects, "NetworkPolicy", f"prod-headrace-{name}")["spec"]["ingress"][0]
        pods_, spaces = [], []
        for peer in rule["from"]:
            if "podSelector" in peer:
                pods_.append(peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"])
            else:
                labels = peer["namespaceSelector"]["matchLabels"]
                spaces.append(labels["kubernetes.io/metadata.name"])

        assert (["gateway"], others, 1) == (pods_, spaces, len(rule["ports"]))


def test_traces_go_to_the_collector() -> None:
    """Gateways send to the one of their node, which reads their lines and no other's."""
    objects = profile(TIERS)
    text = one(objects, "ConfigMap", "prod-headrace")["data"]["headrace.yaml"]
    config = yaml.safe_load(
        one(objects, "ConfigMap", "prod-headrace-collector")["data"]["config.yaml"]
    )
    service = one(objects, "Service", "prod-headrace-collector")["spec"]

    assert "http://prod-headrace-collector:4318" == yaml.safe_load(text)["tracing"]["endpoint"]
    assert "Local" == service["internalTrafficPolicy"]
    logs = config["receivers"]["filelog"]["include"]
    assert ["/var/log/pods/llm_prod-headrace-*/gateway/*.log"] == logs
    assert "tempo.monitoring.svc:4317" == config["exporters"]["otlp/tempo"]["endpoint"]


def test_large_numbers_stay_whole(tmp_path: Path) -> None:
    """Helm makes floats of numbers; what the gateway reads is still an integer."""
    given = ("--values", str(MINIMAL), "--set", "gateway.config.server.max_body_bytes=123456789")
    text = one(render(*given), "ConfigMap", "prod-headrace")["data"]["headrace.yaml"]
    (tmp_path / "headrace.yaml").write_text(text)

    found = read(tmp_path / "headrace.yaml", SECRETS).config

    assert 123_456_789 == found.server.max_body_bytes


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["gateway.replica=3"], "additional properties 'replica' not allowed"),
        (["gateway.replicas=three"], "got string, want integer"),
        (["models[0].engien=sim"], "'engien' not allowed"),
        (["models[0].name=a b"], "does not match pattern"),
        (["models=null"], "models: is empty; name a model"),
        (["models[0].engine=vllm"], "`model` is empty; give a repository"),
        (["models[1].name=llama-3-1-8b", "models[1].engine=sim"], "objects of the same name"),
        (["models[0].source=s3", "models[0].model=x"], "must begin with s3://"),
        (["models[0].source=pvc"], "name the claim in pvc.claimName"),
        (["models[0].nodes=2"], "`nodes` above 1 is for vllm"),
        (["models[0].spot=true", "models[0].drain.preStopSeconds=90"], "Spot's two minutes"),
        (["gateway.anonymous=false"], "gateway.pepperSecret.name: is empty"),
        (["postgresql.enabled=true"], "postgresql.passwordSecret.name: is empty"),
        (["karpenter.enabled=true"], "needs clusterName and nodeRole"),
        (
            ["karpenter.enabled=true", "karpenter.clusterName=a", "karpenter.nodeRole=b",
             "karpenter.consolidateAfterSeconds=60", "models[0].drain.shutdownSeconds=300"],
            "a node must outlive what drains on it; give at least 320",
        ),
    ],
)  # fmt: skip
def test_mistakes_are_told(given: list[str], told: str) -> None:
    """A planted mistake in the values stops the rendering with a sentence about it."""
    settings = [part for each in given for part in ("--set", each)]

    with pytest.raises(HelmError) as caught:
        render("--values", str(MINIMAL), *settings)

    assert told in str(caught.value)
