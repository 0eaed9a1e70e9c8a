output "efs_id" {
  description = "The EFS file system, for its storage class."
  value       = aws_efs_file_system.this.id
}

output "lustre_dns_name" {
  description = "Where Lustre is mounted from; empty without it."
  value       = var.lustre_gib > 0 ? aws_fsx_lustre_file_system.this[0].dns_name : ""
}

output "lustre_mount_name" {
  description = "The name by which Lustre is mounted; empty without it."
  value       = var.lustre_gib > 0 ? aws_fsx_lustre_file_system.this[0].mount_name : ""
}
