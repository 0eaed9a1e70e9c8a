"""
Where a peer's program comes from: a throw-away virtual environment with one pinned package, or
the system's own package. Nothing of it enters the project's environment.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

_INSTALL_LIMIT_S = 300
_SYSTEM_PATH = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"))


class Missing(Exception):
    """The peer cannot be had here; the message says why, and is printed in the table."""


def system(program: str) -> str:
    """The path of a program from the distribution."""
    found = shutil.which(program, path=_SYSTEM_PATH)
    if found is None:
        raise Missing(f"{program} is not installed (run scripts/install-servers)")
    return found


def environment(folder: Path, requirements: tuple[str, ...]) -> Path:
    """The bin folder of an environment with exactly these packages; made on the first use."""
    marker = folder / "installed"
    python = Path(sys.executable).resolve()  # ours: some interpreters are a fifth faster
    wanted = "\n".join((str(python), *requirements))
    if marker.is_file() and marker.read_text() == wanted:
        return folder / "bin"
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    _run("uv", "venv", "--quiet", "--no-project", "--python", str(python), str(folder))
    _run("uv", "pip", "install", "--quiet", "--python", str(folder / "bin/python"), *requirements)
    marker.write_text(wanted)
    return folder / "bin"


def _run(*argv: str) -> None:
    try:
        subprocess.run(argv, check=True, capture_output=True, timeout=_INSTALL_LIMIT_S)
    except FileNotFoundError as error:
        raise Missing(f"{argv[0]} is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise Missing(f"installing took more than {_INSTALL_LIMIT_S} s") from error
    except subprocess.CalledProcessError as error:
        last = error.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise Missing(f"{argv[0]} {argv[1]} failed: {''.join(last)[:200]}") from error
