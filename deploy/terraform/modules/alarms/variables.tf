variable "name" {
  description = "What the dashboard and the alarms are called."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,30}[a-z0-9]$", var.name))
    error_message = "The name has 3 to 32 lower-case letters, digits and dashes, and begins with a letter."
  }
}

variable "load_balancer_suffix" {
  description = "The load balancer's name among CloudWatch's metrics (app/...)."
  type        = string

  validation {
    condition     = length(var.load_balancer_suffix) > 0
    error_message = "The load balancer's suffix is needed."
  }
}

variable "group_name" {
  description = "The Auto Scaling group."
  type        = string

  validation {
    condition     = length(var.group_name) > 0
    error_message = "The group's name is needed."
  }
}

variable "metrics_namespace" {
  description = "The name space of what instances tell CloudWatch."
  type        = string
  default     = "Headrace"

  validation {
    condition     = can(regex("^[A-Za-z0-9._/#-]+$", var.metrics_namespace)) && !startswith(var.metrics_namespace, "AWS/")
    error_message = "A name space has letters, digits and ._/#-, and does not begin with AWS/."
  }
}

variable "emails" {
  description = "Who is told; each address must agree to it once, by a link that AWS sends."
  type        = list(string)

  validation {
    condition     = alltrue([for email in var.emails : can(regex("^[^@ ]+@[^@ ]+$", email))])
    error_message = "These are e-mail addresses."
  }
}

variable "slow_s" {
  description = "The 99th percentile of the time to the first byte that is too slow, s."
  type        = number
  default     = 5

  validation {
    condition     = var.slow_s > 0
    error_message = "The limit is above 0 s."
  }
}

variable "failing_percent" {
  description = "The share of failing answers that is too many, %."
  type        = number
  default     = 1

  validation {
    condition     = var.failing_percent > 0 && var.failing_percent < 100
    error_message = "The share is between 0 and 100 %."
  }
}

variable "instance_usd_per_hour" {
  description = "What one instance costs an hour on demand, USD; for the estimate on the dashboard."
  type        = number

  validation {
    condition     = var.instance_usd_per_hour > 0
    error_message = "An instance costs more than nothing."
  }
}
