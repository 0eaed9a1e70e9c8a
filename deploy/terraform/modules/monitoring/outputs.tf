output "prometheus_endpoint" {
  description = "Where metrics are written to and queried from; empty where the cluster keeps them."
  value       = var.managed ? aws_prometheus_workspace.this[0].prometheus_endpoint : ""
}

output "prometheus_arn" {
  description = "The workspace, for a role that writes to it; empty where the cluster keeps metrics."
  value       = var.managed ? aws_prometheus_workspace.this[0].arn : ""
}

output "grafana_endpoint" {
  description = "Where Grafana is; empty where the cluster runs it."
  value       = var.managed ? aws_grafana_workspace.this[0].endpoint : ""
}

output "log_group_names" {
  description = "The log groups."
  value       = [for group in aws_cloudwatch_log_group.this : group.name]
}
