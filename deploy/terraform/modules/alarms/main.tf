# One dashboard and three alarms for a fleet without a cluster: slow answers, failing answers, and GPUs
# that do nothing while requests wait.

data "aws_region" "here" {}

locals {
  region = data.aws_region.here.region
  load   = ["AWS/ApplicationELB", "LoadBalancer", var.load_balancer_suffix]
  group  = ["AutoScalingGroupName", var.group_name]

  # Title, then metrics. With streams the load balancer's response time is the time to the first byte.
  graphs = [
    { title = "Time to first byte, s", metrics = [for stat in ["p50", "p95", "p99"] :
      concat(["AWS/ApplicationELB", "TargetResponseTime"], slice(local.load, 1, 3), [{ stat = stat, label = stat }])
    ] },
    { title = "Requests a minute", metrics = [
      concat(["AWS/ApplicationELB", "RequestCount"], slice(local.load, 1, 3), [{ stat = "Sum", label = "requests" }]),
      concat(["AWS/ApplicationELB", "HTTPCode_Target_5XX_Count"], slice(local.load, 1, 3), [{ stat = "Sum", label = "5xx" }]),
    ] },
    { title = "Requests that wait, per instance", metrics = [
      concat([var.metrics_namespace, "WaitingRequests"], local.group, [{ stat = "Average", label = "wait" }]),
      concat([var.metrics_namespace, "ActiveRequests"], local.group, [{ stat = "Average", label = "run or wait" }]),
    ] },
    { title = "GPU, %", metrics = [
      concat([var.metrics_namespace, "nvidia_smi_utilization_gpu"], local.group, [{ stat = "Average", label = "busy" }]),
      concat([var.metrics_namespace, "nvidia_smi_utilization_memory"], local.group, [{ stat = "Average", label = "memory bus" }]),
    ] },
    { title = "Instances", metrics = [
      concat(["AWS/AutoScaling", "GroupInServiceInstances"], local.group, [{ stat = "Average", label = "in service", id = "n" }]),
      concat(["AWS/AutoScaling", "GroupDesiredCapacity"], local.group, [{ stat = "Average", label = "wanted" }]),
    ] },
    { title = "Estimated cost of instances, USD an hour", metrics = [
      concat(["AWS/AutoScaling", "GroupTotalInstances"], local.group, [{ stat = "Average", id = "n", visible = false }]),
      [{ expression = "n * ${var.instance_usd_per_hour}", label = "at most (on demand)", id = "cost" }],
    ] },
  ]
}

resource "aws_cloudwatch_dashboard" "this" {
  dashboard_name = var.name
  dashboard_body = jsonencode({
    widgets = [for place, graph in local.graphs : {
      type   = "metric"
      x      = (place % 2) * 12
      y      = floor(place / 2) * 6
      width  = 12
      height = 6
      properties = {
        title   = graph.title
        region  = local.region
        period  = 60
        view    = "timeSeries"
        metrics = graph.metrics
      }
    }]
  })
}

resource "aws_sns_topic" "this" {
  name              = "${var.name}-alarms"
  kms_master_key_id = "alias/aws/sns"
}

resource "aws_sns_topic_subscription" "this" {
  for_each = toset(var.emails)

  topic_arn = aws_sns_topic.this.arn
  protocol  = "email"
  endpoint  = each.key
}

resource "aws_cloudwatch_metric_alarm" "slow" {
  alarm_name          = "${var.name}-slow"
  alarm_description   = "One in a hundred requests waits more than ${var.slow_s} s for its first byte. See Requests that wait."
  namespace           = "AWS/ApplicationELB"
  metric_name         = "TargetResponseTime"
  dimensions          = { LoadBalancer = var.load_balancer_suffix }
  extended_statistic  = "p99"
  period              = 60
  evaluation_periods  = 5
  datapoints_to_alarm = 3
  threshold           = var.slow_s
  comparison_operator = "GreaterThanThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.this.arn]
  ok_actions          = [aws_sns_topic.this.arn]
}

resource "aws_cloudwatch_metric_alarm" "failing" {
  alarm_name          = "${var.name}-failing"
  alarm_description   = "More than ${var.failing_percent} % of answers are 5xx."
  evaluation_periods  = 5
  datapoints_to_alarm = 3
  threshold           = var.failing_percent
  comparison_operator = "GreaterThanThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.this.arn]
  ok_actions          = [aws_sns_topic.this.arn]

  metric_query {
    id          = "rate"
    label       = "failing, %"
    expression  = "IF(requests > 0, 100 * (FILL(target, 0) + FILL(balancer, 0)) / requests, 0)"
    return_data = true
  }

  dynamic "metric_query" {
    for_each = {
      requests = "RequestCount"
      target   = "HTTPCode_Target_5XX_Count"
      balancer = "HTTPCode_ELB_5XX_Count"
    }

    content {
      id = metric_query.key

      metric {
        namespace   = "AWS/ApplicationELB"
        metric_name = metric_query.value
        dimensions  = { LoadBalancer = var.load_balancer_suffix }
        stat        = "Sum"
        period      = 60
      }
    }
  }
}

resource "aws_cloudwatch_metric_alarm" "stuck" {
  alarm_name          = "${var.name}-stuck"
  alarm_description   = "Requests wait and GPUs do nothing: an engine hangs. Look at the vllm unit, then end the instance."
  evaluation_periods  = 5
  datapoints_to_alarm = 5
  threshold           = 0
  comparison_operator = "GreaterThanThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.this.arn]
  ok_actions          = [aws_sns_topic.this.arn]

  metric_query {
    id          = "stuck"
    label       = "requests wait, GPUs idle"
    expression  = "IF(waiting > 0 AND busy < 5, 1, 0)"
    return_data = true
  }

  dynamic "metric_query" {
    for_each = {
      waiting = "WaitingRequests"
      busy    = "nvidia_smi_utilization_gpu"
    }

    content {
      id = metric_query.key

      metric {
        namespace   = var.metrics_namespace
        metric_name = metric_query.value
        dimensions  = { AutoScalingGroupName = var.group_name }
        stat        = "Average"
        period      = 60
      }
    }
  }
}
