output "queue_name" {
  description = "The queue of interruptions, for Karpenter's settings.interruptionQueue."
  value       = aws_sqs_queue.interruption.name
}

output "node_role_name" {
  description = "The role of the nodes, for the EC2NodeClass."
  value       = aws_iam_role.node.name
}
