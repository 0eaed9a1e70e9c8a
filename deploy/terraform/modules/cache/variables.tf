variable "name" {
  description = "What the cache is called."
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

variable "node_type" {
  description = "The type of its nodes; t4g.micro holds the counters of thousands of tenants."
  type        = string
  default     = "cache.t4g.micro"

  validation {
    condition     = startswith(var.node_type, "cache.")
    error_message = "The type begins with cache., such as cache.t4g.micro."
  }
}

variable "nodes" {
  description = "How many nodes: 1, or 2 and more for failover to another zone."
  type        = number
  default     = 1

  validation {
    condition     = var.nodes >= 1 && var.nodes <= 6
    error_message = "There are 1 to 6 nodes."
  }
}

variable "snapshot_days" {
  description = "For how many days daily snapshots are kept; 0 makes none."
  type        = number
  default     = 0

  validation {
    condition     = var.snapshot_days >= 0 && var.snapshot_days <= 35
    error_message = "Snapshots stay for 0 to 35 days."
  }
}

variable "kms_key_arn" {
  description = "The key that encrypts the cache and its password; null uses AWS's own."
  type        = string
  default     = null

  validation {
    condition     = var.kms_key_arn == null || can(regex("^arn:aws[a-z-]*:kms:", var.kms_key_arn))
    error_message = "This is the ARN of a KMS key, or null."
  }
}
