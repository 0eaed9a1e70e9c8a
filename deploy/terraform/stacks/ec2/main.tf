# Headrace without a cluster: GPU instances in an Auto Scaling group, each with an engine and a gateway,
# behind a load balancer, and on wish API Gateway with a firewall and a page to try it.

data "aws_caller_identity" "here" {}

locals {
  tags = merge({ "headrace:deployment" = var.name, "headrace:environment" = var.environment }, var.tags)

  unique = "${var.name}-${data.aws_caller_identity.here.account_id}-${var.region}"
  public = var.domain != null
}

module "network" {
  source = "../../modules/network"

  name          = var.name
  cidr          = var.cidr
  zones         = var.zones
  nat           = var.nat
  flow_log_days = var.log_days
}

module "models" {
  source = "../../modules/bucket"

  name          = "${local.unique}-models"
  force_destroy = !var.deletion_protection
}

module "logs" {
  source = "../../modules/bucket"

  name          = "${local.unique}-logs"
  expire_days   = var.log_days
  log_delivery  = true
  force_destroy = !var.deletion_protection
}

module "fleet" {
  source = "../../modules/fleet"

  name                 = var.name
  vpc_id               = module.network.vpc_id
  subnet_ids           = module.network.private_subnet_ids
  target_group_arns    = [module.entrance.target_group_arn]
  instance_types       = var.instance_types
  size                 = var.size
  on_demand            = var.on_demand
  scale_on             = var.scale_on
  queue                = var.queue
  model                = var.model
  served_name          = var.served_name
  engine_arguments     = var.engine_arguments
  headrace_requirement = var.headrace_requirement
  vllm_requirement     = var.vllm_requirement
  drain_s              = var.drain_s
  model_bucket_arn     = module.models.arn
  secret_arn           = var.secret_arn
  log_days             = var.log_days
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
  internal                 = var.api || !local.public
  subnet_ids               = var.api || !local.public ? module.network.private_subnet_ids : module.network.public_subnet_ids
  client_cidrs             = var.api || !local.public ? [module.network.cidr] : var.client_cidrs
  certificate_arn          = one(module.certificate[*].arn)
  domain                   = var.domain
  zone_id                  = var.zone_id
  target_type              = "instance"
  target_security_group_id = module.fleet.security_group_id
  drain_s                  = var.drain_s
  log_bucket               = module.logs.name
  deletion_protection      = var.deletion_protection
}

module "api" {
  source = "../../modules/api"
  count  = var.api ? 1 : 0

  name                            = var.name
  vpc_id                          = module.network.vpc_id
  subnet_ids                      = module.network.private_subnet_ids
  load_balancer_arn               = module.entrance.arn
  load_balancer_url               = module.entrance.url
  load_balancer_port              = local.public ? 443 : 80
  load_balancer_security_group_id = module.entrance.security_group_id
  requests_per_minute             = var.requests_per_minute
  log_days                        = var.log_days
}

# --- a page to try it --------------------------------------------------------------------------------

module "page" {
  source = "../../modules/bucket"
  count  = var.demo ? 1 : 0

  name          = "${local.unique}-page"
  force_destroy = true
  cdn_arns      = module.page_cdn[*].arn
}

module "page_cdn" {
  source = "../../modules/cdn"
  count  = var.demo ? 1 : 0

  providers = { aws = aws.global }

  name          = "${var.name}-page"
  bucket_domain = "${local.unique}-page.s3.${var.region}.amazonaws.com"
  api_url       = var.api ? module.api[0].url : module.entrance.url
  log_days      = var.log_days
}

resource "aws_s3_object" "page" {
  count = var.demo ? 1 : 0

  bucket        = module.page[0].name
  key           = "index.html"
  content_type  = "text/html; charset=utf-8"
  cache_control = "max-age=60"
  content       = templatefile("${path.module}/page.html.tftpl", { model = var.served_name })
}

# --- seeing and paying -------------------------------------------------------------------------------

module "alarms" {
  source = "../../modules/alarms"

  name                  = var.name
  load_balancer_suffix  = module.entrance.arn_suffix
  group_name            = module.fleet.group_name
  emails                = var.emails
  instance_usd_per_hour = var.instance_usd_per_hour
}

module "budget" {
  source = "../../modules/budget"

  name        = var.name
  monthly_usd = var.monthly_usd
  emails      = var.emails
  tag         = { key = "headrace:deployment", value = var.name }
}
