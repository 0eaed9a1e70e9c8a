variable "name" {
  description = "What everything here is called; also the value of the tag by which Karpenter finds subnets."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,30}[a-z0-9]$", var.name))
    error_message = "The name has 3 to 32 lower-case letters, digits and dashes, and begins with a letter."
  }
}

variable "cidr" {
  description = "The addresses of the VPC; private subnets take a sixteenth each, public ones a 256th."
  type        = string
  default     = "10.40.0.0/16"

  validation {
    condition     = can(cidrhost(var.cidr, 0)) && try(tonumber(split("/", var.cidr)[1]), 0) >= 16 && try(tonumber(split("/", var.cidr)[1]), 99) <= 20
    error_message = "The address range is IPv4 in CIDR form, from /16 to /20, such as 10.40.0.0/16."
  }
}

variable "zones" {
  description = "In how many availability zones. Three is what RDS, EKS and Spot capacity like best."
  type        = number
  default     = 3

  validation {
    condition     = contains([2, 3], var.zones)
    error_message = "There are 2 or 3 zones: EKS and RDS need two, and no region promises four."
  }
}

variable "nat" {
  description = "The way out of private subnets: per_zone (one gateway each), single (one gateway), instance (one t4g.nano, cheap, no failover) or none (endpoints only)."
  type        = string
  default     = "single"

  validation {
    condition     = contains(["per_zone", "single", "instance", "none"], var.nat)
    error_message = "The way out is one of: per_zone, single, instance, none."
  }
}

variable "interface_endpoints" {
  description = "AWS services reached by private address, as the last part of their endpoint's name (ecr.api, ecr.dkr, sts, ...). Each costs about 7 USD a month and zone."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for name in var.interface_endpoints : can(regex("^[a-z0-9.-]+$", name)) && name != "s3"])
    error_message = "Endpoints are names such as ecr.api or sts; S3 has a free gateway endpoint already."
  }
}

variable "flow_log_days" {
  description = "For how many days refused connections stay in the log; 0 logs none."
  type        = number
  default     = 30

  validation {
    condition     = contains([0, 1, 3, 5, 7, 14, 30, 60, 90, 180, 365], var.flow_log_days)
    error_message = "CloudWatch keeps logs for 1, 3, 5, 7, 14, 30, 60, 90, 180 or 365 days; 0 logs none."
  }
}
