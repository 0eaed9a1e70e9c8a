# Managed observability, by switch: Amazon Managed Prometheus and Grafana instead of the in-cluster
# ones, and the log groups that containers write to. Shape after terraform-aws-modules/managed-service-*.

resource "aws_cloudwatch_log_group" "this" {
  for_each = var.log_groups

  name              = "/headrace/${var.name}/${each.key}"
  retention_in_days = var.log_days
  kms_key_id        = var.kms_key_arn
}

resource "aws_prometheus_workspace" "this" {
  count = var.managed ? 1 : 0

  alias       = var.name
  kms_key_arn = var.kms_key_arn

  logging_configuration {
    log_group_arn = "${aws_cloudwatch_log_group.prometheus[0].arn}:*"
  }
}

resource "aws_cloudwatch_log_group" "prometheus" {
  count = var.managed ? 1 : 0

  name              = "/aws/vendedlogs/prometheus/${var.name}"
  retention_in_days = var.log_days
}

resource "aws_iam_role" "grafana" {
  count = var.managed ? 1 : 0

  name_prefix = "${var.name}-grafana-"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "grafana.amazonaws.com" }
    }]
  })
}

resource "aws_iam_role_policy" "grafana" {
  count = var.managed ? 1 : 0

  name = "read"
  role = aws_iam_role.grafana[0].id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Effect   = "Allow"
        Action   = ["aps:QueryMetrics", "aps:GetSeries", "aps:GetLabels", "aps:GetMetricMetadata", "aps:DescribeWorkspace"]
        Resource = aws_prometheus_workspace.this[0].arn
      },
      {
        Effect   = "Allow"
        Action   = "aps:ListWorkspaces"
        Resource = "*"
      },
    ]
  })
}

resource "aws_grafana_workspace" "this" {
  count = var.managed ? 1 : 0

  name                     = var.name
  account_access_type      = "CURRENT_ACCOUNT"
  authentication_providers = ["AWS_SSO"]
  permission_type          = "CUSTOMER_MANAGED"
  role_arn                 = aws_iam_role.grafana[0].arn
  data_sources             = ["PROMETHEUS", "CLOUDWATCH"]
}
