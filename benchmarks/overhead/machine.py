"""What the numbers were measured on: processor, cores, kernel, versions of what took part."""

import os
import platform
import re
import subprocess
from importlib import metadata
from pathlib import Path

from .install import Missing, system

_VERSION = re.compile(r"\d+\.\d+(?:\.\d+)?")


def describe() -> dict[str, str]:
    """Facts by name; a program that is not there has none."""
    facts = {
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "kernel": platform.release(),
        "python": f"{platform.python_version()} ({platform.python_build()[1]})",
    }
    for package in ("headrace", "uvloop", "httptools"):
        try:
            facts[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    for program in ("nginx", "haproxy"):
        try:
            found = subprocess.run(
                [system(program), "-v"], capture_output=True, text=True, timeout=5, check=False
            )
        except (Missing, subprocess.TimeoutExpired):
            continue
        version = _VERSION.search(found.stdout + found.stderr)
        if version is not None:
            facts[program] = version[0]
    return facts


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
