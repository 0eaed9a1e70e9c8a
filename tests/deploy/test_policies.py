"""What checkov's policies say of the chart and the images; what is accepted has a reason."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.kit.helm import CHART, profile

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "deploy" / "helm" / ".checkov.yaml"
CHECKOV = "checkov==3.3.30"  # alone in an environment of uv's: it brings an hcl2 of its own

pytestmark = [pytest.mark.crds, pytest.mark.xdist_group("helm"), pytest.mark.timeout(300)]


def judged(folder: Path, framework: str) -> tuple[int, set[tuple[str, str]]]:
    """How many policies hold, and which do not, for what."""
    program = shutil.which("uvx")
    if program is None:
        pytest.fail("uvx is not on the path; install uv: https://docs.astral.sh/uv/")
    call: list[str | Path] = [
        program,
        "--from",
        CHECKOV,
        "checkov",
        "--directory",
        folder,
        "--framework",
        framework,
    ]
    more: list[str | Path] = [
        "--config-file",
        CONFIG,
        "--quiet",
        "--skip-download",
        "--output",
        "json",
    ]
    done = subprocess.run([*call, *more], capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr[-500:]
    found: Any = json.loads(done.stdout)
    whole = found[0] if isinstance(found, list) else found
    failed = whole.get("results", {}).get("failed_checks", [])
    passed: int = whole.get("summary", whole)["passed"]
    return passed, {(each["check_id"], each["resource"]) for each in failed}


def written(folder: Path, objects: list[dict[str, Any]], name: str) -> None:
    """As files that checkov reads."""
    (folder / f"{name}.yaml").write_text(yaml.safe_dump_all(objects))


def test_the_chart_keeps_them(tmp_path: Path) -> None:
    """Over all profiles, nothing fails but what is accepted."""
    for path in sorted((CHART / "ci").glob("*.yaml")):
        written(tmp_path, profile(path), path.stem)
    passed, failed = judged(tmp_path, "kubernetes")

    assert set() == failed
    assert passed > 1000


def test_images_keep_them() -> None:
    """So do the Dockerfiles."""
    passed, failed = judged(ROOT / "deploy" / "docker", "dockerfile")

    assert set() == failed
    assert passed > 50


def test_a_planted_mistake_is_found(tmp_path: Path) -> None:
    """A gateway that may become root, and nobody's network policy."""
    text = yaml.safe_dump_all(profile(CHART / "ci" / "01-minimal-cpu-values.yaml"))
    spoiled = text.replace("allowPrivilegeEscalation: false", "allowPrivilegeEscalation: true")
    kept = [o for o in yaml.safe_load_all(spoiled) if o["kind"] != "NetworkPolicy"]
    written(tmp_path, kept, "spoiled")

    assert {"CKV_K8S_20", "CKV2_K8S_6"} <= {check for check, _ in judged(tmp_path, "kubernetes")[1]}


def test_every_exception_has_a_reason() -> None:
    """Each policy that is skipped says why, on its line."""
    lines = [line for line in CONFIG.read_text().splitlines() if "CKV" in line]

    assert lines
    assert all(re.fullmatch(r"  - CKV\w+ +# .{20,}", line) for line in lines)
