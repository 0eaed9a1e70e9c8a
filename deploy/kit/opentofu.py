"""
What of deploy/terraform OpenTofu would not understand. The two programs share their language up to
Terraform 1.5; what either has added since is a short list, and this looks for it in the text. Where
`tofu` is installed, `deploy.kit.terraform` runs it as well.

https://opentofu.org/docs/intro/whats-new and its pages of older versions; looked up 2026-11-22.
"""

import re
from collections.abc import Iterator
from pathlib import Path

OLDEST = ">= 1.10.0"  # locks of the S3 backend, and mocks in tests; both programs
# What is written, as a pattern over a line, and since when OpenTofu has it.
FOREIGN = {
    r'^\s*ephemeral\s+"': "ephemeral resources need OpenTofu 1.11",
    r"^\s*ephemeral\s*=": "ephemeral values need OpenTofu 1.11",
    r"^\s*\w+_wo(_version)?\s*=": "write-only arguments need OpenTofu 1.11",
    r'^\s*action\s+"\w+"\s+"': "OpenTofu has no actions",
    r"^\s*action_trigger\s*\{": "OpenTofu has no actions",
    r"\bterraform\.applying\b": "OpenTofu has no terraform.applying",
    r"^\s*cloud\s*\{": "HCP Terraform is not for OpenTofu",
    r"^\s*(override_during|state_key|parallel)\s*=": "OpenTofu's tests have no such setting",
    r"^test\s*\{": "OpenTofu's tests have no block of that name",
    r"^\s*encryption\s*\{": "Terraform has no encryption of states",
}
FILES = ("*.tofu", "*.tfquery.hcl", "*.tfcomponent.hcl", "*.tfdeploy.hcl", "*.tfstack.hcl")
CALL = re.compile(r"(?<![\w.:\"-])((?:provider::)?[a-z]\w*(?:::\w+)*)\(")
# Functions of both, as they were when OpenTofu began, and types that are written like calls.
WORDS = """
    abs abspath alltrue anytrue base64decode base64encode base64gzip base64sha256 base64sha512
    basename bcrypt can ceil chomp chunklist cidrhost cidrnetmask cidrsubnet cidrsubnets coalesce
    coalescelist compact concat contains csvdecode dirname distinct element endswith file filebase64
    filebase64sha256 filebase64sha512 fileexists filemd5 fileset filesha1 filesha256 filesha512
    flatten floor format formatdate formatlist indent index join jsondecode jsonencode keys length
    log lookup lower matchkeys max md5 merge min nonsensitive one parseint pathexpand plantimestamp
    pow range regex regexall replace reverse rsadecrypt sensitive setintersection setproduct
    setsubtract setunion sha1 sha256 sha512 signum slice sort split startswith strcontains strrev
    substr sum templatefile textdecodebase64 textencodebase64 timeadd timecmp timestamp title tobool
    tolist tomap tonumber toset tostring transpose trim trimprefix trimspace trimsuffix try upper
    urlencode uuid uuidv5 values yamldecode yamlencode zipmap
    any bool list map number object optional set string tuple
"""
FUNCTIONS = frozenset(WORDS.split())


def foreign(folder: Path) -> list[str]:
    """What only one of the two programs knows, one line each; empty is good."""
    paths = [path for kind in ("*.tf", "*.tftest.hcl") for path in sorted(folder.rglob(kind))]
    strange = [path for kind in FILES for path in sorted(folder.rglob(kind))]
    found = [f"{path.relative_to(folder)}: only one program reads it" for path in strange]
    return found + [line for path in paths for line in _foreign(path, folder)]


def _foreign(path: Path, folder: Path) -> Iterator[str]:
    name = path.relative_to(folder)
    text = path.read_text(encoding="utf-8")
    for number, line in enumerate(text.splitlines(), 1):
        code = re.sub(r"(^|\s)(#|//).*", "", re.sub(r'"[^"$]*"', '""', line))
        for pattern, said in FOREIGN.items():
            if re.search(pattern, re.sub(r"(^|\s)#.*", "", line)):
                yield f"{name}:{number}: {said}"
        for call in CALL.findall(code):
            if call not in FUNCTIONS:
                yield f"{name}:{number}: {call} is no function of both"
    wanted = re.search(r'required_version\s*=\s*"([^"]*)"', text)
    if wanted is not None and wanted[1] != OLDEST:
        yield f"{name}: required_version is {wanted[1]}, not {OLDEST}"
