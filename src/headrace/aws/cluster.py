"""What runs in an EKS cluster: installed with helm and kubectl, paused, resumed, taken out."""

import base64
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from headrace.aws.program import Programs

ENGINES = "app.kubernetes.io/component=engine"
REPLICAS = "headrace.dev/paused-from"  # an annotation: how many there were
KEDA = "autoscaling.keda.sh/paused-replicas"
NODES = "karpenter.sh/nodepool"
TYPE = "node.kubernetes.io/instance-type"
SPOT = "karpenter.sh/capacity-type"


class Cluster:
    """One cluster, by a kubeconfig of its own."""

    def __init__(self, programs: Programs, kubeconfig: Path, namespace: str) -> None:
        self._programs = programs
        self._kubeconfig = str(kubeconfig)
        self._namespace = namespace

    def reach(self, name: str, region: str) -> None:
        """Write the kubeconfig."""
        self._programs.run(
            ["aws", "eks", "update-kubeconfig", "--name", name, "--region", region, "--kubeconfig",
             self._kubeconfig]
        )  # fmt: skip

    def install(self, release: Mapping[str, Any]) -> None:
        """Install a chart, or bring it to its version and values."""
        source = [] if not release["repository"] else ["--repo", release["repository"]]
        self._programs.run(
            ["helm", "upgrade", "--install", release["name"], release["chart"], *source,
             "--version", release["version"], "--namespace", release["namespace"],
             "--create-namespace", "--values", "-", "--wait", "--timeout", "15m",
             "--kubeconfig", self._kubeconfig],
            given=release["values"],
        )  # fmt: skip

    def headrace(self, chart: Path, values: str, files: Sequence[Path]) -> None:
        """Install Headrace's own chart; files come later, so that they win."""
        own = [part for file in files for part in ("--values", str(file))]
        self._programs.run(
            ["helm", "upgrade", "--install", "headrace", str(chart), "--namespace", self._namespace,
             "--create-namespace", "--values", "-", *own, "--kubeconfig", self._kubeconfig],
            given=values,
        )  # fmt: skip

    def apply(self, manifests: Sequence[str]) -> None:
        """Apply objects given as YAML."""
        self._kubectl("apply", "-f", "-", given="\n---\n".join(manifests))

    def namespace(self) -> None:
        """Make the namespace, if it is not there."""
        self.apply(
            [
                json.dumps(
                    {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self._namespace}}
                )
            ]
        )

    def secret(self, name: str, fields: Mapping[str, str]) -> None:
        """Put a secret into the cluster, through standard input: no process list shows it."""
        data = {key: base64.b64encode(value.encode()).decode() for key, value in fields.items()}
        metadata = {"name": name, "namespace": self._namespace}
        self.apply(
            [json.dumps({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data})]
        )

    def has_secret(self, name: str) -> bool:
        """Whether a secret is there."""
        return any(each["metadata"]["name"] == name for each in self._items("secrets"))

    def pause(self) -> list[str]:
        """Set all engines to zero and end Karpenter's nodes; what was told to stop."""
        self._kubectl(
            "annotate", "scaledobjects", "--all", "-n", self._namespace, f"{KEDA}=0", "--overwrite"
        )
        stopped = []
        for each in self._items("deployments", "-l", ENGINES):
            name, replicas = each["metadata"]["name"], each["spec"].get("replicas", 1)
            if replicas:
                self._annotate(name, f"{REPLICAS}={replicas}")
                stopped.append(f"{name} ({replicas})")
        if stopped:
            self._kubectl(
                "scale", "deployments", "-l", ENGINES, "-n", self._namespace, "--replicas=0"
            )
        # Empty nodes go by themselves after the pool's consolidateAfter: minutes to pay for.
        self._kubectl("delete", "nodeclaims", "--all", "--wait=false")
        return stopped

    def resume(self) -> list[str]:
        """Give engines back the replicas they had; KEDA then decides again."""
        started = []
        for each in self._items("deployments", "-l", ENGINES):
            name = each["metadata"]["name"]
            before = each["metadata"].get("annotations", {}).get(REPLICAS)
            if before is not None:
                self._kubectl(
                    "scale", "deployment", name, "-n", self._namespace, f"--replicas={before}"
                )
                self._annotate(name, f"{REPLICAS}-")
                started.append(f"{name} ({before})")
        self._kubectl("annotate", "scaledobjects", "--all", "-n", self._namespace, f"{KEDA}-")
        return started

    def nodes(self) -> list[tuple[str, bool]]:
        """Instance type and whether it is Spot, of each node that Karpenter started."""
        found = []
        for each in self._items("nodes", "-l", NODES, everywhere=True):
            labels = each["metadata"]["labels"]
            found.append((labels.get(TYPE, "?"), labels.get(SPOT) == "spot"))
        return found

    def paused(self) -> bool:
        """Whether engines were set to zero by a pause."""
        return any(
            REPLICAS in each["metadata"].get("annotations", {})
            for each in self._items("deployments", "-l", ENGINES)
        )

    def empty(self) -> None:
        """
        Take out what Terraform does not know of and would trip over: nodes that Karpenter started,
        and volumes that charts asked for.
        """
        self._programs.run(
            ["helm", "uninstall", "headrace", "--namespace", self._namespace, "--ignore-not-found",
             "--wait", "--kubeconfig", self._kubeconfig]
        )  # fmt: skip
        self._kubectl("delete", "nodepools", "--all", "--ignore-not-found", "--timeout=15m")
        self._kubectl("delete", "nodeclaims", "--all", "--ignore-not-found", "--timeout=15m")
        self._kubectl("delete", "pvc", "--all", "--all-namespaces", "--wait=false")

    def _annotate(self, name: str, text: str) -> None:
        self._kubectl("annotate", "deployment", name, "-n", self._namespace, text, "--overwrite")

    def _items(self, kind: str, *arguments: str, everywhere: bool = False) -> list[dict[str, Any]]:
        where = [] if everywhere else ["-n", self._namespace]
        command = [
            "kubectl",
            "--kubeconfig",
            self._kubeconfig,
            "get",
            kind,
            *where,
            *arguments,
            "-o",
            "json",
        ]
        return list(self._programs.ask(command)["items"])

    def _kubectl(self, *arguments: str, given: str | None = None) -> None:
        self._programs.run(["kubectl", "--kubeconfig", self._kubeconfig, *arguments], given=given)
