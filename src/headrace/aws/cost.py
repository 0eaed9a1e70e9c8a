"""What a plan costs, from what Terraform would make. What is paid by use is named, not guessed."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headrace.aws.prices import Prices

MONTH_H = 730.0
# What Karpenter or people start later, and what is paid by the gigabyte or the request.
BY_USE = {
    "aws_s3_bucket": "S3: 0.023 USD a GiB and month",
    "aws_efs_file_system": "EFS: 0.30 USD a GiB and month, a tenth of that after 30 days unread",
    "aws_nat_gateway": "NAT: 0.045 USD a GiB",
    "aws_lb": "Load balancer: 0.008 USD an hour for each unit (25 new connections a second)",
    "aws_cloudfront_distribution": "CloudFront: 0.085 USD a GiB after the first TiB",
    "aws_api_gateway_rest_api": "API Gateway: 3.50 USD a million requests",
    "aws_cloudwatch_log_group": "Logs: 0.50 USD a GiB written",
    "aws_prometheus_workspace": "Managed Prometheus: 0.90 USD for ten million samples",
    "aws_ecr_repository": "ECR: 0.10 USD a GiB and month",
}


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that costs by the hour, all the time. ``gpu``: pausing ends it."""

    address: str
    what: str
    usd_per_hour: float
    gpu: bool = False


@dataclass(frozen=True, slots=True)
class Estimate:
    """What there is to pay: by the hour, by use, and what the table has no price for."""

    lines: tuple[Line, ...]
    by_use: tuple[str, ...]
    unknown: tuple[str, ...]

    def per_month(self, *, gpu: bool) -> float:
        """USD a month of everything, or of what stays when GPUs are paused."""
        return MONTH_H * sum(line.usd_per_hour for line in self.lines if gpu or not line.gpu)


@dataclass(frozen=True, slots=True)
class Gpus:
    """GPU nodes that a plan does not show, since Karpenter starts them: so many, so long a day."""

    instance: str
    count: int
    hours_per_day: float = 24.0
    spot: bool = True


def estimate(plan: Mapping[str, Any], prices: Prices, gpus: Gpus | None = None) -> Estimate:
    """
    The estimate of a plan or state, as ``terraform show -json`` writes it.

    Unknown prices are named rather than left out silently: an estimate that says nothing about them
    would be too low.
    """
    root = (plan.get("planned_values") or plan.get("values") or {}).get("root_module") or {}
    found = list(_resources(root))
    zones = sum(each["type"] == "aws_nat_gateway" for each in found)
    subnets = [each for each in found if each["type"] == "aws_subnet" and each["name"] == "private"]
    counted = Counted(prices, max(zones, len(subnets), 1))
    lines, unknown = [], []
    for each in found:
        rule = RULES.get(each["type"])
        if rule is None:
            continue
        for line in rule(counted, each["values"]):
            if line is None:
                unknown.append(each["address"])
            else:
                what, usd, gpu = line
                lines.append(Line(each["address"], what, usd, gpu))
    if gpus is not None:
        nodes = _karpenter(prices, gpus)
        unknown += [] if nodes else [f"GPU nodes of type {gpus.instance}"]
        lines += [nodes] if nodes else []
    kinds = {each["type"] for each in found}
    by_use = tuple(text for kind, text in BY_USE.items() if kind in kinds)
    return Estimate(tuple(lines), by_use, tuple(unknown))


# --- below -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Counted:
    """The prices, and in how many zones things are."""

    prices: Prices
    zones: int


Priced = tuple[str, float, bool] | None
Rule = Callable[[Counted, Mapping[str, Any]], Sequence[Priced]]


def _resources(module: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for each in module.get("resources") or ():
        if each.get("mode", "managed") == "managed":
            yield each
    for child in module.get("child_modules") or ():
        yield from _resources(child)


def _fixed(key: str, what: str) -> Rule:
    return lambda counted, _values: [(what, counted.prices.hourly[key], False)]


def _month(key: str, what: str) -> Rule:
    return lambda counted, _values: [(what, counted.prices.monthly[key] / MONTH_H, False)]


def _times(prices: Mapping[str, float], kind: str, count: float) -> Priced:
    price = prices.get(kind)
    return None if price is None else (f"{count:g} x {kind}", price * count, False)


def _node_group(counted: Counted, values: Mapping[str, Any]) -> Sequence[Priced]:
    kind = (values.get("instance_types") or ["?"])[0]
    return [_times(counted.prices.instances, kind, values["scaling_config"][0]["min_size"])]


def _instance(counted: Counted, values: Mapping[str, Any]) -> Sequence[Priced]:
    return [_times(counted.prices.instances, values.get("instance_type") or "?", 1)]


def _group(counted: Counted, values: Mapping[str, Any]) -> Sequence[Priced]:
    policy = (values.get("mixed_instances_policy") or [{}])[0]
    overrides = (policy.get("launch_template") or [{}])[0].get("override") or [{}]
    kind = overrides[0].get("instance_type") or "?"
    price = counted.prices.instances.get(kind)
    if price is None:
        return [None]
    spread = (policy.get("instances_distribution") or [{}])[0]
    count = values.get("desired_capacity") or values.get("min_size") or 0
    base = min(count, spread.get("on_demand_base_capacity") or 0)
    above = (spread.get("on_demand_percentage_above_base_capacity") or 0) / 100
    demand = base + (count - base) * above
    usd = price * (demand + (count - demand) * counted.prices.spot_share)
    return [(f"{count} x {kind}, {demand:g} of them on demand", usd, True)]


def _cache(counted: Counted, values: Mapping[str, Any]) -> Sequence[Priced]:
    count = values.get("num_cache_clusters") or 1
    return [_times(counted.prices.caches, values.get("node_type") or "?", count)]


def _database(counted: Counted, values: Mapping[str, Any]) -> Sequence[Priced]:
    copies = 2 if values.get("multi_az") else 1
    gib = (values.get("allocated_storage") or 0) * copies
    storage = gib * counted.prices.monthly["database_gib"] / MONTH_H
    kind = values.get("instance_class") or "?"
    return [_times(counted.prices.databases, kind, copies), (f"{gib} GiB", storage, False)]


def _endpoint(counted: Counted, values: Mapping[str, Any]) -> Sequence[Priced]:
    if values.get("vpc_endpoint_type") != "Interface":
        return []
    usd = counted.prices.hourly["interface_endpoint"] * counted.zones
    return [(f"private endpoint in {counted.zones} zones", usd, False)]


def _lustre(counted: Counted, values: Mapping[str, Any]) -> Sequence[Priced]:
    gib = values.get("storage_capacity") or 0
    return [(f"{gib} GiB of Lustre", gib * counted.prices.monthly["lustre_gib"] / MONTH_H, False)]


def _firewall(counted: Counted, values: Mapping[str, Any]) -> Sequence[Priced]:
    rules = len(values.get("rule") or ())
    month = counted.prices.monthly
    usd = (month["firewall"] + rules * month["firewall_rule"]) / MONTH_H
    return [(f"firewall with {rules} rules", usd, False)]


def _karpenter(prices: Prices, gpus: Gpus) -> Line | None:
    price = prices.instances.get(gpus.instance)
    if price is None:
        return None
    share = prices.spot_share if gpus.spot else 1.0
    usd = price * share * gpus.count * gpus.hours_per_day / 24
    kind = "Spot" if gpus.spot else "on demand"
    what = f"{gpus.count} x {gpus.instance}, {kind}, {gpus.hours_per_day:g} h a day"
    return Line("GPU nodes (Karpenter)", what, usd, gpu=True)


RULES: Mapping[str, Rule] = {
    "aws_eks_cluster": _fixed("eks_cluster", "control plane"),
    "aws_eks_node_group": _node_group,
    "aws_instance": _instance,
    "aws_autoscaling_group": _group,
    "aws_nat_gateway": _fixed("nat_gateway", "NAT gateway"),
    "aws_eip": _fixed("public_address", "public address"),
    "aws_lb": _fixed("load_balancer", "load balancer"),
    "aws_vpc_endpoint": _endpoint,
    "aws_elasticache_replication_group": _cache,
    "aws_db_instance": _database,
    "aws_fsx_lustre_file_system": _lustre,
    "aws_wafv2_web_acl": _firewall,
    "aws_secretsmanager_secret": _month("secret", "secret"),
    "aws_kms_key": _month("key", "key"),
    "aws_cloudwatch_metric_alarm": _month("alarm", "alarm"),
    "aws_cloudwatch_dashboard": _month("dashboard", "dashboard"),
    "aws_grafana_workspace": _month("grafana_editor", "Grafana, one editor"),
}
