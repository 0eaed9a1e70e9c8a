# GPU instances without a cluster: a launch template on the Deep Learning AMI, an Auto Scaling group
# across zones with a Spot share, and scaling by queue or by GPU. Each instance runs one vLLM and one
# gateway as systemd units. Shape after terraform-aws-modules/autoscaling.

data "aws_partition" "here" {}

data "aws_region" "here" {}

data "aws_caller_identity" "here" {}

locals {
  prefix  = "arn:${data.aws_partition.here.partition}"
  region  = data.aws_region.here.region
  account = data.aws_caller_identity.here.account_id
  image   = "/aws/service/deeplearning/ami/x86_64/base-oss-nvidia-driver-gpu-amazon-linux-2023/latest/ami-id"
  on_gpu  = contains(["gpu", "both"], var.scale_on)
  on_line = contains(["queue", "both"], var.scale_on)
}

resource "aws_security_group" "this" {
  name_prefix = "${var.name}-fleet-"
  description = "GPU instances of ${var.name}"
  vpc_id      = var.vpc_id

  tags = { Name = "${var.name}-fleet" }

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_vpc_security_group_egress_rule" "https" {
  security_group_id = aws_security_group.this.id
  description       = "Packages, models and AWS"
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}

# --- what an instance may do -------------------------------------------------------------------------

resource "aws_iam_role" "this" {
  name_prefix = "${var.name}-fleet-"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "ec2.amazonaws.com" }
    }]
  })
}

# A shell is `aws ssm start-session`: no port 22, no key pair, and every session is logged.
resource "aws_iam_role_policy_attachment" "ssm" {
  role       = aws_iam_role.this.name
  policy_arn = "${local.prefix}:iam::aws:policy/AmazonSSMManagedInstanceCore"
}

resource "aws_iam_role_policy" "this" {
  name = "run"
  role = aws_iam_role.this.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat(
      [
        {
          Sid       = "Metrics" # CloudWatch has no resources for this action, only name spaces
          Effect    = "Allow"
          Action    = "cloudwatch:PutMetricData"
          Resource  = "*"
          Condition = { StringEquals = { "cloudwatch:namespace" = var.metrics_namespace } }
        },
        {
          Sid      = "Logs"
          Effect   = "Allow"
          Action   = ["logs:CreateLogStream", "logs:PutLogEvents", "logs:DescribeLogStreams"]
          Resource = "${aws_cloudwatch_log_group.this.arn}:*"
        },
        {
          Sid      = "SayThatItMayEnd"
          Effect   = "Allow"
          Action   = ["autoscaling:CompleteLifecycleAction", "autoscaling:RecordLifecycleActionHeartbeat"]
          Resource = "${local.prefix}:autoscaling:${local.region}:${local.account}:autoScalingGroup:*:autoScalingGroupName/${var.name}"
        },
      ],
      var.model_bucket_arn == null ? [] : [{
        Sid      = "ReadModels"
        Effect   = "Allow"
        Action   = ["s3:GetObject", "s3:ListBucket"]
        Resource = [var.model_bucket_arn, "${var.model_bucket_arn}/*"]
      }],
      var.secret_arn == null ? [] : [{
        Sid      = "ReadItsSecret"
        Effect   = "Allow"
        Action   = "secretsmanager:GetSecretValue"
        Resource = var.secret_arn
      }],
    )
  })
}

resource "aws_iam_instance_profile" "this" {
  name_prefix = "${var.name}-fleet-"
  role        = aws_iam_role.this.name
}

resource "aws_cloudwatch_log_group" "this" {
  name              = "/headrace/${var.name}/fleet"
  retention_in_days = var.log_days
}

# --- what an instance is -----------------------------------------------------------------------------

resource "aws_launch_template" "this" {
  name_prefix            = "${var.name}-"
  image_id               = "resolve:ssm:${local.image}"
  update_default_version = true
  vpc_security_group_ids = [aws_security_group.this.id]

  user_data = base64encode(templatefile("${path.module}/boot.sh.tftpl", {
    name              = var.name
    region            = local.region
    hook              = "drain"
    model             = var.model
    served_name       = var.served_name
    engine_arguments  = var.engine_arguments
    headrace          = var.headrace_requirement
    vllm              = var.vllm_requirement
    port              = var.port
    drain_s           = var.drain_s
    secret_arn        = coalesce(var.secret_arn, "none")
    log_group         = aws_cloudwatch_log_group.this.name
    metrics_namespace = var.metrics_namespace
  }))

  iam_instance_profile {
    arn = aws_iam_instance_profile.this.arn
  }

  block_device_mappings {
    device_name = "/dev/xvda"

    ebs {
      volume_size           = var.disk_gib
      volume_type           = "gp3"
      throughput            = 500
      iops                  = 4000
      encrypted             = true
      delete_on_termination = true
    }
  }

  metadata_options {
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
    instance_metadata_tags      = "enabled"
  }

  monitoring {
    enabled = true
  }

  tag_specifications {
    resource_type = "instance"
    tags          = { Name = var.name }
  }

  tag_specifications {
    resource_type = "volume"
    tags          = { Name = var.name }
  }
}

resource "aws_autoscaling_group" "this" {
  name                  = var.name
  vpc_zone_identifier   = var.subnet_ids
  min_size              = var.size.min
  max_size              = var.size.max
  desired_capacity      = var.size.desired
  target_group_arns     = var.target_group_arns
  capacity_rebalance    = true # a replacement starts when Spot warns, not when it takes
  max_instance_lifetime = 14 * 24 * 3600

  health_check_type         = "ELB"
  health_check_grace_period = var.boot_s
  default_instance_warmup   = var.boot_s
  wait_for_capacity_timeout = "0"
  termination_policies      = ["OldestLaunchTemplate", "Default"]
  enabled_metrics           = ["GroupInServiceInstances", "GroupDesiredCapacity", "GroupPendingInstances", "GroupTotalInstances"]

  mixed_instances_policy {
    instances_distribution {
      on_demand_base_capacity                  = var.on_demand.base
      on_demand_percentage_above_base_capacity = var.on_demand.percent_above
      spot_allocation_strategy                 = "price-capacity-optimized"
    }

    launch_template {
      launch_template_specification {
        launch_template_id = aws_launch_template.this.id
        version            = aws_launch_template.this.latest_version
      }

      dynamic "override" {
        for_each = var.instance_types

        content {
          instance_type = override.value
        }
      }
    }
  }

  # A new version replaces instances one after another: the new one answers before an old one drains.
  instance_refresh {
    strategy = "Rolling"

    preferences {
      min_healthy_percentage = 100
      max_healthy_percentage = 200
      instance_warmup        = var.boot_s
      auto_rollback          = true
      skip_matching          = true
    }
  }

  initial_lifecycle_hook {
    name                 = "drain"
    lifecycle_transition = "autoscaling:EC2_INSTANCE_TERMINATING"
    heartbeat_timeout    = var.drain_s + 60
    default_result       = "CONTINUE"
  }

  tag {
    key                 = "Name"
    value               = var.name
    propagate_at_launch = true
  }

  lifecycle {
    ignore_changes = [desired_capacity] # scaling owns it
  }
}

# --- when there are more, and when fewer -------------------------------------------------------------

resource "aws_autoscaling_policy" "more" {
  name                      = "more"
  autoscaling_group_name    = aws_autoscaling_group.this.name
  policy_type               = "StepScaling"
  adjustment_type           = "ChangeInCapacity"
  metric_aggregation_type   = "Average"
  estimated_instance_warmup = var.boot_s

  step_adjustment {
    metric_interval_lower_bound = 0
    metric_interval_upper_bound = 10
    scaling_adjustment          = 1
  }

  step_adjustment {
    metric_interval_lower_bound = 10
    scaling_adjustment          = 2
  }
}

resource "aws_autoscaling_policy" "fewer" {
  name                    = "fewer"
  autoscaling_group_name  = aws_autoscaling_group.this.name
  policy_type             = "StepScaling"
  adjustment_type         = "ChangeInCapacity"
  metric_aggregation_type = "Average"

  step_adjustment {
    metric_interval_upper_bound = 0
    scaling_adjustment          = -1
  }
}

# The default signal: how many requests wait at an instance. It rises before a GPU's utilisation tells
# anything, since a GPU with a batch of one is as "busy" as one with a batch of sixty.
resource "aws_cloudwatch_metric_alarm" "queue_high" {
  count = local.on_line ? 1 : 0

  alarm_name          = "${var.name}-queue-high"
  alarm_description   = "More than ${var.queue.high} requests wait per instance: one more"
  namespace           = var.metrics_namespace
  metric_name         = "WaitingRequests"
  dimensions          = { AutoScalingGroupName = aws_autoscaling_group.this.name }
  statistic           = "Average"
  period              = 60
  evaluation_periods  = 1
  threshold           = var.queue.high
  comparison_operator = "GreaterThanThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_autoscaling_policy.more.arn]
}

resource "aws_cloudwatch_metric_alarm" "queue_low" {
  count = local.on_line ? 1 : 0

  alarm_name          = "${var.name}-queue-low"
  alarm_description   = "Fewer than ${var.queue.low} requests run or wait per instance for a quarter of an hour: one less"
  namespace           = var.metrics_namespace
  metric_name         = "ActiveRequests"
  dimensions          = { AutoScalingGroupName = aws_autoscaling_group.this.name }
  statistic           = "Average"
  period              = 60
  evaluation_periods  = 15
  threshold           = var.queue.low
  comparison_operator = "LessThanOrEqualToThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_autoscaling_policy.fewer.arn]
}

resource "aws_cloudwatch_metric_alarm" "gpu_high" {
  count = local.on_gpu ? 1 : 0

  alarm_name          = "${var.name}-gpu-high"
  alarm_description   = "GPUs are busier than ${var.gpu_percent.high} %: one more"
  namespace           = var.metrics_namespace
  metric_name         = "nvidia_smi_utilization_gpu"
  dimensions          = { AutoScalingGroupName = aws_autoscaling_group.this.name }
  statistic           = "Average"
  period              = 60
  evaluation_periods  = 2
  threshold           = var.gpu_percent.high
  comparison_operator = "GreaterThanThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_autoscaling_policy.more.arn]
}

resource "aws_cloudwatch_metric_alarm" "gpu_low" {
  count = var.scale_on == "gpu" ? 1 : 0 # with both signals, only an idle queue takes away

  alarm_name          = "${var.name}-gpu-low"
  alarm_description   = "GPUs are less busy than ${var.gpu_percent.low} % for a quarter of an hour: one less"
  namespace           = var.metrics_namespace
  metric_name         = "nvidia_smi_utilization_gpu"
  dimensions          = { AutoScalingGroupName = aws_autoscaling_group.this.name }
  statistic           = "Average"
  period              = 60
  evaluation_periods  = 15
  threshold           = var.gpu_percent.low
  comparison_operator = "LessThanThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_autoscaling_policy.fewer.arn]
}
