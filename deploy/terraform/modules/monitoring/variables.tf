variable "name" {
  description = "What the workspaces are called."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,30}[a-z0-9]$", var.name))
    error_message = "The name has 3 to 32 lower-case letters, digits and dashes, and begins with a letter."
  }
}

variable "managed" {
  description = "Whether AWS runs Prometheus and Grafana; otherwise the cluster does."
  type        = bool
  default     = false
}

variable "log_groups" {
  description = "Log groups to make, as the last part of their name."
  type        = set(string)
  default     = ["gateway", "engine"]

  validation {
    condition     = alltrue([for name in var.log_groups : can(regex("^[a-z0-9_-]+$", name))])
    error_message = "The last part of a log group's name has lower-case letters, digits, _ and -."
  }
}

variable "kms_key_arn" {
  description = "The key that encrypts logs and metrics; null uses AWS's own."
  type        = string
  default     = null

  validation {
    condition     = var.kms_key_arn == null || can(regex("^arn:aws[a-z-]*:kms:", var.kms_key_arn))
    error_message = "This is the ARN of a KMS key, or null."
  }
}

variable "log_days" {
  description = "For how many days logs are kept."
  type        = number
  default     = 30

  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 180, 365], var.log_days)
    error_message = "CloudWatch keeps logs for 1, 3, 5, 7, 14, 30, 60, 90, 180 or 365 days."
  }
}
