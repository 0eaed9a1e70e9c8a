"""
The table of docs/deploy/aws.md: what each environment costs a month, from a plan of it.

    python -m deploy.kit.costs        plans all environments with the stand-in, writes the table
"""

import json
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from deploy.kit.terraform import ROOT, CheckError, copied, kit
from headrace.aws.cost import Estimate, Gpus, estimate
from headrace.aws.prices import prices

PAGE = ROOT / "docs" / "deploy" / "aws.md"
MARKS = ("<!-- costs: begin -->\n", "<!-- costs: end -->\n")
# GPU nodes that a cluster's plan does not show, as people would use each environment.
NODES = {
    "dev": Gpus("g6.xlarge", 1, 4.0),
    "staging": Gpus("g6.xlarge", 1, 24.0),
    "prod": Gpus("g6.xlarge", 4, 24.0),
}


def main() -> int:
    """Write the table; 2 where no plan can be made here."""
    with tempfile.TemporaryDirectory() as name:
        try:
            rows = [each for stack in ("eks", "ec2") for each in planned(Path(name), stack)]
        except CheckError as error:
            print(f"costs: {error}", file=sys.stderr)
            return 2
    text = PAGE.read_text(encoding="utf-8")
    begin, end = MARKS
    new = begin + table(rows) + end
    PAGE.write_text(re.sub(f"{begin}.*?{end}", new, text, flags=re.DOTALL), encoding="utf-8")
    print(table(rows), end="")
    return 0


def planned(folder: Path, stack: str) -> Iterator[tuple[str, ...]]:
    """
    A row for each environment of a stack.

    Raises:
        CheckError: it cannot be planned, or has a price that is not known.

    """
    own = folder / stack
    own.mkdir()
    tools = kit(own, real=False)
    place = copied(own) / "stacks" / stack
    tools.run(place, "init", "-input=false", "-no-color")
    for environment, nodes in NODES.items():
        file = f"-var-file=environments/{environment}.tfvars"
        tools.run(place, "plan", "-input=false", file, "-out=cost.plan")
        plan = json.loads(tools.run(place, "show", "-json", "cost.plan"))
        gpus = nodes if stack == "eks" else None
        yield row(stack, environment, estimate(plan, prices(), gpus))


def row(stack: str, environment: str, found: Estimate) -> tuple[str, ...]:
    """Stack, environment, what GPUs are counted, USD a month running and paused."""
    gpus = "; ".join(line.what for line in found.lines if line.gpu) or "none"
    if found.unknown:
        raise CheckError(f"{stack} {environment}: no price is known of {found.unknown}")
    return (
        stack, environment, gpus,
        f"{found.per_month(gpu=True):.0f}", f"{found.per_month(gpu=False):.0f}",
    )  # fmt: skip


def table(rows: list[tuple[str, ...]]) -> str:
    """The rows as Markdown."""
    head = "| stack | environment | GPUs counted | USD a month | paused |\n|---|---|---|---|---|\n"
    return head + "".join("| " + " | ".join(each) + " |\n" for each in rows)


if __name__ == "__main__":
    sys.exit(main())
