"""
A real Prometheus with the repository's own configuration and rules, pointed at a test's targets and
made quick; and the metrics of GPUs that are not there.
"""

import asyncio
import json
import shutil
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any, Self

import yaml
from aiohttp import web

ROOT = Path(__file__).parents[2]
KIT = ROOT / "observability"
INSTALL = "run scripts/install-servers (Debian: prometheus, prometheus-alertmanager)"
SCRAPE, EVALUATE = "500ms", "1s"
START_S = 60.0


def program(name: str) -> str:
    """Its path; a program that is missing is an error, not a skipped test."""
    found = shutil.which(name)
    assert found is not None, f"{name} is not installed; {INSTALL}"
    return found


def configuration(targets: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """The repository's scrape configuration with these targets, by job."""
    tree: dict[str, Any] = yaml.safe_load((KIT / "prometheus/prometheus.yaml").read_text("utf-8"))
    tree["global"] = {
        "scrape_interval": SCRAPE, "scrape_timeout": SCRAPE, "evaluation_interval": EVALUATE,
    }  # fmt: skip
    tree["rule_files"] = [str(KIT / "prometheus/rules/*.yaml")]
    del tree["alerting"]
    for job in tree["scrape_configs"]:
        job.pop("file_sd_configs", None)
        job["static_configs"] = targets.get(job["job_name"], [])
    return tree


class Prometheus:
    """``with Prometheus(folder, targets) as prometheus``; ``query`` asks it."""

    def __init__(self, folder: Path, targets: dict[str, list[dict[str, Any]]]) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self._log = (folder / "prometheus.log").open("wb")
        config = folder / "prometheus.yaml"
        config.write_text(yaml.safe_dump(configuration(targets)), "utf-8")
        self._process = subprocess.Popen(
            [
                program("prometheus"), f"--config.file={config}",
                f"--storage.tsdb.path={folder / 'tsdb'}",
                f"--web.listen-address=127.0.0.1:{port}", "--enable-feature=exemplar-storage",
            ],
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )  # fmt: skip

    def __enter__(self) -> Self:
        until = time.monotonic() + START_S
        while not self._ready():
            assert self._process.poll() is None, "Prometheus has ended; its log says why"
            assert time.monotonic() < until, "Prometheus is not ready"
            time.sleep(0.05)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._log.close()

    def ask(self, path: str, **parameters: Any) -> Any:
        """An answer of its API; an error is an answer, too."""
        query = urllib.parse.urlencode(parameters)
        try:
            with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{query}", timeout=30) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            return json.load(error)

    def series(self, expr: str, start: float, end: float) -> list[dict[str, Any]]:
        """The series of a query over a time."""
        answer = self.ask("query_range", query=expr, start=start, end=end, step=1)
        assert "success" == answer["status"], f"{expr}: {answer.get('error')}"
        found: list[dict[str, Any]] = answer["data"]["result"]
        return found

    def _ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


class Gpus:
    """
    What dcgm-exporter would say of so many GPUs, with the fields of counters.csv. Made up: there is
    no GPU here; names, types and labels are the exporter's.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._began = time.monotonic()
        self._runner: web.AppRunner | None = None
        self.address = ""

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_get("/metrics", self._metrics)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.address = f"{host}:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    async def _metrics(self, _request: web.Request) -> web.Response:
        await asyncio.sleep(0)
        return web.Response(text=self.text())

    def text(self) -> str:
        """The page."""
        ran_s = time.monotonic() - self._began
        special = {"DCGM_FI_DEV_XID_ERRORS": 0.0, "DCGM_FI_DEV_ROW_REMAP_FAILURE": 0.0}
        lines = []
        for name, kind, text in fields():
            lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
            for gpu in range(self._count):
                usual = 0.5 if "_PROF_" in name else 60.0 + gpu
                value = 300_000 * ran_s if kind == "counter" else special.get(name, usual)
                labels = f'gpu="{gpu}",UUID="GPU-{gpu}",device="nvidia{gpu}",modelName="none"'
                lines.append(f"{name}{{{labels}}} {value}")
        return "\n".join([*lines, ""])


def fields() -> list[tuple[str, str, str]]:
    """Name, type and help of each field that the exporter is told to read."""
    rows = (KIT / "dcgm/counters.csv").read_text("utf-8").splitlines()
    parts = [row.split(",", 2) for row in rows if row and not row.startswith("#")]
    return [(name.strip(), kind.strip(), text.strip()) for name, kind, text in parts]
