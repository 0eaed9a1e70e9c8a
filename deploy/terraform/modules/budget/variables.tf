variable "name" {
  description = "What the budget is called."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,30}[a-z0-9]$", var.name))
    error_message = "The name has 3 to 32 lower-case letters, digits and dashes, and begins with a letter."
  }
}

variable "monthly_usd" {
  description = "The budget of a month, USD."
  type        = number

  validation {
    condition     = var.monthly_usd > 0
    error_message = "A budget is more than nothing."
  }
}

variable "anomaly_usd" {
  description = "From how many USD above the usual a day is worth a letter."
  type        = number
  default     = 20

  validation {
    condition     = var.anomaly_usd > 0
    error_message = "The threshold is above 0."
  }
}

variable "emails" {
  description = "Who is told."
  type        = list(string)

  validation {
    condition     = length(var.emails) > 0 && length(var.emails) <= 10 && alltrue([for email in var.emails : can(regex("^[^@ ]+@[^@ ]+$", email))])
    error_message = "Name 1 to 10 addresses."
  }
}

variable "tag" {
  description = "The tag by which costs are this deployment's; activate it once as a cost allocation tag."
  type        = object({ key = string, value = string })

  validation {
    condition     = length(var.tag.key) > 0 && length(var.tag.value) > 0
    error_message = "A tag has a key and a value."
  }
}
