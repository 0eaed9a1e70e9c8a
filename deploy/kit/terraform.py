"""
The checks of deploy/terraform: format, validity against the AWS provider's schema, tests, policies.

    python -m deploy.kit.terraform            with the real provider where its registry is reached
    python -m deploy.kit.terraform --standin  with the stand-in, always

Needs terraform or tofu on PATH; the rest comes from scripts/terraform-env.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from deploy.kit.opentofu import foreign

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "deploy" / "terraform"
REGISTRIES = {"terraform": "registry.terraform.io", "tofu": "registry.opentofu.org"}
MISSING = (
    "Neither tofu nor terraform is on PATH; install one: https://opentofu.org/docs/intro/install"
    " or https://developer.hashicorp.com/terraform/install (1.10 or newer)."
)
COMMANDS_TIMEOUT_S = 300.0
REACHED_TIMEOUT_S = 3.0


class CheckError(Exception):
    """A check found something, or could not run; the text says what."""


@dataclass(frozen=True, slots=True)
class Kit:
    """
    What commands run with: a program (terraform or tofu), the environment variables that make it
    use the stand-in (none for the real provider), and where checkov is.
    """

    program: Path
    variables: dict[str, str]
    checkov: Path

    def run(self, folder: Path, *arguments: str) -> str:
        """
        Output of the program, run in a folder.

        Raises:
            CheckError: it failed; the text is its own.

        """
        return _run([str(self.program), *arguments], folder, self.variables)


def program() -> Path:
    """
    tofu, else terraform.

    Raises:
        CheckError: there is neither.

    """
    for name in ("tofu", "terraform"):
        found = shutil.which(name)
        if found is not None:
            return Path(found)
    raise CheckError(MISSING)


def kit(folder: Path, *, real: bool) -> Kit:
    """What to check with; ``folder`` takes the stand-in's files."""
    tool = program()
    home = Path(_run([str(ROOT / "scripts" / "terraform-env")], ROOT, {}).splitlines()[-1])
    checkov = home / "checkov" / "bin" / "checkov"
    if real:
        return Kit(tool, {}, checkov)
    return Kit(tool, _stand_in(tool, home, folder), checkov)


def reached(tool: Path) -> bool:
    """Whether the registry of the program's providers answers."""
    url = f"https://{REGISTRIES[tool.name]}/.well-known/terraform.json"
    try:
        with urllib.request.urlopen(url, timeout=REACHED_TIMEOUT_S) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def copied(folder: Path) -> Path:
    """
    A copy of deploy/terraform in ``folder``, to be changed and initialised at will. Its state is
    local, since its bucket is not here.
    """
    copy = folder / "terraform"
    leave = shutil.ignore_patterns(".terraform", ".terraform.lock.hcl", "*.tfstate*")
    shutil.copytree(SOURCE, copy, ignore=leave)
    for path in copy.glob("stacks/*/versions.tf"):
        text = path.read_text(encoding="utf-8")
        path.write_text(re.sub(r'\n  backend "s3" \{.*?\n  \}\n', "\n", text, flags=re.DOTALL))
    return copy


def parts(folder: Path = SOURCE) -> list[Path]:
    """Modules and stacks, by path."""
    return sorted(path.parent for path in folder.glob("*/*/versions.tf"))


def validate(tools: Kit, part: Path) -> None:
    """
    Whether a module or stack fits the provider's schema.

    Raises:
        CheckError: it does not.

    """
    tools.run(part, "init", "-backend=false", "-input=false", "-no-color")
    tools.run(part, "validate", "-no-color")


def policies(tools: Kit, folder: Path) -> None:
    """
    Whether checkov finds nothing but what .checkov.yaml accepts, with reasons.

    Raises:
        CheckError: it found something.

    """
    command = [
        str(tools.checkov),
        "--config-file",
        str(folder / ".checkov.yaml"),
        "-d",
        str(folder),
    ]
    _run(command, folder, {})


def both(folder: Path) -> None:
    """
    Whether OpenTofu and Terraform read the same.

    Raises:
        CheckError: one of them does not know something.

    """
    found = foreign(folder)
    if found:
        raise CheckError("\n".join(found))


def main(arguments: list[str]) -> int:
    """Every check, a line each; the exit code is 1 if one failed, 2 if none could run."""
    parser = argparse.ArgumentParser(prog="python -m deploy.kit.terraform", description=__doc__)
    parser.add_argument("--standin", action="store_true", help="never ask the registry")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            real = not options.standin and reached(program())
            tools = kit(folder, real=real)
        except CheckError as error:
            print(f"terraform: {error}", file=sys.stderr)
            return 2
        print(f"{tools.program.name}, with {'the real provider' if real else 'the stand-in'}")
        return 0 if _all(tools, copied(folder)) else 1


# --- below -------------------------------------------------------------------------------------


def _all(tools: Kit, copy: Path) -> bool:
    good = _step("both programs", partial(both, copy))
    good &= _step("format", partial(tools.run, copy, "fmt", "-check", "-recursive", "-diff"))
    for part in parts(copy):
        name = str(part.relative_to(copy))
        good &= _step(f"validate {name}", partial(validate, tools, part))
        if (part / "tests").is_dir():
            good &= _step(f"test {name}", partial(tools.run, part, "test", "-no-color"))
    return good & _step("policies", partial(policies, tools, copy))


def _step(name: str, check: Callable[[], object]) -> bool:
    began = time.monotonic()
    try:
        check()
    except CheckError as error:
        print(f"FAILED  {name}\n{error}")
        return False
    print(f"ok      {name} ({time.monotonic() - began:.1f} s)", flush=True)
    return True


def _stand_in(tool: Path, home: Path, folder: Path) -> dict[str, str]:
    schema = json.loads((home / "aws.json").read_text(encoding="utf-8"))
    used = set(re.findall(r'^(?:resource|data) "(\w+)"', _text(), re.MULTILINE))
    for section in ("resource", "data"):  # 2,400 blocks cost a second at each start; 90 do not
        schema[section] = {name: block for name, block in schema[section].items() if name in used}
    small = folder / "schema.json"
    small.write_text(json.dumps(schema), encoding="utf-8")
    version, host = schema["version"], REGISTRIES[tool.name]
    place = folder / "mirror" / host / "hashicorp" / "aws" / version / "linux_amd64"
    place.mkdir(parents=True)
    started = place / f"terraform-provider-aws_v{version}"
    script = (ROOT / "deploy" / "kit" / "standin.py").read_text(encoding="utf-8")
    started.write_text(f"#!{home}/standin/bin/python\n{script}", encoding="utf-8")
    started.chmod(0o755)
    settings = folder / "settings.tfrc"
    settings.write_text(
        "provider_installation {\n  filesystem_mirror {\n"
        f'    path    = "{folder}/mirror"\n    include = ["{host}/*/*"]\n  }}\n}}\n',
        encoding="utf-8",
    )
    return {"TF_CLI_CONFIG_FILE": str(settings), "HEADRACE_PROVIDER_SCHEMA": str(small)}


def _text() -> str:
    return "\n".join(path.read_text(encoding="utf-8") for path in SOURCE.rglob("*.tf"))


def _run(command: list[str], folder: Path, variables: dict[str, str]) -> str:
    surroundings = {**os.environ, "CHECKPOINT_DISABLE": "1", **variables}
    try:
        done = subprocess.run(
            command, cwd=folder, env=surroundings, capture_output=True, text=True, check=False,
            timeout=COMMANDS_TIMEOUT_S,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CheckError(f"{command[0]}: {error}") from error
    if done.returncode:
        raise CheckError(f"{' '.join(command)} ({folder}):\n{done.stdout}{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
