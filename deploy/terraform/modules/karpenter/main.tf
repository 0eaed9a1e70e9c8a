# What Karpenter needs from AWS: a role for its controller, a role for the nodes it starts, and the
# queue that tells it of Spot interruptions. The NodePools are the chart's. Rules and statements after
# terraform-aws-modules/eks//modules/karpenter and Karpenter's own CloudFormation template.

data "aws_partition" "here" {}

data "aws_region" "here" {}

data "aws_caller_identity" "here" {}

locals {
  region  = data.aws_region.here.region
  prefix  = "arn:${data.aws_partition.here.partition}"
  account = data.aws_caller_identity.here.account_id
  owned   = "aws:ResourceTag/kubernetes.io/cluster/${var.cluster_name}"
  asked   = "aws:RequestTag/kubernetes.io/cluster/${var.cluster_name}"

  asked_name   = "aws:RequestTag/eks:eks-cluster-name"
  asked_region = "aws:RequestTag/topology.kubernetes.io/region"
  owned_region = "aws:ResourceTag/topology.kubernetes.io/region"
  profiles     = "${local.prefix}:iam::${local.account}:instance-profile/*"

  events = {
    health      = { source = "aws.health", type = "AWS Health Event" }
    spot        = { source = "aws.ec2", type = "EC2 Spot Instance Interruption Warning" }
    rebalance   = { source = "aws.ec2", type = "EC2 Instance Rebalance Recommendation" }
    state       = { source = "aws.ec2", type = "EC2 Instance State-change Notification" }
    reservation = { source = "aws.ec2", type = "EC2 Capacity Reservation Instance Interruption Warning" }
  }
}

resource "aws_sqs_queue" "interruption" {
  name                      = "${var.cluster_name}-interruption"
  message_retention_seconds = 300 # a notice older than this is about an instance that is gone
  sqs_managed_sse_enabled   = true
}

resource "aws_sqs_queue_policy" "interruption" {
  queue_url = aws_sqs_queue.interruption.url
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "Events"
        Effect    = "Allow"
        Action    = "sqs:SendMessage"
        Resource  = aws_sqs_queue.interruption.arn
        Principal = { Service = ["events.amazonaws.com", "sqs.amazonaws.com"] }
        Condition = { StringEquals = { "aws:SourceAccount" = local.account } }
      },
      {
        Sid       = "OnlyTls"
        Effect    = "Deny"
        Action    = "sqs:*"
        Resource  = aws_sqs_queue.interruption.arn
        Principal = "*"
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      },
    ]
  })
}

resource "aws_cloudwatch_event_rule" "interruption" {
  for_each = local.events

  name        = "${var.cluster_name}-${each.key}"
  description = "${each.value.type}, for Karpenter"
  event_pattern = jsonencode({
    source      = [each.value.source]
    detail-type = [each.value.type]
  })
}

resource "aws_cloudwatch_event_target" "interruption" {
  for_each = local.events

  rule = aws_cloudwatch_event_rule.interruption[each.key].name
  arn  = aws_sqs_queue.interruption.arn
}

# --- the nodes ---------------------------------------------------------------------------------------

resource "aws_iam_role" "node" {
  name = "${var.cluster_name}-gpu-node" # by name: the chart's EC2NodeClass names it
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "ec2.amazonaws.com" }
    }]
  })
}

resource "aws_iam_role_policy_attachment" "node" {
  for_each = toset([
    "AmazonEKSWorkerNodePolicy",
    "AmazonEC2ContainerRegistryPullOnly",
    "AmazonEKS_CNI_Policy",
    "AmazonSSMManagedInstanceCore",
  ])

  role       = aws_iam_role.node.name
  policy_arn = "${local.prefix}:iam::aws:policy/${each.key}"
}

resource "aws_eks_access_entry" "node" {
  cluster_name  = var.cluster_name
  principal_arn = aws_iam_role.node.arn
  type          = "EC2_LINUX"
}

# --- the controller ----------------------------------------------------------------------------------

resource "aws_iam_role" "controller" {
  name_prefix = "${var.cluster_name}-karpenter-"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = ["sts:AssumeRole", "sts:TagSession"]
      Principal = { Service = "pods.eks.amazonaws.com" }
    }]
  })
}

resource "aws_eks_pod_identity_association" "controller" {
  cluster_name    = var.cluster_name
  namespace       = var.namespace
  service_account = "karpenter"
  role_arn        = aws_iam_role.controller.arn
}

# It may start only what it tags as this cluster's, and end only what bears that tag.
resource "aws_iam_role_policy" "controller" {
  name = "karpenter"
  role = aws_iam_role.controller.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid    = "UseWhatIsThere"
        Effect = "Allow"
        Action = ["ec2:RunInstances", "ec2:CreateFleet"]
        Resource = [
          "${local.prefix}:ec2:${local.region}::image/*",
          "${local.prefix}:ec2:${local.region}::snapshot/*",
          "${local.prefix}:ec2:${local.region}:*:security-group/*",
          "${local.prefix}:ec2:${local.region}:*:subnet/*",
          "${local.prefix}:ec2:${local.region}:*:capacity-reservation/*",
        ]
      },
      {
        Sid       = "UseItsTemplates"
        Effect    = "Allow"
        Action    = ["ec2:RunInstances", "ec2:CreateFleet"]
        Resource  = "${local.prefix}:ec2:${local.region}:*:launch-template/*"
        Condition = { StringEquals = { (local.owned) = "owned" }, StringLike = { "aws:ResourceTag/karpenter.sh/nodepool" = "*" } }
      },
      {
        Sid    = "StartWhatItTags"
        Effect = "Allow"
        Action = ["ec2:RunInstances", "ec2:CreateFleet", "ec2:CreateLaunchTemplate"]
        Resource = [for kind in ["fleet", "instance", "volume", "network-interface", "launch-template", "spot-instances-request"] :
          "${local.prefix}:ec2:${local.region}:*:${kind}/*"
        ]
        Condition = {
          StringEquals = { (local.asked) = "owned", (local.asked_name) = var.cluster_name }
          StringLike   = { "aws:RequestTag/karpenter.sh/nodepool" = "*" }
        }
      },
      {
        Sid    = "TagAtBirth"
        Effect = "Allow"
        Action = "ec2:CreateTags"
        Resource = [for kind in ["fleet", "instance", "volume", "network-interface", "launch-template", "spot-instances-request"] :
          "${local.prefix}:ec2:${local.region}:*:${kind}/*"
        ]
        Condition = {
          StringEquals = { (local.asked) = "owned", (local.asked_name) = var.cluster_name, "ec2:CreateAction" = ["RunInstances", "CreateFleet", "CreateLaunchTemplate"] }
          StringLike   = { "aws:RequestTag/karpenter.sh/nodepool" = "*" }
        }
      },
      {
        Sid      = "TagItsInstances"
        Effect   = "Allow"
        Action   = "ec2:CreateTags"
        Resource = "${local.prefix}:ec2:${local.region}:*:instance/*"
        Condition = {
          StringEquals                = { (local.owned) = "owned" }
          StringLike                  = { "aws:ResourceTag/karpenter.sh/nodepool" = "*" }
          StringEqualsIfExists        = { (local.asked_name) = var.cluster_name }
          "ForAllValues:StringEquals" = { "aws:TagKeys" = ["eks:eks-cluster-name", "karpenter.sh/nodeclaim", "Name"] }
        }
      },
      {
        Sid       = "EndItsInstances"
        Effect    = "Allow"
        Action    = ["ec2:TerminateInstances", "ec2:DeleteLaunchTemplate"]
        Resource  = ["${local.prefix}:ec2:${local.region}:*:instance/*", "${local.prefix}:ec2:${local.region}:*:launch-template/*"]
        Condition = { StringEquals = { (local.owned) = "owned" }, StringLike = { "aws:ResourceTag/karpenter.sh/nodepool" = "*" } }
      },
      {
        Sid    = "SeeWhatThereIs"
        Effect = "Allow"
        Action = [
          "ec2:DescribeCapacityReservations", "ec2:DescribeImages", "ec2:DescribeInstances", "ec2:DescribeInstanceTypeOfferings",
          "ec2:DescribeInstanceTypes", "ec2:DescribeLaunchTemplates", "ec2:DescribeSecurityGroups", "ec2:DescribeSpotPriceHistory",
          "ec2:DescribeSubnets", "ec2:DescribeInstanceStatus",
        ]
        Resource  = "*"
        Condition = { StringEquals = { "aws:RequestedRegion" = local.region } }
      },
      {
        Sid      = "FindImages"
        Effect   = "Allow"
        Action   = "ssm:GetParameter"
        Resource = "${local.prefix}:ssm:${local.region}::parameter/aws/service/*"
      },
      {
        Sid      = "ReadPrices" # AWS has no resources for this action
        Effect   = "Allow"
        Action   = "pricing:GetProducts"
        Resource = "*"
      },
      {
        Sid      = "Interruptions"
        Effect   = "Allow"
        Action   = ["sqs:DeleteMessage", "sqs:GetQueueUrl", "sqs:ReceiveMessage"]
        Resource = aws_sqs_queue.interruption.arn
      },
      {
        Sid       = "GiveNodesTheirRole"
        Effect    = "Allow"
        Action    = "iam:PassRole"
        Resource  = aws_iam_role.node.arn
        Condition = { StringEquals = { "iam:PassedToService" = "ec2.amazonaws.com" } }
      },
      {
        Sid      = "MakeItsProfiles"
        Effect   = "Allow"
        Action   = "iam:CreateInstanceProfile"
        Resource = local.profiles
        Condition = {
          StringEquals = { (local.asked) = "owned", (local.asked_name) = var.cluster_name, (local.asked_region) = local.region }
          StringLike   = { "aws:RequestTag/karpenter.k8s.aws/ec2nodeclass" = "*" }
        }
      },
      {
        Sid      = "TagItsProfiles"
        Effect   = "Allow"
        Action   = "iam:TagInstanceProfile"
        Resource = local.profiles
        Condition = {
          StringEquals = { (local.owned) = "owned", (local.owned_region) = local.region, (local.asked) = "owned", (local.asked_name) = var.cluster_name, (local.asked_region) = local.region }
          StringLike   = { "aws:ResourceTag/karpenter.k8s.aws/ec2nodeclass" = "*", "aws:RequestTag/karpenter.k8s.aws/ec2nodeclass" = "*" }
        }
      },
      {
        Sid      = "ChangeItsProfiles"
        Effect   = "Allow"
        Action   = ["iam:AddRoleToInstanceProfile", "iam:RemoveRoleFromInstanceProfile", "iam:DeleteInstanceProfile"]
        Resource = local.profiles
        Condition = {
          StringEquals = { (local.owned) = "owned", (local.owned_region) = local.region }
          StringLike   = { "aws:ResourceTag/karpenter.k8s.aws/ec2nodeclass" = "*" }
        }
      },
      {
        Sid      = "SeeProfiles"
        Effect   = "Allow"
        Action   = "iam:GetInstanceProfile"
        Resource = local.profiles
      },
      {
        Sid      = "ListProfiles" # it looks for those that it has left behind; a list has no resource
        Effect   = "Allow"
        Action   = "iam:ListInstanceProfiles"
        Resource = "*"
      },
      {
        Sid      = "FindTheCluster"
        Effect   = "Allow"
        Action   = "eks:DescribeCluster"
        Resource = "${local.prefix}:eks:${local.region}:${local.account}:cluster/${var.cluster_name}"
      },
    ]
  })
}
