# What pods may do in AWS: one role for one service account, by Pod Identity, with no more than the
# statements it is given. Shape after terraform-aws-modules/eks-pod-identity.

resource "aws_iam_role" "this" {
  name_prefix = "${substr("${var.cluster_name}-${var.service_account}", 0, 36)}-"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = ["sts:AssumeRole", "sts:TagSession"]
      Principal = { Service = "pods.eks.amazonaws.com" }
      Condition = { StringEquals = { "aws:RequestTag/eks-cluster-name" = var.cluster_name, "aws:RequestTag/kubernetes-namespace" = var.namespace } }
    }]
  })
}

resource "aws_iam_role_policy" "this" {
  name = "allowed"
  role = aws_iam_role.this.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [for statement in var.statements : merge(
      { Effect = "Allow", Action = statement.actions, Resource = statement.resources },
      length(statement.conditions) > 0 ? { Condition = statement.conditions } : {},
    )]
  })
}

resource "aws_eks_pod_identity_association" "this" {
  cluster_name    = var.cluster_name
  namespace       = var.namespace
  service_account = var.service_account
  role_arn        = aws_iam_role.this.arn
}
