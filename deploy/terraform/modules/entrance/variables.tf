variable "name" {
  description = "What the load balancer is called."
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
  description = "Its subnets, one per zone: public ones, or private ones for an internal load balancer."
  type        = list(string)

  validation {
    condition     = length(var.subnet_ids) >= 2
    error_message = "A load balancer needs subnets in at least two zones."
  }
}

variable "internal" {
  description = "Whether only the VPC, and CloudFront through it, reaches the load balancer."
  type        = bool
  default     = false
}

variable "client_cidrs" {
  description = "Who may connect."
  type        = list(string)

  validation {
    condition     = alltrue([for range in var.client_cidrs : can(cidrhost(range, 0))])
    error_message = "These are IPv4 ranges in CIDR form."
  }
}

variable "certificate_arn" {
  description = "The certificate; null speaks plain HTTP, which is for trials inside a VPC only."
  type        = string
  default     = null

  validation {
    condition     = var.certificate_arn == null || can(regex("^arn:aws[a-z-]*:acm:", var.certificate_arn))
    error_message = "This is the ARN of an ACM certificate, or null."
  }
}

variable "domain" {
  description = "The name that points here; null makes no record."
  type        = string
  default     = null

  validation {
    condition     = var.domain == null || can(regex("\\.", var.domain))
    error_message = "This is a host name such as llm.example.com, or null."
  }
}

variable "zone_id" {
  description = "The Route 53 zone of that name."
  type        = string
  default     = null

  validation {
    condition     = (var.zone_id == null) == (var.domain == null)
    error_message = "A domain and its zone come together."
  }
}

variable "target_type" {
  description = "What is behind it: instance (EC2) or ip (pods, by TargetGroupBinding)."
  type        = string

  validation {
    condition     = contains(["instance", "ip"], var.target_type)
    error_message = "Targets are of type instance or ip."
  }
}

variable "target_port" {
  description = "The port of the gateways."
  type        = number
  default     = 8000

  validation {
    condition     = var.target_port > 0 && var.target_port < 65536
    error_message = "A port is from 1 to 65535."
  }
}

variable "target_security_group_id" {
  description = "The security group of the gateways; the load balancer is let in."
  type        = string

  validation {
    condition     = length(var.target_security_group_id) > 0
    error_message = "The gateways' security group is needed."
  }
}

variable "idle_timeout_s" {
  description = "For how long a connection may be silent, s: the longest prefill and wait, with room."
  type        = number
  default     = 300

  validation {
    condition     = var.idle_timeout_s >= 60 && var.idle_timeout_s <= 4000
    error_message = "The time-out is 60 to 4000 s."
  }
}

variable "drain_s" {
  description = "For how long a target that leaves may finish its streams, s; not below server.drain_s."
  type        = number
  default     = 120

  validation {
    condition     = var.drain_s >= 0 && var.drain_s <= 3600
    error_message = "Draining takes 0 to 3600 s."
  }
}

variable "log_bucket" {
  description = "The bucket for access logs; null keeps none."
  type        = string
  default     = null

  validation {
    condition     = var.log_bucket == null || can(regex("^[a-z0-9.-]{3,63}$", var.log_bucket))
    error_message = "This is a bucket's name, or null."
  }
}

variable "deletion_protection" {
  description = "Whether AWS refuses to delete the load balancer."
  type        = bool
  default     = false
}
