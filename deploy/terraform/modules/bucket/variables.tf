variable "name" {
  description = "The bucket's name, unique in all of AWS."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", var.name))
    error_message = "A bucket's name has 3 to 63 lower-case letters, digits, dashes and dots."
  }
}

variable "kms_key_arn" {
  description = "The key that encrypts objects; null uses keys of S3 itself, without cost."
  type        = string
  default     = null

  validation {
    condition     = var.kms_key_arn == null || can(regex("^arn:aws[a-z-]*:kms:", var.kms_key_arn))
    error_message = "This is the ARN of a KMS key, or null."
  }
}

variable "old_version_days" {
  description = "After how many days a version that was replaced is gone."
  type        = number
  default     = 30

  validation {
    condition     = var.old_version_days >= 1
    error_message = "Old versions stay at least one day."
  }
}

variable "expire_days" {
  description = "After how many days objects are gone; 0 keeps them."
  type        = number
  default     = 0

  validation {
    condition     = var.expire_days >= 0
    error_message = "Objects stay for a number of days, or for ever (0)."
  }
}

variable "force_destroy" {
  description = "Whether the bucket may be deleted with objects in it."
  type        = bool
  default     = false
}

variable "log_delivery" {
  description = "Whether load balancers may write their access logs here."
  type        = bool
  default     = false
}

variable "cdn_arns" {
  description = "CloudFront distributions that may read from here."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for arn in var.cdn_arns : can(regex("^arn:aws[a-z-]*:cloudfront::", arn))])
    error_message = "These are ARNs of CloudFront distributions."
  }
}
