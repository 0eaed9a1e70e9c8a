"""
Whether objects are what Kubernetes and its extensions take: strict, so that a misspelt field fails.

Built-in kinds by kubernetes-validate; custom ones by their CRDs, whose objects are closed here, and
whose CEL rules are evaluated. The CRDs are data of other projects: they are read from a folder.
"""

import copy
import os
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, cast

import celpy
import celpy.adapter
import celpy.celtypes as cel
import jsonschema
import kubernetes_validate
import yaml

VERSION = "1.35"  # of Kubernetes
ROOT = Path(__file__).parents[2]
# Multi-node engines: their CRD holds whole pods, which are checked as such below.
PODS = {"LeaderWorkerSet": ("leaderTemplate", "workerTemplate")}
# Groups whose schemas are not Kubernetes' own: what needs the CRDs.
EXTENSIONS = {
    "karpenter.sh", "karpenter.k8s.aws", "keda.sh", "monitoring.coreos.com",
    "gateway.networking.k8s.io", "inference.networking.k8s.io",
}  # fmt: skip
MISSING = (
    "The CRDs of Karpenter, KEDA, the Prometheus operator and the Gateway API are missing: run"
    " `scripts/fetch-crds DIR` and name the folder in HEADRACE_CRDS."
)

Object = dict[str, Any]


class CrdsMissing(Exception):
    """There is no folder with them."""


def folder() -> Path:
    """
    Where the CRDs are: $HEADRACE_CRDS, or shared/ beside the repository.

    Raises:
        CrdsMissing: nowhere.

    """
    named = os.environ.get("HEADRACE_CRDS")
    path = Path(named) if named else ROOT.parent / "shared" / "tools" / "infra" / "crds"
    if not path.is_dir():
        raise CrdsMissing(MISSING)
    return path


def problems(objects: list[Object]) -> list[str]:
    """What is wrong with them, one line each; empty is good."""
    return [f"{_name(each)}: {said}" for each in objects for said in _problems(each)]


def _problems(thing: Object) -> Iterator[str]:
    kind = (thing["apiVersion"], thing["kind"])
    if thing["kind"] in PODS:
        for template in PODS[thing["kind"]]:
            pod = thing["spec"]["leaderWorkerTemplate"][template]
            whole = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": template}}
            yield from _core({**whole, "spec": pod["spec"]})
    elif kind[0].partition("/")[0] in EXTENSIONS:
        rules = crds().get(kind)
        if rules is None:
            yield f"{kind[0]} {kind[1]} is no kind that is known"
            return
        thing = defaulted(thing, rules)
        errors = [*jsonschema.Draft202012Validator(closed(rules)).iter_errors(thing)]
        yield from (f"{'.'.join(map(str, e.absolute_path))}: {e.message[:200]}" for e in errors)
        if not errors:  # rules are written for objects whose types are right
            yield from _broken(thing, rules)
    else:
        yield from _core(thing)


def _core(thing: Object) -> Iterator[str]:
    try:
        kubernetes_validate.validate(thing, VERSION, strict=True)
    except kubernetes_validate.ValidationError as error:
        yield f"{'.'.join(map(str, error.path))}: {error.message[:200]}"
    except kubernetes_validate.SchemaNotFoundError:
        yield f"{thing['apiVersion']} {thing['kind']} is no kind that is known"


@cache
def crds() -> dict[tuple[str, str], Object]:
    """The schema of each custom kind, by API version and kind."""
    texts = [path.read_text(encoding="utf-8") for path in sorted(folder().glob("*.yaml"))]
    documents = [each for text in texts for each in yaml.load_all(text, yaml.CSafeLoader)]
    specs = [
        each["spec"]
        for each in documents
        if each and each.get("kind") == "CustomResourceDefinition"
    ]
    return {
        (f"{spec['group']}/{version['name']}", spec["names"]["kind"]): version["schema"][
            "openAPIV3Schema"
        ]
        for spec in specs
        for version in spec["versions"]
    }


def closed(schema: Object) -> Object:
    """A CRD's schema in which objects have no further properties, as the API server prunes them."""
    strict = cast("Object", _closed(copy.deepcopy(schema)))
    strict["properties"]["metadata"] = {"type": "object"}
    return strict


def _closed(schema: Any) -> Any:
    if schema.get("x-kubernetes-int-or-string"):
        return {}
    open_ends = schema.get("x-kubernetes-preserve-unknown-fields")
    if "properties" in schema and "additionalProperties" not in schema and not open_ends:
        schema["additionalProperties"] = False
    inner = schema.get("properties", {})
    schema["properties"] = {key: _closed(value) for key, value in inner.items()}
    if not inner:
        del schema["properties"]
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            schema[key] = _closed(schema[key])
    return schema


def defaulted(value: Any, schema: Any) -> Any:
    """A value with the defaults of its schema, which the API server fills in before it checks."""
    if isinstance(value, dict):
        whole = dict(value)
        for key, inner in schema.get("properties", {}).items():
            if key not in whole and "default" in inner:
                whole[key] = copy.deepcopy(inner["default"])
            if key in whole:
                whole[key] = defaulted(whole[key], inner)
        return whole
    if isinstance(value, list) and isinstance(schema.get("items"), dict):
        return [defaulted(each, schema["items"]) for each in value]
    return value


# --- rules in CEL: https://kubernetes.io/docs/reference/using-api/cel/ --------------------------


def _find(text: Any, pattern: Any) -> Any:
    found = re.search(str(pattern), str(text))
    return cel.StringType(found[0] if found else "")


FUNCTIONS = {
    "find": _find,
    "split": lambda text, by: cel.ListType([cel.StringType(x) for x in str(text).split(str(by))]),
    "isSorted": lambda items: cel.BoolType(list(items) == sorted(items)),
    "trim": lambda text: cel.StringType(str(text).strip()),
}


def _broken(thing: Object, schema: Object) -> Iterator[str]:
    environment = celpy.Environment()
    for path, rule in _rules(schema, ()):
        if "oldSelf" in rule["rule"]:
            continue  # about changes
        program: Any = environment.program(
            environment.compile(rule["rule"]), functions=cast("Any", FUNCTIONS)
        )
        for value in _values(thing, path):
            if not program.evaluate({"self": celpy.adapter.json_to_cel(value)}):
                yield f"{'.'.join(path)}: {rule.get('message', rule['rule'])}"


def _rules(schema: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Object]]:
    for rule in schema.get("x-kubernetes-validations", ()):
        yield path, rule
    for key, value in schema.get("properties", {}).items():
        yield from _rules(value, (*path, key))
    for key, step in (("items", "*"), ("additionalProperties", "**")):
        if isinstance(schema.get(key), dict):
            yield from _rules(schema[key], (*path, step))


def _values(thing: Any, path: tuple[str, ...]) -> Iterator[Any]:
    if not path:
        yield thing
    elif path[0] == "*":
        for each in thing or ():
            yield from _values(each, path[1:])
    elif path[0] == "**":
        for each in (thing or {}).values():
            yield from _values(each, path[1:])
    elif isinstance(thing, dict) and path[0] in thing:
        yield from _values(thing[path[0]], path[1:])


def _name(thing: Object) -> str:
    return f"{thing['kind']}/{thing['metadata']['name']}"
