"""
What Terraform's modules say of themselves, and their README made from it.

    python -m deploy.kit.modules             writes README.md of all modules and stacks
    python -m deploy.kit.modules --check     fails where one is not what it would write
"""

import re
import sys
from dataclasses import dataclass
from pathlib import Path

from deploy.kit.terraform import SOURCE, parts

BLOCK = re.compile(r'^(variable|output) "(\w+)" \{\n(.*?)^\}', re.MULTILINE | re.DOTALL)
RESOURCE = re.compile(r'^resource "(\w+)" "\w+"', re.MULTILINE)
HEAD = re.compile(r"\A((?:#.*\n)+)")


@dataclass(frozen=True, slots=True)
class Variable:
    """An input: its type as written, and its default as written, None where one is needed."""

    name: str
    description: str
    type: str
    default: str | None
    validated: bool


@dataclass(frozen=True, slots=True)
class Module:
    """A module or stack: what it is for, what goes in, what comes out, what it makes."""

    path: Path
    purpose: str
    variables: tuple[Variable, ...]
    outputs: tuple[tuple[str, str], ...]
    resources: tuple[str, ...]


def module(path: Path) -> Module:
    """A module, as its files describe it."""
    main = (path / "main.tf").read_text(encoding="utf-8")
    head = HEAD.match(main)
    lines = (head[1] if head else "").splitlines()
    blocks = BLOCK.findall((path / "variables.tf").read_text(encoding="utf-8"))
    outputs = BLOCK.findall((path / "outputs.tf").read_text(encoding="utf-8"))
    return Module(
        path=path,
        purpose="\n".join(line.removeprefix("#").strip() for line in lines),
        variables=tuple(_variable(name, body) for _, name, body in blocks),
        outputs=tuple((name, _text(body, "description") or "") for _, name, body in outputs),
        resources=tuple(sorted(set(RESOURCE.findall(main)))),
    )


def readme(found: Module) -> str:
    """Its README.md."""
    kind = "stack" if found.path.parent.name == "stacks" else "module"
    lines = [f"# {found.path.name}", "", found.purpose, ""]
    if kind == "stack":
        lines += [_start(found.path.name), ""]
    lines += ["| input | type | default | |", "|---|---|---|---|"]
    for each in found.variables:
        default = "needed" if each.default is None else f"`{each.default}`"
        shape = each.type.replace("|", "\\|")
        lines.append(f"| `{each.name}` | `{shape}` | {default} | {each.description} |")
    lines += ["", "| output | |", "|---|---|"]
    lines += [f"| `{name}` | {description} |" for name, description in found.outputs]
    if found.resources:
        lines += ["", "Makes: " + ", ".join(f"`{name}`" for name in found.resources) + "."]
    lines += ["", "This page is made from the module's files by `make terraform-docs`.", ""]
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    """Write all pages, or tell which are not what would be written."""
    stale = []
    for path in parts(SOURCE):
        page, text = path / "README.md", readme(module(path))
        if page.is_file() and page.read_text(encoding="utf-8") == text:
            continue
        stale.append(str(page.relative_to(SOURCE)))
        if "--check" not in arguments:
            page.write_text(text, encoding="utf-8")
    if "--check" in arguments and stale:
        print(f"{', '.join(stale)}: run `make terraform-docs`.", file=sys.stderr)
        return 1
    return 0


# --- below -------------------------------------------------------------------------------------


def _variable(name: str, body: str) -> Variable:
    return Variable(
        name=name,
        description=_text(body, "description") or "",
        type=_value(body, "type") or "",
        default=_value(body, "default"),
        validated="\n  validation {" in f"\n{body}",
    )


def _text(body: str, key: str) -> str | None:
    found = re.search(rf'^  {key}\s*= "((?:[^"\\]|\\.)*)"$', body, re.MULTILINE)
    return found[1].replace('\\"', '"') if found else None


def _value(body: str, key: str) -> str | None:
    """What is assigned, on one line: an expression ends where its brackets do."""
    found = re.search(rf"^  {key}\s*= ", body, re.MULTILINE)
    if found is None:
        return None
    depth, text = 0, []
    for line in body[found.end() :].splitlines():
        text.append(line.strip())
        depth += sum(line.count(mark) for mark in "([{") - sum(line.count(mark) for mark in ")]}")
        if depth <= 0:
            break
    return " ".join(text)


def _start(name: str) -> str:
    return (
        f"`headrace aws up --stack {name} --env dev` does the following, and what comes after it in"
        " the cluster; see [AWS](../../../../docs/deploy/aws.md).\n\n"
        f"```sh\ntofu init -backend-config=bucket=STATE -backend-config=key={name}/dev"
        " -backend-config=region=us-east-1\n"
        "tofu apply -var-file=environments/dev.tfvars\n```"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
