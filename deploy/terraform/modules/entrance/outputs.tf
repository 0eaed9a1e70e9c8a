output "arn" {
  description = "The load balancer."
  value       = aws_lb.this.arn
}

output "arn_suffix" {
  description = "Its name among CloudWatch's metrics."
  value       = aws_lb.this.arn_suffix
}

output "dns_name" {
  description = "Its own host name."
  value       = aws_lb.this.dns_name
}

output "target_group_arn" {
  description = "The target group: for the ASG, or the chart's TargetGroupBinding."
  value       = aws_lb_target_group.this.arn
}

output "target_group_suffix" {
  description = "The target group's name among CloudWatch's metrics."
  value       = aws_lb_target_group.this.arn_suffix
}

output "listener_arn" {
  description = "Its listener."
  value       = aws_lb_listener.this.arn
}

output "security_group_id" {
  description = "Its security group."
  value       = aws_security_group.this.id
}

output "url" {
  description = "Where clients go."
  value       = "${local.tls ? "https" : "http"}://${coalesce(var.domain, aws_lb.this.dns_name)}"
}
