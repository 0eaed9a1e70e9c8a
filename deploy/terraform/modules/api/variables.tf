variable "name" {
  description = "What the API is called."
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
  description = "Private subnets, one per zone."
  type        = list(string)

  validation {
    condition     = length(var.subnet_ids) >= 2
    error_message = "Subnets in at least two zones are needed."
  }
}

variable "load_balancer_arn" {
  description = "The internal load balancer."
  type        = string

  validation {
    condition     = length(var.load_balancer_arn) > 0
    error_message = "The load balancer's ARN is needed."
  }
}

variable "load_balancer_url" {
  description = "How it is asked: scheme and a name that its certificate covers."
  type        = string

  validation {
    condition     = can(regex("^https?://", var.load_balancer_url)) && !endswith(var.load_balancer_url, "/")
    error_message = "This is a URL without a path, such as https://llm.example.com."
  }
}

variable "load_balancer_port" {
  description = "Its port."
  type        = number

  validation {
    condition     = contains([80, 443], var.load_balancer_port)
    error_message = "The load balancer listens on 80 or 443."
  }
}

variable "load_balancer_security_group_id" {
  description = "Its security group; API Gateway is let in."
  type        = string

  validation {
    condition     = length(var.load_balancer_security_group_id) > 0
    error_message = "The load balancer's security group is needed."
  }
}

variable "requests_per_minute" {
  description = "How many requests one address may send a minute before it gets 429."
  type        = number
  default     = 100

  validation {
    condition     = var.requests_per_minute >= 10 && var.requests_per_minute <= 2000000000
    error_message = "AWS takes limits from 10 on."
  }
}

variable "throttle" {
  description = "What all callers together may send: requests a second, and how many at once."
  type        = object({ rate = number, burst = number })
  default     = { rate = 200, burst = 400 }

  validation {
    condition     = var.throttle.rate > 0 && var.throttle.burst > 0
    error_message = "Rate and burst are above 0."
  }
}

variable "timeout_s" {
  description = "How long an answer may take, s; streams may take 15 minutes."
  type        = number
  default     = 900

  validation {
    condition     = var.timeout_s >= 1 && var.timeout_s <= 900
    error_message = "API Gateway streams for at most 900 s."
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
