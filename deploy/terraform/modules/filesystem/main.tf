# Shared files: EFS for compile caches (small files, every replica reads them), and on wish FSx for
# Lustre in front of the model bucket (large files, fast). Shape after terraform-aws-modules/efs.

resource "aws_security_group" "this" {
  name_prefix = "${var.name}-files-"
  description = "Shared files of ${var.name}"
  vpc_id      = var.vpc_id

  tags = { Name = "${var.name}-files" }

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_vpc_security_group_ingress_rule" "nfs" {
  security_group_id            = aws_security_group.this.id
  description                  = "NFS from the nodes"
  referenced_security_group_id = var.client_security_group_id
  ip_protocol                  = "tcp"
  from_port                    = 2049
  to_port                      = 2049
}

resource "aws_efs_file_system" "this" {
  creation_token  = var.name
  encrypted       = true
  kms_key_id      = var.kms_key_arn
  throughput_mode = "elastic"

  lifecycle_policy {
    transition_to_ia = "AFTER_30_DAYS"
  }

  lifecycle_policy {
    transition_to_primary_storage_class = "AFTER_1_ACCESS"
  }

  tags = { Name = var.name }
}

resource "aws_efs_mount_target" "this" {
  count = length(var.subnet_ids)

  file_system_id  = aws_efs_file_system.this.id
  subnet_id       = var.subnet_ids[count.index]
  security_groups = [aws_security_group.this.id]
}

resource "aws_efs_file_system_policy" "this" {
  file_system_id = aws_efs_file_system.this.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "OnlyThroughMountTargets"
        Effect    = "Allow"
        Principal = { AWS = "*" }
        Action    = ["elasticfilesystem:ClientMount", "elasticfilesystem:ClientWrite", "elasticfilesystem:ClientRootAccess"]
        Resource  = aws_efs_file_system.this.arn
        Condition = { Bool = { "elasticfilesystem:AccessedViaMountTarget" = "true" } }
      },
      {
        Sid       = "OnlyTls"
        Effect    = "Deny"
        Principal = { AWS = "*" }
        Action    = "*"
        Resource  = aws_efs_file_system.this.arn
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      },
    ]
  })
}

# --- FSx for Lustre: only where one node must read hundreds of GB in a minute ------------------------

resource "aws_vpc_security_group_ingress_rule" "lustre" {
  for_each = var.lustre_gib > 0 ? { control = [988, 988], data = [1018, 1023] } : {}

  security_group_id            = aws_security_group.this.id
  description                  = "Lustre from the nodes"
  referenced_security_group_id = var.client_security_group_id
  ip_protocol                  = "tcp"
  from_port                    = each.value[0]
  to_port                      = each.value[1]
}

# Lustre's servers talk to each other through the same group.
resource "aws_vpc_security_group_ingress_rule" "servers" {
  for_each = var.lustre_gib > 0 ? { control = [988, 988], data = [1018, 1023] } : {}

  security_group_id            = aws_security_group.this.id
  description                  = "Lustre among its servers"
  referenced_security_group_id = aws_security_group.this.id
  ip_protocol                  = "tcp"
  from_port                    = each.value[0]
  to_port                      = each.value[1]
}

resource "aws_vpc_security_group_egress_rule" "servers" {
  for_each = var.lustre_gib > 0 ? { control = [988, 988], data = [1018, 1023] } : {}

  security_group_id            = aws_security_group.this.id
  description                  = "Lustre among its servers"
  referenced_security_group_id = aws_security_group.this.id
  ip_protocol                  = "tcp"
  from_port                    = each.value[0]
  to_port                      = each.value[1]
}

resource "aws_fsx_lustre_file_system" "this" {
  count = var.lustre_gib > 0 ? 1 : 0

  storage_capacity            = var.lustre_gib
  subnet_ids                  = [var.subnet_ids[0]]
  security_group_ids          = [aws_security_group.this.id]
  deployment_type             = "PERSISTENT_2"
  per_unit_storage_throughput = 250
  kms_key_id                  = var.kms_key_arn
  data_compression_type       = "NONE" # weights do not compress

  tags = { Name = var.name }
}

resource "aws_fsx_data_repository_association" "models" {
  count = var.lustre_gib > 0 ? 1 : 0

  file_system_id       = aws_fsx_lustre_file_system.this[0].id
  data_repository_path = "s3://${var.model_bucket}"
  file_system_path     = "/models"

  s3 {
    auto_import_policy {
      events = ["NEW", "CHANGED", "DELETED"]
    }
  }
}
