variable "name" {
  description = "What the distribution and its firewall are called."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,30}[a-z0-9]$", var.name))
    error_message = "The name has 3 to 32 lower-case letters, digits and dashes, and begins with a letter."
  }
}

variable "load_balancer_arn" {
  description = "The private load balancer behind it; null where a bucket is."
  type        = string
  default     = null

  validation {
    condition     = (var.load_balancer_arn == null) != (var.bucket_domain == null)
    error_message = "Behind it is either a load balancer or a bucket."
  }
}

variable "load_balancer_domain" {
  description = "The name by which CloudFront asks the load balancer: one that its certificate covers."
  type        = string
  default     = null

  validation {
    condition     = (var.load_balancer_domain == null) == (var.bucket_domain != null)
    error_message = "A load balancer comes with the name that its certificate covers."
  }
}

variable "bucket_domain" {
  description = "The regional host name of the bucket behind it; null where a load balancer is."
  type        = string
  default     = null

  validation {
    condition     = var.bucket_domain == null || can(regex("\\.", var.bucket_domain))
    error_message = "This is a bucket's regional host name, or null."
  }
}

variable "api_url" {
  description = "An API that answers below /v1 of the same name, beside a bucket's page; null has none."
  type        = string
  default     = null

  validation {
    condition     = var.api_url == null || can(regex("^https://[^/]+(/[^?#]*[^/])?$", var.api_url))
    error_message = "This is an https URL without a slash at its end, or null."
  }
}

variable "domain" {
  description = "The name that clients use; null leaves them CloudFront's own."
  type        = string
  default     = null

  validation {
    condition     = (var.domain == null) == (var.certificate_arn == null) && (var.domain == null) == (var.zone_id == null)
    error_message = "A domain, its certificate (in us-east-1) and its zone come together."
  }
}

variable "certificate_arn" {
  description = "Its certificate, in us-east-1."
  type        = string
  default     = null

  validation {
    condition     = var.certificate_arn == null || can(regex("^arn:aws[a-z-]*:acm:us-east-1:", var.certificate_arn))
    error_message = "CloudFront takes certificates of us-east-1 only."
  }
}

variable "zone_id" {
  description = "The Route 53 zone of the domain."
  type        = string
  default     = null

  validation {
    condition     = var.zone_id == null || can(regex("^Z[A-Z0-9]+$", var.zone_id))
    error_message = "A zone's id begins with Z."
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

variable "price_class" {
  description = "Where CloudFront answers from: PriceClass_100 (Europe, North America), _200 or _All."
  type        = string
  default     = "PriceClass_100"

  validation {
    condition     = contains(["PriceClass_100", "PriceClass_200", "PriceClass_All"], var.price_class)
    error_message = "This is PriceClass_100, PriceClass_200 or PriceClass_All."
  }
}

variable "countries" {
  description = "Countries that may connect, as two letters; empty is all."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for country in var.countries : can(regex("^[A-Z]{2}$", country))])
    error_message = "Countries are two capital letters, such as DE."
  }
}

variable "log_bucket_domain" {
  description = "The bucket for access logs, as a host name; null keeps none."
  type        = string
  default     = null

  validation {
    condition     = var.log_bucket_domain == null || can(regex("\\.s3[.-]", var.log_bucket_domain))
    error_message = "This is a bucket's host name, or null."
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
