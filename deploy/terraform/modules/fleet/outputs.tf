output "group_name" {
  description = "The Auto Scaling group."
  value       = aws_autoscaling_group.this.name
}

output "security_group_id" {
  description = "The security group of the instances."
  value       = aws_security_group.this.id
}

output "role_name" {
  description = "The role of the instances."
  value       = aws_iam_role.this.name
}
