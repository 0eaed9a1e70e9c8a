variable "name" {
  description = "The name of the cluster, and of the tag by which Karpenter finds its security group."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,30}[a-z0-9]$", var.name))
    error_message = "The name has 3 to 32 lower-case letters, digits and dashes, and begins with a letter."
  }
}

variable "kubernetes_version" {
  description = "The Kubernetes version of the control plane; go up one minor version at a time."
  type        = string
  default     = "1.35"

  validation {
    condition     = can(regex("^1\\.(3[3-9]|[4-9][0-9])$", var.kubernetes_version))
    error_message = "The version is 1.33 or later, such as 1.35."
  }
}

variable "subnet_ids" {
  description = "Private subnets in at least two zones."
  type        = list(string)

  validation {
    condition     = length(var.subnet_ids) >= 2
    error_message = "EKS needs subnets in at least two zones."
  }
}

variable "admin_cidrs" {
  description = "Who may reach the Kubernetes API from the internet; empty keeps it private."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for range in var.admin_cidrs : can(cidrhost(range, 0)) && !endswith(range, "/0")])
    error_message = "These are ranges such as 203.0.113.7/32; the whole internet (/0) is not allowed."
  }
}

variable "admin_role_arns" {
  description = "IAM roles that may do everything in the cluster, besides the one that creates it."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for arn in var.admin_role_arns : can(regex("^arn:aws[a-z-]*:iam::[0-9]{12}:(role|user)/", arn))])
    error_message = "These are ARNs of IAM roles or users, such as arn:aws:iam::123456789012:role/platform."
  }
}

variable "system_instance_types" {
  description = "Instance types of the system nodes, all of one architecture (Graviton types end their family with g)."
  type        = list(string)
  default     = ["m7i.large", "m6i.large"]

  validation {
    condition     = length(var.system_instance_types) > 0 && alltrue([for type in var.system_instance_types : can(regex("^[a-z][a-z0-9-]*\\.[a-z0-9]+$", type))]) && length(distinct([for type in var.system_instance_types : can(regex("^[a-z]+[0-9]+g", type))])) == 1
    error_message = "Name at least one type such as m7i.large, and either only Graviton types or none."
  }
}

variable "system_nodes" {
  description = "How few and how many system nodes."
  type        = object({ min = number, max = number })
  default     = { min = 2, max = 4 }

  validation {
    condition     = var.system_nodes.min >= 1 && var.system_nodes.max >= var.system_nodes.min
    error_message = "There is at least 1 system node, and max is not below min."
  }
}

variable "log_days" {
  description = "For how many days the control plane's log is kept."
  type        = number
  default     = 30

  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 180, 365], var.log_days)
    error_message = "CloudWatch keeps logs for 1, 3, 5, 7, 14, 30, 60, 90, 180 or 365 days."
  }
}

variable "deletion_protection" {
  description = "Whether AWS refuses to delete the cluster."
  type        = bool
  default     = false
}
