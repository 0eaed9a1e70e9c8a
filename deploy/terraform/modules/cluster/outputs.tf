output "name" {
  description = "The name of the cluster."
  value       = aws_eks_cluster.this.name
}

output "endpoint" {
  description = "The address of the Kubernetes API."
  value       = aws_eks_cluster.this.endpoint
}

output "certificate_authority" {
  description = "What clients of the API must trust, base64."
  value       = aws_eks_cluster.this.certificate_authority[0].data
}

output "security_group_id" {
  description = "The group of all nodes and of the control plane."
  value       = aws_eks_cluster.this.vpc_config[0].cluster_security_group_id
}

output "node_role_name" {
  description = "The role of system nodes."
  value       = aws_iam_role.node.name
}
