variable "cluster_name" {
  description = "The EKS cluster."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,30}[a-z0-9]$", var.cluster_name))
    error_message = "The name has 3 to 32 lower-case letters, digits and dashes, and begins with a letter."
  }
}

variable "region" {
  description = "The AWS region."
  type        = string

  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.region))
    error_message = "A region is written like eu-central-1."
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

variable "interruption_queue" {
  description = "The queue from which Karpenter hears of Spot interruptions."
  type        = string

  validation {
    condition     = length(var.interruption_queue) > 0
    error_message = "The queue's name is needed."
  }
}

variable "replicas" {
  description = "How many of each controller run: 1 for trials, 2 for real."
  type        = number
  default     = 2

  validation {
    condition     = contains([1, 2, 3], var.replicas)
    error_message = "There are 1 to 3 of each controller."
  }
}

variable "observability" {
  description = "Whether Prometheus, Grafana, Loki and Tempo run in the cluster."
  type        = bool
  default     = true
}
