# Headrace on EKS: the network, the cluster, what pods may do, where models lie, what gateways share, and
# the way in. GPU nodes are not here: Karpenter starts and ends them, by the chart's NodePools.

data "aws_partition" "here" {}

data "aws_caller_identity" "here" {}

locals {
  tags = merge({ "headrace:deployment" = var.name, "headrace:environment" = var.environment }, var.tags)

  unique = "${var.name}-${data.aws_caller_identity.here.account_id}-${var.region}"
  public = var.domain != null
  cdn    = var.cdn && local.public
  prod   = var.environment == "prod"
}

module "network" {
  source = "../../modules/network"

  name                = var.name
  cidr                = var.cidr
  zones               = var.zones
  nat                 = var.nat
  interface_endpoints = var.interface_endpoints
  flow_log_days       = var.log_days
}

module "cluster" {
  source = "../../modules/cluster"

  name                  = var.name
  kubernetes_version    = var.kubernetes_version
  subnet_ids            = module.network.private_subnet_ids
  admin_cidrs           = var.admin_cidrs
  admin_role_arns       = var.admin_role_arns
  system_instance_types = var.system_instance_types
  system_nodes          = var.system_nodes
  log_days              = var.log_days
  deletion_protection   = var.deletion_protection
}

module "karpenter" {
  source = "../../modules/karpenter"

  cluster_name = module.cluster.name
}

# --- models, responses, caches, images ---------------------------------------------------------------

module "models" {
  source = "../../modules/bucket"

  name          = "${local.unique}-models"
  force_destroy = !var.deletion_protection
}

module "responses" {
  source = "../../modules/bucket"

  name          = "${local.unique}-responses"
  expire_days   = var.response_days
  force_destroy = !var.deletion_protection
}

module "logs" {
  source = "../../modules/bucket"

  name          = "${local.unique}-logs"
  expire_days   = var.log_days
  log_delivery  = true
  force_destroy = !var.deletion_protection
}

module "filesystem" {
  source = "../../modules/filesystem"

  name                     = var.name
  vpc_id                   = module.network.vpc_id
  subnet_ids               = module.network.private_subnet_ids
  client_security_group_id = module.cluster.security_group_id
  lustre_gib               = var.lustre_gib
  model_bucket             = module.models.name
}

module "registry" {
  source = "../../modules/registry"

  name         = substr(var.name, 0, 22)
  upstreams    = var.image_caches
  force_delete = !var.deletion_protection
}

# --- what pods may do --------------------------------------------------------------------------------

module "engine_identity" {
  source = "../../modules/identity"

  cluster_name    = module.cluster.name
  namespace       = var.namespace
  service_account = "headrace-engine"
  statements = [
    { actions = ["s3:ListBucket"], resources = [module.models.arn] },
    { actions = ["s3:GetObject"], resources = ["${module.models.arn}/*"] },
  ]
}

module "gateway_identity" {
  source = "../../modules/identity"

  cluster_name    = module.cluster.name
  namespace       = var.namespace
  service_account = "headrace"
  statements = [
    { actions = ["s3:PutObject", "s3:AbortMultipartUpload"], resources = ["${module.responses.arn}/*"] },
  ]
}

# Only what a TargetGroupBinding needs: pods into one target group, and out of it. Load balancers are
# made by this stack, not by the controller.
module "balancer_identity" {
  source = "../../modules/identity"

  cluster_name    = module.cluster.name
  namespace       = "kube-system"
  service_account = "aws-load-balancer-controller"
  statements = [
    {
      actions   = ["elasticloadbalancing:RegisterTargets", "elasticloadbalancing:DeregisterTargets"]
      resources = [module.entrance.target_group_arn]
    },
    {
      actions = [
        "elasticloadbalancing:DescribeTargetGroups", "elasticloadbalancing:DescribeTargetHealth",
        "elasticloadbalancing:DescribeTargetGroupAttributes", "elasticloadbalancing:DescribeTags",
        "ec2:DescribeVpcs", "ec2:DescribeSubnets", "ec2:DescribeSecurityGroups", "ec2:DescribeInstances",
        "ec2:DescribeNetworkInterfaces", "ec2:DescribeAvailabilityZones",
      ]
      resources = ["*"] # AWS has no resources for these
    },
  ]
}

module "metrics_identity" {
  source = "../../modules/identity"
  count  = var.observability == "managed" ? 1 : 0

  cluster_name    = module.cluster.name
  namespace       = "monitoring"
  service_account = "prometheus"
  statements      = [{ actions = ["aps:RemoteWrite"], resources = [module.monitoring.prometheus_arn] }]
}

# --- what gateways share -----------------------------------------------------------------------------

module "cache" {
  source = "../../modules/cache"
  count  = var.cache == null ? 0 : 1

  name                     = var.name
  vpc_id                   = module.network.vpc_id
  subnet_ids               = module.network.private_subnet_ids
  client_security_group_id = module.cluster.security_group_id
  node_type                = var.cache.node_type
  nodes                    = var.cache.nodes
  snapshot_days            = local.prod ? 7 : 0
}

module "database" {
  source = "../../modules/database"
  count  = var.database == null ? 0 : 1

  name                     = var.name
  vpc_id                   = module.network.vpc_id
  subnet_ids               = module.network.private_subnet_ids
  client_security_group_id = module.cluster.security_group_id
  instance_class           = var.database.instance_class
  multi_az                 = var.database.multi_az
  backup_days              = local.prod ? 30 : 7
  deletion_protection      = var.deletion_protection
}

# --- the way in --------------------------------------------------------------------------------------

module "certificate" {
  source = "../../modules/certificate"
  count  = local.public ? 1 : 0

  domain  = var.domain
  zone_id = var.zone_id
}

module "entrance" {
  source = "../../modules/entrance"

  name                     = var.name
  vpc_id                   = module.network.vpc_id
  internal                 = local.cdn || !local.public
  subnet_ids               = local.cdn || !local.public ? module.network.private_subnet_ids : module.network.public_subnet_ids
  client_cidrs             = local.cdn || !local.public ? [module.network.cidr] : var.client_cidrs
  certificate_arn          = one(module.certificate[*].arn)
  domain                   = local.cdn ? null : var.domain
  zone_id                  = local.cdn ? null : var.zone_id
  target_type              = "ip"
  target_security_group_id = module.cluster.security_group_id
  drain_s                  = var.drain_s
  log_bucket               = module.logs.name
  deletion_protection      = var.deletion_protection
}

module "certificate_global" {
  source = "../../modules/certificate"
  count  = local.cdn ? 1 : 0

  providers = { aws = aws.global }

  domain  = var.domain
  zone_id = var.zone_id
}

module "cdn" {
  source = "../../modules/cdn"
  count  = local.cdn ? 1 : 0

  providers = { aws = aws.global }

  name                 = var.name
  load_balancer_arn    = module.entrance.arn
  load_balancer_domain = var.domain
  domain               = var.domain
  zone_id              = var.zone_id
  certificate_arn      = module.certificate_global[0].arn
  requests_per_minute  = var.requests_per_minute
  log_days             = var.log_days
}

# --- seeing and paying -------------------------------------------------------------------------------

module "monitoring" {
  source = "../../modules/monitoring"

  name     = var.name
  managed  = var.observability == "managed"
  log_days = var.log_days
}

module "budget" {
  source = "../../modules/budget"

  name        = var.name
  monthly_usd = var.monthly_usd
  emails      = var.emails
  tag         = { key = "headrace:deployment", value = var.name }
}

module "releases" {
  source = "../../modules/releases"

  cluster_name       = module.cluster.name
  region             = var.region
  vpc_id             = module.network.vpc_id
  interruption_queue = module.karpenter.queue_name
  replicas           = local.prod ? 2 : 1
  observability      = var.observability == "cluster"
}
