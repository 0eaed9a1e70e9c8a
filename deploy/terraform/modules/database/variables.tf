variable "name" {
  description = "What the database server is called."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,30}[a-z0-9]$", var.name))
    error_message = "The name has 3 to 32 lower-case letters, digits and dashes, and begins with a letter."
  }
}

variable "vpc_id" {
  description = "The VPC."
  type        = string

  validation {
    condition     = length(var.vpc_id) > 0
    error_message = "A VPC is needed."
  }
}

variable "subnet_ids" {
  description = "Private subnets, one per zone."
  type        = list(string)

  validation {
    condition     = length(var.subnet_ids) >= 2
    error_message = "Subnets in at least two zones are needed."
  }
}

variable "client_security_group_id" {
  description = "The security group of what may connect."
  type        = string

  validation {
    condition     = length(var.client_security_group_id) > 0
    error_message = "The clients' security group is needed."
  }
}

variable "instance_class" {
  description = "The class of the server."
  type        = string
  default     = "db.t4g.small"

  validation {
    condition     = startswith(var.instance_class, "db.")
    error_message = "The class begins with db., such as db.t4g.small."
  }
}

variable "storage_gib" {
  description = "Storage to begin with, GiB; it grows by itself up to five times that."
  type        = number
  default     = 20

  validation {
    condition     = var.storage_gib >= 20
    error_message = "gp3 storage begins at 20 GiB."
  }
}

variable "multi_az" {
  description = "Whether a standby in another zone takes over."
  type        = bool
  default     = false
}

variable "backup_days" {
  description = "For how many days one can go back to any second."
  type        = number
  default     = 7

  validation {
    condition     = var.backup_days >= 1 && var.backup_days <= 35
    error_message = "Backups stay for 1 to 35 days."
  }
}

variable "deletion_protection" {
  description = "Whether AWS refuses to delete the server; then a last snapshot is made, too."
  type        = bool
  default     = false
}

variable "kms_key_arn" {
  description = "The key that encrypts storage and password; null uses AWS's own."
  type        = string
  default     = null

  validation {
    condition     = var.kms_key_arn == null || can(regex("^arn:aws[a-z-]*:kms:", var.kms_key_arn))
    error_message = "This is the ARN of a KMS key, or null."
  }
}
