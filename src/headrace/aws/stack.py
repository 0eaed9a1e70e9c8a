"""One stack of deploy/terraform in one environment: its plan, its state, its outputs."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from headrace.aws.program import Programs, outputs
from headrace.errors import ConfigError, StartError

Kind = Literal["eks", "ec2"]
PLAN = "headrace.plan"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a stack's files are, and which environment of it is meant."""

    kind: Kind
    environment: str
    root: Path

    @property
    def folder(self) -> Path:
        """The stack's folder."""
        return self.root / "stacks" / self.kind

    @property
    def settings(self) -> Path:
        """The environment's file."""
        return self.folder / "environments" / f"{self.environment}.tfvars"

    @property
    def kubeconfig(self) -> Path:
        """Access to this cluster alone, so that no command meets another one by mistake."""
        return self.folder / ".terraform" / f"kubeconfig-{self.environment}"

    def setting(self, name: str) -> str:
        """
        A text of the environment's file.

        Raises:
            ConfigError: there is no such file, or it does not say.

        """
        if not self.settings.is_file():
            known = ", ".join(sorted(path.stem for path in self.settings.parent.glob("*.tfvars")))
            raise ConfigError(
                f"{self.settings} is missing; environments of {self.kind} are: {known or 'none'}."
                if known
                else f"{self.root} holds no stack {self.kind}; name deploy/terraform of a checkout"
                " of Headrace with --dir."
            )
        text = self.settings.read_text(encoding="utf-8")
        found = re.search(rf'^{name}\s*=\s*"([^"]+)"', text, re.MULTILINE)
        if found is None:
            raise ConfigError(f"{self.settings}: {name} is missing.")
        return found[1]


class Stack:
    """Terraform on one stack. Its state is in a bucket; workspaces are not used."""

    def __init__(self, place: Place, programs: Programs) -> None:
        self.place = place
        self._programs = programs
        self._tool = programs.terraform()

    def initialise(self, bucket: str) -> None:
        """Point the folder at this environment's state."""
        place = self.place
        self._run(
            "init", "-reconfigure", "-input=false", f"-backend-config=bucket={bucket}",
            f"-backend-config=key={place.kind}/{place.environment}.tfstate",
            f"-backend-config=region={place.setting('region')}",
        )  # fmt: skip

    def plan(self, *, destroy: bool = False) -> None:
        """Write a plan, and show it."""
        self._run("plan", "-input=false", f"-var-file={self._file}", f"-out={PLAN}",
                  *(["-destroy"] if destroy else []))  # fmt: skip

    def apply(self) -> None:
        """Do what the plan says, and nothing else."""
        self._run("apply", "-input=false", PLAN)

    def shown(self) -> dict[str, Any]:
        """The plan for machines."""
        command = [self._tool, "show", "-json", PLAN]
        return dict(self._programs.ask(command, folder=self.place.folder))

    def state(self) -> dict[str, Any]:
        """What there is, for machines."""
        return dict(self._programs.ask([self._tool, "show", "-json"], folder=self.place.folder))

    def outputs(self) -> dict[str, Any]:
        """
        What the stack says of itself.

        Raises:
            StartError: nothing of it was applied.

        """
        found = outputs(
            self._programs.ask([self._tool, "output", "-json"], folder=self.place.folder)
        )
        if not found:
            place = self.place
            raise StartError(
                f"Nothing of {place.kind} {place.environment} is there; begin with"
                f" `headrace aws up --stack {place.kind} --env {place.environment}`."
            )
        return found

    @property
    def _file(self) -> str:
        return str(self.place.settings.relative_to(self.place.folder))

    def _run(self, *arguments: str) -> None:
        self._programs.run([self._tool, *arguments], folder=self.place.folder)
