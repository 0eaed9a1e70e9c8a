"""What plans cost, by the table of prices."""

import re
from pathlib import Path
from typing import Any

import pytest

from headrace.aws.cost import MONTH_H, RULES, Gpus, estimate
from headrace.aws.prices import prices
from headrace.errors import ConfigError

PRICES = prices()


def plan(*resources: tuple[str, dict[str, Any]], name: str = "this") -> dict[str, Any]:
    """A plan with resources in a module of a module."""
    listed = [
        {"type": kind, "name": name, "address": f"module.a.{kind}.{name}", "values": values}
        for kind, values in resources
    ]
    inner = {"child_modules": [{"resources": listed}]}
    return {"planned_values": {"root_module": {"child_modules": [inner]}}}


def hourly(kind: str, **values: Any) -> float:
    (line,) = estimate(plan((kind, values)), PRICES).lines
    return line.usd_per_hour


@pytest.mark.parametrize(
    ("usd", "kind", "values"),
    [
        (0.10, "aws_eks_cluster", {}),
        (0.045, "aws_nat_gateway", {}),
        (0.0042, "aws_instance", {"instance_type": "t4g.nano"}),
        (3 * 0.2016, "aws_eks_node_group",
         {"instance_types": ["m7i.xlarge"], "scaling_config": [{"min_size": 3}]}),
        (2 * 0.1264, "aws_elasticache_replication_group",
         {"node_type": "cache.m7g.large", "num_cache_clusters": 2}),
        (8.0 / 730, "aws_wafv2_web_acl", {"rule": [{}, {}, {}]}),
        (1200 * 0.21 / 730, "aws_fsx_lustre_file_system", {"storage_capacity": 1200}),
    ],
)  # fmt: skip
def test_a_resource_costs_what_the_table_says(
    usd: float, kind: str, values: dict[str, Any]
) -> None:
    """Count times price, by the hour."""
    assert usd == pytest.approx(hourly(kind, **values))


def test_a_standby_costs_as_much_as_its_server() -> None:
    """Two zones are two servers and twice the storage."""

    def month(*, multi_az: bool) -> float:
        values = {"instance_class": "db.m7g.large", "multi_az": multi_az, "allocated_storage": 20}
        return estimate(plan(("aws_db_instance", values)), PRICES).per_month(gpu=True)

    assert 730 * 0.168 + 20 * 0.115 == pytest.approx(month(multi_az=False))
    assert 2 * month(multi_az=False) == pytest.approx(month(multi_az=True))


def test_a_group_is_part_spot_and_ends_with_a_pause() -> None:
    """Four instances of which one and a third of the rest are on demand."""
    policy = {
        "instances_distribution": [
            {"on_demand_base_capacity": 1, "on_demand_percentage_above_base_capacity": 100 / 3}
        ],
        "launch_template": [{"override": [{"instance_type": "g6.xlarge"}]}],
    }
    values = {"desired_capacity": 4, "min_size": 1, "mixed_instances_policy": [policy]}

    found = estimate(plan(("aws_autoscaling_group", values)), PRICES)

    assert 730 * 0.8048 * (2 + 2 * 0.4) == pytest.approx(found.per_month(gpu=True))
    assert 0.0 == found.per_month(gpu=False)


def test_endpoints_cost_in_each_zone() -> None:
    """An interface endpoint has an address in each private subnet; a gateway endpoint is free."""
    found = plan(("aws_subnet", {}), ("aws_subnet", {}), ("aws_subnet", {}), name="private")
    more = plan(
        ("aws_vpc_endpoint", {"vpc_endpoint_type": "Interface"}),
        ("aws_vpc_endpoint", {"vpc_endpoint_type": "Gateway"}),
    )
    found["planned_values"]["root_module"]["child_modules"] += more["planned_values"][
        "root_module"
    ]["child_modules"]

    assert 730 * 0.03 == pytest.approx(estimate(found, PRICES).per_month(gpu=True))


def test_nodes_of_karpenter_are_added() -> None:
    """A plan does not show GPU nodes of a cluster: so many, so long a day, Spot or not."""
    spot = estimate(plan(), PRICES, Gpus("g6.xlarge", 2, 12.0))
    demand = estimate(plan(), PRICES, Gpus("g6.xlarge", 2, 12.0, spot=False))

    assert MONTH_H * 0.8048 == pytest.approx(demand.per_month(gpu=True))
    assert 0.4 * demand.per_month(gpu=True) == pytest.approx(spot.per_month(gpu=True))
    assert 0.0 == spot.per_month(gpu=False)


def test_what_has_no_price_is_named() -> None:
    """An unknown type is never free without a word."""
    values = {"instance_type": "u7i-12tb.224xlarge"}

    found = estimate(plan(("aws_instance", values)), PRICES, Gpus("p9.large", 1))

    assert ("module.a.aws_instance.this", "GPU nodes of type p9.large") == found.unknown


def test_what_is_paid_by_use_is_named() -> None:
    """Storage and traffic have no hourly price: they are told beside the figure."""
    assert "S3" in estimate(plan(("aws_s3_bucket", {})), PRICES).by_use[0]


def test_a_state_is_read_like_a_plan() -> None:
    """What there is has another key than what would be."""
    document = plan(("aws_eks_cluster", {}))
    state = {"values": document["planned_values"]}

    assert estimate(document, PRICES) == estimate(state, PRICES)


def test_the_table_has_every_price_that_rules_use() -> None:
    """Types that the environments use are all in the table."""
    folder = Path(__file__).parents[2] / "deploy" / "terraform" / "stacks"
    text = "\n".join(path.read_text(encoding="utf-8") for path in folder.rglob("*.tfvars"))
    known = {*PRICES.instances, *PRICES.caches, *PRICES.databases}
    used = set(
        re.findall(r'"((?:cache\.|db\.)?[a-z][a-z0-9]+\.(?:\d*x?large|micro|small|nano))"', text)
    )
    assert used
    assert set() == used - known
    assert len(RULES) > 10


@pytest.mark.parametrize("text", ["", "date: 2026", "[1]", "date: x\ninstances: {a: b}"])
def test_a_table_that_is_none_is_told(tmp_path: Path, text: str) -> None:
    """A wrong table is an error for people."""
    file = tmp_path / "prices.yaml"
    file.write_text(text, encoding="utf-8")

    with pytest.raises(ConfigError, match="--prices: "):
        prices(file)


def test_a_missing_table_is_told(tmp_path: Path) -> None:
    """So is a missing one."""
    with pytest.raises(ConfigError, match="cannot be read"):
        prices(tmp_path / "none.yaml")
