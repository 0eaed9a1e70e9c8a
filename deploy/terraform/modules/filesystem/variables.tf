variable "name" {
  description = "What the file systems are called."
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
  description = "Subnets that get a mount target, one per zone."
  type        = list(string)

  validation {
    condition     = length(var.subnet_ids) > 0
    error_message = "At least one subnet is needed."
  }
}

variable "client_security_group_id" {
  description = "The security group of the nodes that mount."
  type        = string

  validation {
    condition     = length(var.client_security_group_id) > 0
    error_message = "The nodes' security group is needed."
  }
}

variable "kms_key_arn" {
  description = "The key that encrypts files; null uses AWS's own key for the service."
  type        = string
  default     = null

  validation {
    condition     = var.kms_key_arn == null || can(regex("^arn:aws[a-z-]*:kms:", var.kms_key_arn))
    error_message = "This is the ARN of a KMS key, or null."
  }
}

variable "lustre_gib" {
  description = "Capacity of FSx for Lustre in GiB; 0 makes none."
  type        = number
  default     = 0

  validation {
    condition     = var.lustre_gib == 0 || var.lustre_gib == 1200 || (var.lustre_gib > 0 && var.lustre_gib % 2400 == 0)
    error_message = "FSx for Lustre comes in 1200 or in multiples of 2400 GiB; 0 makes none."
  }
}

variable "model_bucket" {
  description = "The bucket that Lustre shows as /models; needed only with it."
  type        = string
  default     = ""

  validation {
    condition     = var.lustre_gib == 0 || length(var.model_bucket) > 0
    error_message = "Lustre needs the model bucket's name."
  }
}
