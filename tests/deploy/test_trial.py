"""The programs of `trial`: observability/ as it is, with this release's addresses in it."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.kit.helm import CHART, HelmError, one, render
from tests.observability.monitor import KIT, program

pytestmark = pytest.mark.xdist_group("helm")

TRIAL = CHART / "ci" / "06-trial-observability-values.yaml"
PROGRAMS = ["prometheus", "alertmanager", "grafana", "loki", "tempo"]
PROMTOOL_S = 120

each_program = pytest.mark.parametrize("name", PROGRAMS)


def objects(*more: str) -> list[dict[str, Any]]:
    """What the profile makes."""
    return render("--values", str(TRIAL), *more)


def pod(name: str, *more: str) -> dict[str, Any]:
    """The spec of a program's pod."""
    found = one(objects(*more), "Deployment", f"prod-headrace-{name}")
    spec: dict[str, Any] = found["spec"]["template"]["spec"]
    return spec


def mounted(folder: Path, name: str, *more: str) -> Path:
    """What a program finds where its configuration is mounted, as files."""
    data = one(objects(*more), "ConfigMap", f"prod-headrace-{name}")["data"]
    volumes = {each["name"]: each for each in pod(name, *more)["volumes"]}
    for item in volumes["config"]["configMap"]["items"]:
        file = folder / item["path"]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(data[item["key"]], encoding="utf-8")
    return folder


def ours(path: str) -> Any:
    """A file of observability/."""
    return yaml.safe_load((KIT / path).read_text(encoding="utf-8"))


def checked(*command: str | Path) -> str:
    """What Prometheus' and Alertmanager's own programs find wrong; nothing is good."""
    done = subprocess.run(
        [program(str(command[0])), *command[1:]],
        capture_output=True, text=True, timeout=PROMTOOL_S, check=False,
    )  # fmt: skip
    return done.stdout + done.stderr if done.returncode else ""


def without_discovery(folder: Path) -> Path:
    """
    The configuration of Prometheus for Debian's promtool, which is built without discovery by
    Kubernetes; what stands there is compared with observability/ below.
    """
    file = mounted(folder, "prometheus") / "kubernetes.yaml"
    tree = yaml.safe_load(file.read_text())
    for job in tree["scrape_configs"]:
        del job["kubernetes_sd_configs"]
        job["static_configs"] = [{"targets": ["localhost:1"]}]
    file.write_text(yaml.safe_dump(tree))
    return file


def test_prometheus_takes_its_configuration(tmp_path: Path) -> None:
    """Promtool is content with it and with the rules, found where it says they are."""
    file = without_discovery(tmp_path)
    (pattern,) = yaml.safe_load(file.read_text())["rule_files"]

    assert "" == checked("promtool", "check", "config", file)
    assert 3 == len([*tmp_path.glob(pattern)])


def test_a_planted_mistake_in_it_is_found(tmp_path: Path) -> None:
    """Promtool refuses a misspelt key, and a rule that is no PromQL."""
    file = without_discovery(tmp_path)
    rules, text = tmp_path / "rules" / "recording.yaml", file.read_text()
    file.write_text(text.replace("honor_labels", "honour_labels"))

    assert "honour_labels" in checked("promtool", "check", "config", file)
    file.write_text(text)
    rules.write_text(rules.read_text().replace("expr: ", "expr: )", 1))
    assert "recording.yaml" in checked("promtool", "check", "config", file)


def test_alertmanager_takes_its_configuration(tmp_path: Path) -> None:
    """Amtool is content with it and its template, and refuses a receiver that is none."""
    file = mounted(tmp_path, "alertmanager") / "alertmanager.yaml"

    assert "" == checked("amtool", "check-config", file)
    file.write_text(file.read_text().replace("receiver: tickets", "receiver: nobody"))
    assert "nobody" in checked("amtool", "check-config", file)


def test_receivers_can_be_yours(tmp_path: Path) -> None:
    """`trial.alertmanager.config` lies over ours; the routes stay."""
    receivers = [
        {"name": each, "webhook_configs": [{"url": "http://x/"}]} for each in ("pager", "tickets")
    ]
    more = "--set-json", f"trial.alertmanager.config={json.dumps({'receivers': receivers})}"
    file = mounted(tmp_path, "alertmanager", *more) / "alertmanager.yaml"
    found = yaml.safe_load(file.read_text())

    assert receivers == found["receivers"]
    assert ours("alertmanager/alertmanager.yaml")["route"] == found["route"]


def test_prometheus_differs_by_addresses_alone(tmp_path: Path) -> None:
    """Jobs, intervals and rules are those of observability/; it looks into its own namespace."""
    folder = mounted(tmp_path, "prometheus")
    found, wanted = (
        yaml.safe_load((folder / "kubernetes.yaml").read_text()),
        ours("prometheus/kubernetes.yaml"),
    )
    for job in wanted["scrape_configs"]:
        job["kubernetes_sd_configs"][0]["namespaces"] = {"own_namespace": True}
    (manager,) = wanted["alerting"]["alertmanagers"]
    manager["static_configs"] = [{"targets": ["prod-headrace-alertmanager:9093"]}]

    assert wanted == found
    for path in (folder / "rules").iterdir():
        assert ours(f"prometheus/rules/{path.name}") == yaml.safe_load(path.read_text())


@pytest.mark.parametrize("name", ["loki", "tempo"])
def test_loki_and_tempo_are_unchanged(tmp_path: Path, name: str) -> None:
    """Their configuration is the file of observability/, and listens where the Service sends."""
    found = yaml.safe_load((mounted(tmp_path, name) / f"{name}.yaml").read_text())
    ports = one(objects(), "Service", f"prod-headrace-{name}")["spec"]["ports"]

    assert ours(f"{name}/{name}.yaml") == found
    assert found["server"]["http_listen_port"] in {each["port"] for each in ports}


def test_grafana_asks_what_runs(tmp_path: Path) -> None:
    """Its sources are those of observability/ by uid, each at a Service with that port."""
    text = (mounted(tmp_path, "grafana") / "datasources/datasources.yaml").read_text()
    sources = {each["uid"]: each for each in yaml.safe_load(text)["datasources"]}
    for wanted in ours("grafana/provisioning/datasources/datasources.yaml")["datasources"]:
        found = sources.pop(wanted["uid"])
        host, port = re.fullmatch(r"http://([\w-]+)(?:\.llm\.svc)?:(\d+)", found["url"]).groups()  # type: ignore[union-attr]
        ports = one(objects(), "Service", host)["spec"]["ports"]

        assert {**wanted, "url": ""} == {**found, "url": ""}
        assert int(port) in {each["port"] for each in ports}
    assert {} == sources


def test_a_source_that_does_not_run_is_left_out(tmp_path: Path) -> None:
    """Without Tempo no source points at it; Prometheus is then the one of `prometheus`."""
    off = "--set", "trial.tempo.enabled=false,trial.prometheus.enabled=false"
    text = (mounted(tmp_path, "grafana", *off) / "datasources/datasources.yaml").read_text()
    urls = {each["uid"]: each["url"] for each in yaml.safe_load(text)["datasources"]}

    assert {"prometheus", "loki"} == set(urls)
    assert "http://prometheus-operated.monitoring.svc:9090" == urls["prometheus"]


def test_grafana_has_the_dashboards() -> None:
    """Each dashboard of observability/ is in its folder, the home page is one of them."""
    spec = pod("grafana")
    volume = next(each for each in spec["volumes"] if each["name"] == "dashboards")
    names = [each["configMap"]["name"] for each in volume["projected"]["sources"]]
    files = {file for name in names for file in one(objects(), "ConfigMap", name)["data"]}
    env = {each["name"]: each.get("value") for each in spec["containers"][0]["env"]}

    assert {path.name for path in (KIT / "grafana/dashboards").glob("*.json")} == files
    assert env["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"].rpartition("/")[2] in files
    folder = ours("grafana/provisioning/dashboards/dashboards.yaml")["providers"][0]["options"][
        "path"
    ]
    assert folder in {each["mountPath"] for each in spec["containers"][0]["volumeMounts"]}


@pytest.mark.parametrize(
    ("more", "admin"), [((), False), (("--set", "trial.grafana.passwordSecret.name=g"), True)]
)
def test_grafana_has_no_password_that_all_know(more: tuple[str, ...], admin: bool) -> None:
    """Its administrator has the Secret's password, or there is none and visitors look."""
    env = {each["name"]: each for each in pod("grafana", *more)["containers"][0]["env"]}

    assert admin == ("valueFrom" in env.get("GF_SECURITY_ADMIN_PASSWORD", {}))
    assert admin != ("GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION" in env)
    assert admin != ("GF_AUTH_ANONYMOUS_ENABLED" in env)


def test_the_collector_sends_there() -> None:
    """Traces to this Tempo, lines to this Loki, each at a port of its Service that it may use."""
    text = one(objects(), "ConfigMap", "prod-headrace-collector")["data"]["config.yaml"]
    exporters = yaml.safe_load(text)["exporters"]

    assert "http://prod-headrace-loki:3100/otlp" == exporters["otlphttp/loki"]["endpoint"]
    assert "prod-headrace-tempo:4317" == exporters["otlp/tempo"]["endpoint"]


@each_program
def test_each_is_reached_by_who_needs_it(name: str) -> None:
    """Its policy names the callers; all other pods are kept out."""
    callers = {
        "prometheus": ["grafana"], "alertmanager": ["prometheus"], "grafana": [],
        "loki": ["collector", "grafana"], "tempo": ["collector", "grafana"],
    }[name]  # fmt: skip
    rules = one(objects(), "NetworkPolicy", f"prod-headrace-{name}")["spec"]["ingress"]
    found = [
        each["values"]
        for rule in rules
        for each in rule["from"][0]["podSelector"]["matchExpressions"]
        if each["key"] == "app.kubernetes.io/component"
    ]

    assert ([callers] if callers else []) == found


@pytest.mark.parametrize(
    "policy", ["prod-headrace", "prod-headrace-engine", "prod-headrace-collector"]
)
def test_prometheus_may_scrape(policy: str) -> None:
    """Gateways, engines and the collector let it in."""
    labels = one(objects(), "Deployment", "prod-headrace-prometheus")["spec"]["selector"][
        "matchLabels"
    ]
    rules = one(objects(), "NetworkPolicy", policy)["spec"]["ingress"]
    peers = [
        each.get("podSelector", {}).get("matchLabels") for rule in rules for each in rule["from"]
    ]

    assert labels in peers


def test_prometheus_finds_every_pod_that_has_metrics() -> None:
    """The labels that its jobs keep are those of the chart's pods, the exporter's among them."""
    made = render("--values", str(TRIAL), "--set", "dcgm.enabled=true")
    labels = [
        o["spec"]["template"]["metadata"]["labels"]
        for o in made if o["kind"] in {"Deployment", "DaemonSet"}
    ]  # fmt: skip
    pods = [
        f"{each['app.kubernetes.io/name']};{each['app.kubernetes.io/component']}" for each in labels
    ]
    for job in ours("prometheus/kubernetes.yaml")["scrape_configs"]:
        assert (
            "".join(job["relabel_configs"][0]["source_labels"]).count("label_app_kubernetes_io")
            == 2
        )
        assert any(re.fullmatch(job["relabel_configs"][0]["regex"], each) for each in pods), job[
            "job_name"
        ]


def test_keda_asks_this_prometheus() -> None:
    """Scaling needs no other address, and KEDA's namespace is let in."""
    scaled = render(
        "--values", str(TRIAL), "--set",
        "models[0].name=m,models[0].engine=sim,models[0].autoscaling.enabled=true",
    )  # fmt: skip
    triggers = one(scaled, "ScaledObject", "prod-headrace-m")["spec"]["triggers"]
    rule = one(scaled, "NetworkPolicy", "prod-headrace-prometheus")["spec"]["ingress"][0]

    assert {"http://prod-headrace-prometheus.llm.svc:9090"} == {
        t["metadata"]["serverAddress"] for t in triggers
    }
    assert {"kubernetes.io/metadata.name": "keda"} in [
        p.get("namespaceSelector", {}).get("matchLabels") for p in rule["from"]
    ]


@pytest.mark.parametrize("name", ["loki", "tempo"])
def test_what_nobody_sends_to_is_refused(name: str) -> None:
    """Loki or Tempo without the collector would stay empty: the chart says what to do."""
    with pytest.raises(
        HelmError, match=rf"trial\.{name}: nothing sends to it; set collector\.enabled"
    ):
        render(
            "--set",
            f"gateway.anonymous=true,models[0].name=m,models[0].engine=sim,trial.{name}.enabled=true",
        )


def test_nothing_of_it_runs_by_default() -> None:
    """It is a switch each."""
    made = render("--values", str(CHART / "ci" / "01-minimal-cpu-values.yaml"))

    assert set() == {o["metadata"]["name"].removeprefix("prod-headrace-") for o in made} & set(
        PROGRAMS
    )
