output "endpoint" {
  description = "Host and port of the primary node; clients use TLS (rediss://)."
  value       = "${aws_elasticache_replication_group.this.primary_endpoint_address}:6379"
}

output "secret_arn" {
  description = "The secret that holds its password."
  value       = aws_secretsmanager_secret.this.arn
}
