output "endpoint" {
  description = "Host and port; the database is headrace, the user is headrace."
  value       = aws_db_instance.this.endpoint
}

output "secret_arn" {
  description = "The secret with user and password, which AWS turns every week."
  value       = try(aws_db_instance.this.master_user_secret[0].secret_arn, null)
}
