"""
Terraform's stacks against the AWS provider's schema, and mistakes that must be caught. They need
terraform or tofu and an environment of 300 MB: opt in with `make terraform-check`.
"""

import json
from pathlib import Path

import pytest

from deploy.kit.helm import render
from deploy.kit.terraform import CheckError, Kit, copied, kit, policies, validate

pytestmark = [pytest.mark.terraform, pytest.mark.xdist_group("terraform"), pytest.mark.timeout(600)]

# File below deploy/terraform, what stands there, what is planted, and a word of what is then told.
MISTAKES = {
    "an argument misspelt": (
        "modules/cache/main.tf",
        "automatic_failover_enabled",
        "automatic_failover_enable",
        "Unsupported argument",
    ),
    "a block misspelt": (
        "modules/cluster/main.tf",
        "upgrade_policy {",
        "upgrade_policies {",
        "Unsupported block type",
    ),
    "a resource that is none": (
        "modules/budget/main.tf",
        '"aws_budgets_budget" "this"',
        '"aws_budget" "this"',
        "Invalid resource type",
    ),
    "a needed argument left out": (
        "modules/budget/main.tf",
        '  time_unit    = "MONTHLY"\n',
        "",
        "Missing required argument",
    ),
    "a wrong type": (
        "modules/network/main.tf",
        "enable_dns_support   = true",
        'enable_dns_support   = "perhaps"',
        "Incorrect attribute value type",
    ),
    "an output that is none": (
        "stacks/eks/main.tf",
        "module.network.vpc_id",
        "module.network.vpc_ids",
        "Unsupported attribute",
    ),
    "an input that is none": (
        "stacks/eks/main.tf",
        "  nat                 = var.nat",
        "  nat_gateways        = var.nat",
        "Unsupported argument",
    ),
    "a reference to nothing": (
        "modules/karpenter/main.tf",
        "aws_iam_role.node.arn",
        "aws_iam_role.nodes.arn",
        "undeclared resource",
    ),
}


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Kit:
    """Either of terraform and tofu, with the stand-in for the provider."""
    return kit(tmp_path_factory.mktemp("kit"), real=False)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """deploy/terraform, to be spoilt."""
    return copied(tmp_path)


@pytest.mark.parametrize("stack", ["eks", "ec2"])
def test_a_stack_fits_the_schema(tools: Kit, tree: Path, stack: str) -> None:
    """A stack with all its modules is what the AWS provider takes."""
    validate(tools, tree / "stacks" / stack)


@pytest.mark.parametrize("stack", ["eks", "ec2"])
@pytest.mark.parametrize("environment", ["dev", "staging", "prod"])
def test_an_environment_can_be_planned(
    tools: Kit, tree: Path, stack: str, environment: str
) -> None:
    """Each environment makes a plan, and the plan makes something."""
    folder = tree / "stacks" / stack
    tools.run(folder, "init", "-input=false", "-no-color")

    told = tools.run(
        folder, "plan", "-input=false", "-no-color", f"-var-file=environments/{environment}.tfvars"
    )

    assert "0 to change, 0 to destroy" in told


@pytest.mark.parametrize("environment", ["dev", "staging", "prod"])
def test_the_chart_takes_what_the_stack_hands_it(tools: Kit, tree: Path, environment: str) -> None:
    """Values that `headrace aws up` hands from the stack to the chart are values of the chart."""
    folder = tree / "stacks" / "eks"
    tools.run(folder, "init", "-input=false", "-no-color")
    file = f"-var-file=environments/{environment}.tfvars"
    tools.run(folder, "plan", "-input=false", file, "-out=p")
    plan = json.loads(tools.run(folder, "show", "-json", "p"))
    values = tree / "values.yaml"
    values.write_text(plan["planned_values"]["outputs"]["values"]["value"], encoding="utf-8")
    models = tree / "models.yaml"
    models.write_text("models: [{name: qwen3-4b, model: Qwen/Qwen3-4B, spot: true}]\n")

    kinds = {each["kind"] for each in render("--values", str(values), "--values", str(models))}

    assert {"NodePool", "EC2NodeClass", "NetworkPolicy", "Deployment"} <= kinds


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_caught(tools: Kit, tree: Path, mistake: str) -> None:
    """The check is worth something: what is planted is found, and named."""
    place, there, planted, told = MISTAKES[mistake]
    file = tree / place
    text = file.read_text(encoding="utf-8")
    assert there in text
    file.write_text(text.replace(there, planted), encoding="utf-8")

    with pytest.raises(CheckError, match=told):
        validate(tools, tree / "stacks" / "eks" if "stacks" in place else file.parent)


def test_formatting_is_checked(tools: Kit, tree: Path) -> None:
    """A file that is not formatted fails."""
    file = tree / "modules" / "bucket" / "main.tf"
    file.write_text(file.read_text(encoding="utf-8").replace("  bucket", "     bucket", 1))

    with pytest.raises(CheckError):
        tools.run(tree, "fmt", "-check", "-recursive")


def test_a_broken_promise_is_caught(tools: Kit, tree: Path) -> None:
    """`terraform test` fails where a module no longer does what its stack's tests say."""
    file = tree / "modules" / "fleet" / "main.tf"
    text = file.read_text(encoding="utf-8")
    there = "min_healthy_percentage = 100"
    assert there in text
    file.write_text(text.replace(there, "min_healthy_percentage = 50"), encoding="utf-8")
    stack = tree / "stacks" / "ec2"
    tools.run(stack, "init", "-backend=false", "-input=false", "-no-color")

    with pytest.raises(CheckError, match="A new version comes before an old one goes"):
        tools.run(stack, "test", "-no-color")


def test_policies_hold(tools: Kit, tree: Path) -> None:
    """Policies: checkov finds nothing but what is accepted with a reason."""
    policies(tools, tree)


@pytest.mark.parametrize(
    ("place", "there", "planted"),
    [
        ("modules/bucket/main.tf", "block_public_acls       = true", "block_public_acls = false"),
        ("modules/database/main.tf", "storage_encrypted     = true", "storage_encrypted = false"),
        ("modules/fleet/main.tf", 'http_tokens                 = "required"',
         'http_tokens = "optional"'),
    ],
)  # fmt: skip
def test_a_weak_setting_is_caught(
    tools: Kit, tree: Path, place: str, there: str, planted: str
) -> None:
    """What would open a bucket, store plainly, or leak credentials does not pass."""
    file = tree / place
    text = file.read_text(encoding="utf-8")
    assert there in text
    file.write_text(text.replace(there, planted), encoding="utf-8")

    with pytest.raises(CheckError, match="CKV"):
        policies(tools, tree)
