"""
The schema of a Terraform provider, out of a wheel of CDK Terrain's bindings for it. Those are
generated from the provider's own schema, so each argument's name, type and kind is in their code.

    python -m deploy.kit.wheel cdktn_provider_aws-25.8.1-py3-none-any.whl aws.json
"""

import io
import json
import re
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

from deploy.kit.firewall import statement

Block = dict[str, Any]

CLASS = re.compile(r"^class (\w+) extends cdkt[nf]\.(\w+) \{(.*?)^\}", re.MULTILINE | re.DOTALL)
STRUCT = re.compile(r"^function (\w+)ToHclTerraform\(struct\) \{(.*?)^\}", re.MULTILINE | re.DOTALL)
ARGUMENT = re.compile(
    r'^ {4,12}"?([a-z0-9_]+)"?: \{\n\s+value: (.*),\n\s+isBlock: (true|false),\n'
    r'\s+type: "(\w+)",\n\s+storageClassType: "(\w+)",',
    re.MULTILINE,
)
FLAGS = re.compile(
    r"^    // (\w+) - computed: (true|false), optional: (true|false), required: (true|false)$",
    re.MULTILINE,
)
OUTPUTS = re.compile(r"synthesizeHclAttributes\(\) \{(.*?)^    \}", re.MULTILINE | re.DOTALL)
KIND = re.compile(r'static tfResourceType = "(\w+)"')
VERSION = re.compile(r"providerVersion: '([\d.]+)'")
CHILD = re.compile(r'new (\w+?)(OutputReference|List|Map)\(this, "(\w+)"(?:, (true|false))?\)')
MAPPED = re.compile(r'new cdkt[nf]\.(\w+?)(Map|List)\(this, "(\w+)"')
GETTER = re.compile(r"this\.get(\w+)Attribute\('(\w+)'\)")

PLAIN = {"string": "string", "number": "number", "boolean": "bool", "any": "dynamic"}
GETTERS: dict[str, Any] = {
    "String": "string",
    "Number": "number",
    "Boolean": "bool",
    "Any": "dynamic",
    "List": ["list", "string"],
    "NumberList": ["list", "number"],
    "StringMap": ["map", "string"],
    "BooleanMap": ["map", "bool"],
    "NumberMap": ["map", "number"],
    "AnyMap": ["map", "dynamic"],
}
SECTIONS = {
    "TerraformResource": "resource",
    "TerraformDataSource": "data",
    "TerraformProvider": "provider",
}
# Their code says "any" for the one schema that contains itself.
FIREWALLS = ("aws_wafv2_web_acl", "aws_wafv2_rule_group")


def schema(wheel: Path) -> dict[str, Any]:
    """The provider's version, its own block, and the blocks of all resources and data sources."""
    found: dict[str, Any] = {"version": None, "provider": None, "resource": {}, "data": {}}
    for code in _modules(wheel):
        if version := VERSION.search(code):
            found["version"] = version[1]
        source = Source(code)
        for section, name, block in source.blocks():
            if section == "provider":
                found["provider"] = block
            else:
                found[section][name] = block
    for name in FIREWALLS:
        if name in found["resource"]:
            rule = found["resource"][name]["block_types"]["rule"]["block"]
            rule["attributes"].pop("statement", None)
            nested = {"nesting_mode": "list", "block": statement(), "min_items": 1, "max_items": 1}
            rule["block_types"]["statement"] = nested
    for block in (*found["resource"].values(), *found["data"].values()):
        _settle(block)
    return found


class Source:
    """One file of generated code: the classes and structs by which one resource is described."""

    def __init__(self, code: str) -> None:
        self._classes = {name: (above, body) for name, above, body in CLASS.findall(code)}
        self._structs = {
            name[0].upper() + name[1:]: _arguments(body) for name, body in STRUCT.findall(code)
        }
        self._known: dict[str, Block] = {}

    def blocks(self) -> list[tuple[str, str, Block]]:
        """Section, name and block of each resource, data source or provider here."""
        found = []
        for above, body in self._classes.values():
            kind = KIND.search(body)
            if kind is None or above not in SECTIONS:
                continue
            outputs = OUTPUTS.search(body)
            arguments = _arguments(outputs[1]) if outputs else {}
            if above == "TerraformProvider":
                block = self._struct(arguments)
            else:
                block = self._block(body, arguments)
            found.append((SECTIONS[above], kind[1], block))
        return found

    def _block(self, body: str, arguments: dict[str, tuple[str, ...]]) -> Block:
        block: Block = {"attributes": {}, "block_types": {}}
        marks = list(FLAGS.finditer(body))
        children = {child[2]: child for child in reversed(CHILD.findall(body))}
        for place, mark in enumerate(marks):
            end = marks[place + 1].start() if place + 1 < len(marks) else len(body)
            name, words = mark[1], ("computed", "optional", "required")
            flags = {
                word: True for word, value in zip(words, mark.groups()[1:], strict=True)
                if value == "true"
            }  # fmt: skip
            if name in arguments:
                self._argument(block, name, arguments[name], flags)
            elif name in children:
                base, kind, _, wraps = children[name]
                block["attributes"][name] = {"type": self._child(base, kind, wraps), **flags}
            else:
                segment = body[mark.start() : end]
                block["attributes"][name] = {"type": _read(name, segment), **flags}
        return block

    def _argument(
        self, block: Block, name: str, said: tuple[str, ...], flags: dict[str, bool]
    ) -> None:
        value, is_block, shape, kind = said
        plain = _type(kind)
        if plain is not None:
            if shape == "set":
                plain = ["set", plain[1]]
            block["attributes"][name] = {"type": plain, **flags}
            return
        nested = self._nested(re.sub(r"(List|Map)$", "", kind))
        mode = "single" if shape == "struct" else shape
        if is_block == "true":
            entry: Block = {"nesting_mode": mode, "block": nested}
            if shape in {"list", "set"}:
                if "listMapper" not in value and "hashMapper" not in value:
                    entry["max_items"] = 1
                if "required" in flags:
                    entry["min_items"] = 1
            block["block_types"][name] = entry
        elif {"computed", "optional"} <= set(flags):
            inner = _object(nested)
            block["attributes"][name] = {
                "type": inner if mode == "single" else [mode, inner], **flags
            }  # fmt: skip
        else:
            inside = {"attributes": nested["attributes"], "nesting_mode": mode}
            block["attributes"][name] = {"nested_type": inside, **flags}

    def _child(self, base: str, kind: str, wraps: str) -> Any:
        inner = _object(self._nested(base))
        if kind == "OutputReference":
            return inner
        if kind == "Map":
            return ["map", inner]
        return ["set" if wraps == "true" else "list", inner]

    def _nested(self, base: str) -> Block:
        if base not in self._known:
            self._known[base] = {"attributes": {}, "block_types": {}}  # it may contain itself
            arguments = self._structs.get(base, {})
            reference = self._classes.get(base + "OutputReference")
            self._known[base] = (
                self._struct(arguments)
                if reference is None
                else self._block(reference[1], arguments)
            )
        return self._known[base]

    def _struct(self, arguments: dict[str, tuple[str, ...]]) -> Block:
        """Where nothing reads from a block, only what may be written tells of it: all optional."""
        block: Block = {"attributes": {}, "block_types": {}}
        for name, (_, is_block, shape, kind) in arguments.items():
            mode = "single" if shape == "struct" else shape
            plain = _type(kind)
            if plain is not None:
                plain = ["set", plain[1]] if shape == "set" else plain
                block["attributes"][name] = {"type": plain, "optional": True}
                continue
            nested = self._nested(re.sub(r"(List|Map)$", "", kind))
            if is_block == "true":
                block["block_types"][name] = {"nesting_mode": mode, "block": nested}
            else:
                block["attributes"][name] = {"type": ["list", _object(nested)], "optional": True}
        return block


# --- below -------------------------------------------------------------------------------------


def _modules(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as outer:
        name = next(name for name in outer.namelist() if name.endswith(".jsii.tgz"))
        inner = io.BytesIO(outer.read(name))
    found = []
    with tarfile.open(fileobj=inner) as archive:
        for member in archive:
            if not re.match(r"package/lib/[^/]+/index\.js$", member.name):
                continue
            file = archive.extractfile(member)
            code = file.read().decode() if file is not None else ""
            if "tfResourceType" in code:
                found.append(code)
    return found


def _arguments(body: str) -> dict[str, tuple[str, ...]]:
    return {name: said for name, *rest in ARGUMENT.findall(body) for said in [tuple(rest)]}


def _type(kind: str) -> Any:
    """The type of a plain value, or of lists and maps of such; None for blocks."""
    if kind in PLAIN:
        return PLAIN[kind]
    for ending, word in (("List", "list"), ("Map", "map")):
        if kind.endswith(ending):
            inner = _type(kind.removesuffix(ending))
            return [word, inner] if inner else None
    return None


def _read(name: str, segment: str) -> Any:
    """The type of what can only be read, by how it is read."""
    getter = next((kind for kind, of in GETTER.findall(segment) if of == name), None)
    if getter is not None:
        found = GETTERS.get(getter, "dynamic")
        return ["set", found[1]] if "Fn.tolist" in segment and isinstance(found, list) else found
    mapped = next((hit for hit in MAPPED.findall(segment) if hit[2] == name), None)
    if mapped is None:
        return "dynamic"
    return [mapped[1].lower(), PLAIN.get(mapped[0].lower(), "string")]


def _object(block: Block) -> Any:
    fields = {}
    for name, entry in block["attributes"].items():
        if "nested_type" in entry:
            inner, mode = _object(entry["nested_type"]), entry["nested_type"]["nesting_mode"]
            fields[name] = inner if mode == "single" else [mode, inner]
        else:
            fields[name] = entry["type"]
    for name, entry in block.get("block_types", {}).items():
        inner, mode = _object(entry["block"]), entry["nesting_mode"]
        fields[name] = inner if mode == "single" else [mode, inner]
    return ["object", fields]


def _settle(block: Block) -> None:
    """Where their code leaves a type open, the provider's is a string (of JSON, mostly)."""
    for entry in block["attributes"].values():
        if entry.get("type") == "dynamic":
            entry["type"] = "string"
    for entry in block.get("block_types", {}).values():
        _settle(entry["block"])


if __name__ == "__main__":
    read = schema(Path(sys.argv[1]))
    Path(sys.argv[2]).write_text(json.dumps(read, separators=(",", ":")), encoding="utf-8")
    print(f"{read['version']}: {len(read['resource'])} resources, {len(read['data'])} data sources")
