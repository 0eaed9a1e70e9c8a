variable "cluster_name" {
  description = "The EKS cluster of the service account."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,30}[a-z0-9]$", var.cluster_name))
    error_message = "The name has 3 to 32 lower-case letters, digits and dashes, and begins with a letter."
  }
}

variable "namespace" {
  description = "The namespace of the service account."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", var.namespace))
    error_message = "A namespace is a DNS label: lower-case letters, digits and dashes."
  }
}

variable "service_account" {
  description = "The service account whose pods get the role."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$", var.service_account))
    error_message = "A service account's name has lower-case letters, digits, dashes and dots."
  }
}

variable "statements" {
  description = "What is allowed: actions on resources, with conditions as in an IAM policy."
  type = list(object({
    actions    = list(string)
    resources  = list(string)
    conditions = optional(map(map(string)), {})
  }))

  validation {
    condition     = length(var.statements) > 0 && alltrue([for statement in var.statements : !contains(statement.actions, "*")])
    error_message = "Name at least one statement; the action * is never what a pod needs."
  }
}
