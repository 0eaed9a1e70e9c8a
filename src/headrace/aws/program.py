"""Runs terraform or tofu, kubectl, helm and the AWS CLI; or only prints what it would run."""

import json
import shlex
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from headrace.errors import ConfigError, StartError

HINTS = {
    "terraform": "install OpenTofu (https://opentofu.org/docs/intro/install) or Terraform",
    "kubectl": "install it: https://kubernetes.io/docs/tasks/tools",
    "helm": "install it: https://helm.sh/docs/intro/install",
    "aws": "install the AWS CLI: https://docs.aws.amazon.com/cli",
}


class Programs:
    """
    Other programs, by name. With ``dry`` nothing is run: commands are told as one would type them.
    """

    def __init__(self, tell: Callable[[str], None], *, dry: bool) -> None:
        self._tell = tell
        self.dry = dry

    def run(
        self, command: Sequence[str], *, folder: Path | None = None, given: str | None = None
    ) -> None:
        """
        Run a command in the terminal; ``given`` goes to its standard input and is never printed.

        Raises:
            ConfigError: there is no such program.
            StartError: it failed; what it said stands above.

        """
        self._tell(f"$ {self._spelt(command, folder)}{' < (standard input)' if given else ''}")
        if self.dry:
            return
        done = subprocess.run(
            [self._found(command[0]), *command[1:]], cwd=folder, input=given, text=True, check=False
        )
        if done.returncode:
            raise StartError(f"{command[0]} failed with code {done.returncode}; see above.")

    def ask(self, command: Sequence[str], *, folder: Path | None = None) -> Any:
        """
        What a command answers in JSON. It is run in a dry run, too: questions change nothing.

        Raises:
            ConfigError: there is no such program.
            StartError: it failed, or answered something else; its last words are in the text.

        """
        done = subprocess.run(
            [self._found(command[0]), *command[1:]], cwd=folder, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        if done.returncode:
            words = (done.stderr.strip() or done.stdout.strip()).splitlines()
            raise StartError(f"`{self._spelt(command, None)}` failed: {' '.join(words[-3:])}")
        try:
            return json.loads(done.stdout)
        except json.JSONDecodeError as error:
            raise StartError(f"`{self._spelt(command, None)}` did not answer in JSON.") from error

    def terraform(self) -> str:
        """
        ``tofu`` where it is, else ``terraform``.

        Raises:
            ConfigError: there is neither.

        """
        for name in ("tofu", "terraform"):
            if shutil.which(name):
                return name
        raise ConfigError(f"Neither tofu nor terraform is on PATH; {HINTS['terraform']}.")

    def _found(self, name: str) -> str:
        found = shutil.which(name)
        if found is None:
            raise ConfigError(f"{name} is not on PATH; {HINTS.get(name, 'install it')}.")
        return found

    @staticmethod
    def _spelt(command: Sequence[str], folder: Path | None) -> str:
        spelt = shlex.join(command)
        return spelt if folder is None else f"(cd {shlex.quote(str(folder))} && {spelt})"


def outputs(answer: Mapping[str, Any]) -> dict[str, Any]:
    """The values of ``terraform output -json``."""
    return {name: entry["value"] for name, entry in answer.items()}
