"""Rules, alerts and configuration: checked by their own programs, and each alert is complete."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.observability.monitor import KIT, ROOT, fields, program
from tests.observability.test_dashboards import asked

RULES = KIT / "prometheus/rules"
CASES = sorted((KIT / "prometheus/tests").glob("*.yaml"))
NAME = re.compile(r"\b(?:headrace_\w+|vllm:\w+|DCGM_\w+)")
RECORDED = re.compile(r"\b\w+:headrace_\w+:\w+|\bheadrace:\w+:\w+")
PARTS = ["Symptom", "First look", "Cause", "Fix", "How to prove it"]
PROMTOOL_S = 120

pytestmark = pytest.mark.timeout(PROMTOOL_S)


def groups(name: str) -> list[Any]:
    found: list[Any] = yaml.safe_load((RULES / name).read_text("utf-8"))["groups"]
    return found


ALERTS: list[Any] = [rule for group in groups("alerts.yaml") for rule in group["rules"]]
RECORDS: list[Any] = [
    rule
    for name in ("objectives.yaml", "recording.yaml")
    for group in groups(name)
    for rule in group["rules"]
]
each_alert = pytest.mark.parametrize("name", sorted({rule["alert"] for rule in ALERTS}))


def run(*command: str, folder: Path = KIT) -> None:
    done = subprocess.run(
        [program(command[0]), *command[1:]],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=PROMTOOL_S,
        check=False,
    )
    assert 0 == done.returncode, done.stdout + done.stderr


def cases() -> Iterator[tuple[str, Any, Any]]:
    """Each alert that is tried, with the case and what is expected."""
    for path in CASES:
        for case in yaml.safe_load(path.read_text("utf-8"))["tests"]:
            for tried in case["alert_rule_test"]:
                yield tried["alertname"], case, tried


def test_rules_are_valid() -> None:
    """Promtool finds no fault with the rules."""
    run("promtool", "check", "rules", *(str(path) for path in sorted(RULES.glob("*.yaml"))))


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_alerts_fire_and_stay_silent(path: Path) -> None:
    """Every case of the alerts comes out as it says, down to the words of the message."""
    run("promtool", "test", "rules", path.name, folder=path.parent)


@each_alert
def test_an_alert_has_cases(name: str) -> None:
    """There is a case in which it fires and one in which it stays silent over its own metrics."""
    tried = [(case, each) for alert, case, each in cases() if alert == name]
    exprs = " ".join(rule["expr"] for rule in ALERTS if rule["alert"] == name)
    wanted = set(NAME.findall(RECORDED.sub("", exprs))) | ({"up"} & set(exprs.split("{")))
    silent = [case for case, each in tried if not each["exp_alerts"]]

    assert any(each["exp_alerts"] for _, each in tried)
    assert silent
    for case in silent:
        given = {series["series"].partition("{")[0] for series in case["input_series"]}
        assert not wanted or wanted & given, case["name"]


@each_alert
def test_an_alert_is_complete(name: str) -> None:
    """It has a severity, says what and how much, and leads to a runbook and a dashboard."""
    boards = {path.stem for path in (KIT / "grafana/dashboards").glob("*.json")}
    for rule in [rule for rule in ALERTS if rule["alert"] == name]:
        notes = rule["annotations"]
        assert rule["labels"]["severity"] in {"page", "ticket"}
        assert notes["summary"]
        assert notes["description"].endswith(".")
        assert f"docs/runbooks/{name}.md" == notes["runbook"]
        assert notes["dashboard"] in boards


@each_alert
def test_an_alert_has_a_runbook(name: str) -> None:
    """The page has the five parts in their order, none of them empty, and the table names it."""
    text = (ROOT / "docs/runbooks" / f"{name}.md").read_text("utf-8")
    parts = re.split(r"^## (.+)$", text, flags=re.MULTILINE)

    assert text.startswith(f"# {name}\n")
    assert PARTS == parts[1::2]
    assert all(len(part.split()) > 5 for part in parts[2::2])
    assert f"(runbooks/{name}.md)" in (ROOT / "docs/operations.md").read_text("utf-8")


def known() -> set[str]:
    """The metrics that there are: ours by their table, vLLM's as recorded, DCGM's as configured."""
    ours = set(re.findall(r"^\| `(headrace_\w+)` \| (\w+)", page("metrics.md"), re.MULTILINE))
    vllm = set(re.findall(r"^vllm:\w+", (HERE / "vllm.txt").read_text("utf-8"), re.MULTILINE))
    found = {name for name, _, _ in fields()} | vllm
    for name, kind in ours:
        ends = ("_bucket", "_sum", "_count") if kind == "histogram" else ("",)
        found |= {name + end for end in ends}
    return found


HERE = Path(__file__).parent


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text("utf-8")


def expressions() -> Iterator[tuple[str, str]]:
    yield from ((rule["alert"], rule["expr"]) for rule in ALERTS)
    yield from ((rule["record"], rule["expr"]) for rule in RECORDS)
    yield from ((f"{each.board}: {each.panel}", each.expr) for each in asked("prometheus"))


def test_only_metrics_that_there_are() -> None:
    """Alerts, rules and panels name metrics of the tables, and series that are recorded."""
    metrics, records = known(), {rule["record"] for rule in RECORDS}

    for name, expr in expressions():
        assert set(RECORDED.findall(expr)) <= records, name
        assert set(NAME.findall(RECORDED.sub("", expr))) <= metrics, name


def test_recorded_series_are_used() -> None:
    """No rule records what nobody reads."""
    read = {found for _, expr in expressions() for found in RECORDED.findall(expr)}

    assert {rule["record"] for rule in RECORDS} == read


def test_prometheus_configuration_is_valid() -> None:
    """Promtool finds no fault with the configuration for one machine, rules included."""
    run("promtool", "check", "config", "prometheus/prometheus.yaml")


POD = "__meta_kubernetes_pod"
ENGINE = {"component": "engine", "port": "http"}
GATEWAY = {"component": "gateway", "port": "http"}
EXPORTER = {"name": "dcgm-exporter"}


@pytest.mark.parametrize(
    ("job", "taken", "label", "left"),
    [
        ("headrace", GATEWAY, "pod", [ENGINE, GATEWAY | {"port": "admin"}]),
        ("engines", ENGINE, "replica", [GATEWAY, ENGINE | {"name": "x"}, ENGINE | {"phase": ""}]),
        ("dcgm", EXPORTER, "node", [ENGINE, GATEWAY]),
    ],
)
def test_kubernetes_discovery(
    tmp_path: Path, job: str, taken: dict[str, str], label: str, left: list[dict[str, str]]
) -> None:
    """
    Of the pods that Kubernetes knows each job takes its own, and an engine's replica is its pod.

    Debian's Prometheus cannot ask Kubernetes: its answers are given as they are documented.
    """
    tree = yaml.safe_load((KIT / "prometheus/kubernetes.yaml").read_text("utf-8"))
    pods = [
        {"targets": [f"10.0.0.{number}:8000"], "labels": discovered(f"p-{number}", each)}
        for number, each in enumerate([taken, *left])
    ]
    for each in tree["scrape_configs"]:
        assert [{"role": "pod"}] == each.pop("kubernetes_sd_configs")
        each["static_configs"] = pods
    path = tmp_path / "prometheus.yaml"
    path.write_text(yaml.safe_dump(tree), "utf-8")
    done = subprocess.run(
        [program("promtool"), "check", "service-discovery", "--timeout=1s", str(path), job],
        capture_output=True,
        text=True,
        timeout=PROMTOOL_S,
        check=True,
    )
    kept = [each["labels"] for each in yaml.safe_load(done.stdout) if each.get("labels")]

    assert ["p-0"] == [each[label] for each in kept], done.stdout


def discovered(name: str, pod: dict[str, str]) -> dict[str, str]:
    """What Prometheus knows of a pod before relabelling."""
    given = {"name": "headrace", "component": "", "port": "http", "phase": "Running", **pod}
    return {
        "__meta_kubernetes_namespace": "llm",
        f"{POD}_name": name,
        f"{POD}_node_name": name,
        f"{POD}_phase": given["phase"],
        f"{POD}_container_port_name": given["port"],
        f"{POD}_label_app_kubernetes_io_name": given["name"],
        f"{POD}_label_app_kubernetes_io_component": given["component"],
    }


def test_a_gpu_of_a_pod_belongs_to_its_replica() -> None:
    """In Kubernetes the exporter's label `pod` becomes the replica, and nobody overwrites it."""
    tree = yaml.safe_load((KIT / "prometheus/kubernetes.yaml").read_text("utf-8"))
    (job,) = [each for each in tree["scrape_configs"] if each["job_name"] == "dcgm"]

    assert job["honor_labels"]
    assert [{"source_labels": ["pod"], "regex": "(.+)", "target_label": "replica"}] == job[
        "metric_relabel_configs"
    ]


def test_alertmanager_configuration_is_valid() -> None:
    """Amtool finds no fault with the example, its templates included."""
    run("amtool", "check-config", "alertmanager/alertmanager.yaml")


@pytest.mark.parametrize(
    ("labels", "receiver"), [(["severity=page"], "pager"), (["severity=ticket"], "tickets")]
)
def test_alerts_are_routed(labels: list[str], receiver: str) -> None:
    """A page goes to who is on call, a ticket to the queue."""
    config = "--config.file=alertmanager/alertmanager.yaml"
    run("amtool", "config", "routes", "test", config, f"--verify.receivers={receiver}", *labels)


def test_inhibitions_name_alerts_that_there_are() -> None:
    """An alert that was renamed does not leave a rule behind that silences nothing."""
    text = (KIT / "alertmanager/alertmanager.yaml").read_text("utf-8")
    known_names = {rule["alert"] for rule in ALERTS}

    assert set(re.findall(r"\bHeadrace[A-Z]\w+", text)) <= known_names


@pytest.mark.parametrize("path", sorted(KIT.rglob("*.yaml")), ids=lambda p: p.name)
def test_yaml_can_be_read(path: Path) -> None:
    """Every file is YAML without two equal keys, and says at its top what it is."""
    text = path.read_text("utf-8")

    class Strict(yaml.SafeLoader):
        """Refuses a second key of the same name."""

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            keys = [self.construct_object(key) for key, _ in node.value]
            assert len(keys) == len(set(keys)), f"{path}: {keys}"
            return super().construct_mapping(node, deep=deep)

    assert text.startswith("# ")
    assert [] != list(yaml.load_all(text, Strict))


@pytest.mark.parametrize("name", ["collector.yaml", "kubernetes.yaml"])
def test_collector_pipelines_use_what_is_declared(name: str) -> None:
    """
    Each part of a pipeline is configured, and nothing is configured in vain.

    The collector itself cannot be had from the package indexes, so its own check does not run here.
    """
    tree = yaml.safe_load((KIT / "collector" / name).read_text("utf-8"))
    pipelines = tree["service"]["pipelines"].values()

    for kind in ("receivers", "processors", "exporters"):
        assert {part for each in pipelines for part in each[kind]} == set(tree[kind])
    assert set(tree["service"]["extensions"]) == set(tree["extensions"])
    for each in pipelines:
        assert "memory_limiter" == each["processors"][0]
        assert "batch" == each["processors"][-1]


def test_log_fields_beside_lines_are_fields() -> None:
    """What the collector keeps beside a line are fields of the log."""
    for name in ("collector.yaml", "kubernetes.yaml"):
        text = (KIT / "collector" / name).read_text("utf-8")
        (kept,) = re.findall(r"keep_keys\(attributes, \[([^\]]+)\]\)", text)
        for field in re.findall(r'"(\w+)"', kept):
            assert f"`{field}`" in page("metrics.md")
