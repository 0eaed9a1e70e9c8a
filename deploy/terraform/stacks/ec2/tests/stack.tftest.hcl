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
    condition     = length(module.api) == 0 && length(module.page) == 0 && output.page == ""
    error_message = "API Gateway and the page are there only when asked for."
  }
}

run "scaling_by_queue_is_the_default" {
  command = plan

  module {
    source = "../../modules/fleet"
  }

  variables {
    name       = "headrace-test"
    vpc_id     = "vpc-1"
    subnet_ids = ["subnet-1", "subnet-2"]
  }

  assert {
    condition     = length(aws_cloudwatch_metric_alarm.queue_high) == 1 && length(aws_cloudwatch_metric_alarm.gpu_high) == 0
    error_message = "By default there is more when requests wait."
  }

  assert {
    condition     = aws_autoscaling_group.this.instance_refresh[0].preferences[0].min_healthy_percentage == 100
    error_message = "A new version comes before an old one goes."
  }
}

run "scaling_by_gpu_is_70_and_30" {
  command = plan

  module {
    source = "../../modules/fleet"
  }

  variables {
    name       = "headrace-test"
    vpc_id     = "vpc-1"
    subnet_ids = ["subnet-1", "subnet-2"]
    scale_on   = "gpu"
  }

  assert {
    condition     = aws_cloudwatch_metric_alarm.gpu_high[0].threshold == 70 && aws_cloudwatch_metric_alarm.gpu_low[0].threshold == 30
    error_message = "GPUs over 70 % are too busy, under 30 % too idle."
  }
}

run "a_page_needs_an_api" {
  command = plan

  variables {
    demo = true
  }

  expect_failures = [var.demo]
}

run "draining_fits_a_notice_of_two_minutes" {
  command = plan

  variables {
    drain_s = 300
  }

  expect_failures = [var.drain_s]
}

run "arguments_are_no_shell" {
  command = plan

  variables {
    engine_arguments = "--max-model-len 4096; reboot"
  }

  expect_failures = [var.engine_arguments]
}
