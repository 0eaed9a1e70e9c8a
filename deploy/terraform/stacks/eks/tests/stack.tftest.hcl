# What the stack promises, without an account: `tofu test` or `terraform test`. The provider is mocked;
# its schema is the real one.

mock_provider "aws" {}

mock_provider "aws" {
  alias = "global"
}

override_data {
  target = module.network.data.aws_availability_zones.here
  values = { names = ["us-east-1a", "us-east-1b", "us-east-1c", "us-east-1d"] }
}

override_data {
  target = data.aws_caller_identity.here
  values = { account_id = "123456789012" }
}

override_data {
  target = module.karpenter.data.aws_caller_identity.here
  values = { account_id = "123456789012" }
}

override_data {
  target = module.network.data.aws_region.here
  values = { region = "us-east-1" }
}

variables {
  name        = "headrace-test"
  environment = "dev"
  region      = "us-east-1"
  monthly_usd = 100
  emails      = ["platform@example.com"]
}

run "small_by_default" {
  command = plan

  assert {
    condition     = length(module.cache) == 0 && length(module.database) == 0 && length(module.cdn) == 0
    error_message = "Stores and CloudFront are there only when asked for."
  }

  assert {
    condition     = length(module.network.zones) == 3
    error_message = "There are three zones by default."
  }

  assert {
    condition     = contains([for release in output.releases : release.name], "karpenter") && contains([for release in output.releases : release.name], "keda")
    error_message = "Karpenter and KEDA are always installed."
  }
}

run "what_is_installed_is_used" {
  command = plan

  variables {
    observability = "cluster"
  }

  assert {
    condition     = yamldecode(output.values).collector.enabled && length([for release in output.releases : release if contains(["loki", "tempo"], release.name)]) == 2
    error_message = "Loki and Tempo run, and the chart's collector sends to them."
  }

  assert {
    condition     = alltrue([for release in output.releases : can(regex("^[0-9]+\\.[0-9]+\\.[0-9]+$", release.version))])
    error_message = "Each chart has one version."
  }
}

run "nothing_on_the_internet_without_a_domain" {
  command = plan

  module {
    source = "../../modules/entrance"
  }

  variables {
    vpc_id                   = "vpc-1"
    subnet_ids               = ["subnet-1", "subnet-2"]
    internal                 = true
    client_cidrs             = ["10.40.0.0/16"]
    target_type              = "ip"
    target_security_group_id = "sg-1"
  }

  assert {
    condition     = aws_lb_listener.this.protocol == "HTTP" && aws_lb.this.internal
    error_message = "Plain HTTP is for inside a VPC."
  }
}

run "everything" {
  command = plan

  variables {
    environment = "prod"
    nat         = "per_zone"
    cache       = { node_type = "cache.m7g.large", nodes = 2 }
    database    = { instance_class = "db.m7g.large", multi_az = true }
    domain      = "llm.example.com"
    zone_id     = "Z0000000000000000000"
    cdn         = true
  }

  assert {
    condition     = length(module.cdn) == 1 && output.url == "https://llm.example.com"
    error_message = "CloudFront answers under the domain."
  }

  assert {
    condition     = yamldecode(output.values).redis.enabled == false && yamldecode(output.values).redis.urlSecret.name == "headrace-redis"
    error_message = "With ElastiCache the chart runs no Redis of its own."
  }
}

run "a_domain_needs_its_zone" {
  command = plan

  variables {
    domain = "llm.example.com"
  }

  expect_failures = [var.domain]
}

run "the_internet_is_no_admin" {
  command = plan

  variables {
    admin_cidrs = ["0.0.0.0/0"]
  }

  expect_failures = [var.admin_cidrs]
}

run "names_fit_everywhere" {
  command = plan

  variables {
    name = "Headrace_Production_Cluster"
  }

  expect_failures = [var.name]
}
