variable "name" {
  description = "What everything here is called; also the value of the tag headrace:deployment."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,20}[a-z0-9]$", var.name))
    error_message = "The name has 3 to 22 lower-case letters, digits and dashes, and begins with a letter."
  }
}

variable "environment" {
  description = "What it is for: dev, staging or prod."
  type        = string

  validation {
    condition     = contains(["dev", "staging", "prod"], var.environment)
    error_message = "The environment is dev, staging or prod."
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

variable "tags" {
  description = "More tags for everything."
  type        = map(string)
  default     = {}

  validation {
    condition     = length(var.tags) <= 40 && !contains(keys(var.tags), "headrace:deployment")
    error_message = "AWS takes 50 tags, some of which are ours; headrace:deployment is by the name."
  }
}

variable "cidr" {
  description = "The addresses of the VPC."
  type        = string
  default     = "10.40.0.0/16"

  validation {
    condition     = can(cidrhost(var.cidr, 0))
    error_message = "The address range is IPv4 in CIDR form, such as 10.40.0.0/16."
  }
}

variable "zones" {
  description = "In how many availability zones."
  type        = number
  default     = 3

  validation {
    condition     = contains([2, 3], var.zones)
    error_message = "There are 2 or 3 zones."
  }
}

variable "nat" {
  description = "The way out: per_zone, single, instance (cheap) or none."
  type        = string
  default     = "single"

  validation {
    condition     = contains(["per_zone", "single", "instance", "none"], var.nat)
    error_message = "The way out is one of: per_zone, single, instance, none."
  }
}

variable "instance_types" {
  description = "GPU types, the most wanted first; many types are what makes Spot last."
  type        = list(string)
  default     = ["g6.xlarge", "g5.xlarge", "g6.2xlarge", "g5.2xlarge"]

  validation {
    condition     = length(var.instance_types) > 0 && alltrue([for type in var.instance_types : can(regex("^(g[4-9]|gr|p[3-9])[a-z0-9-]*\\.", type))])
    error_message = "Name at least one type with an NVIDIA GPU, such as g6.xlarge."
  }
}

variable "size" {
  description = "How few and how many instances, and how many to begin with."
  type        = object({ min = number, max = number, desired = number })
  default     = { min = 1, max = 4, desired = 1 }

  validation {
    condition     = var.size.min >= 0 && var.size.max >= var.size.desired && var.size.desired >= var.size.min
    error_message = "It holds that 0 <= min <= desired <= max."
  }
}

variable "on_demand" {
  description = "How many instances are on demand: a base, and a percentage of those above it; the rest is Spot."
  type        = object({ base = number, percent_above = number })
  default     = { base = 0, percent_above = 0 }

  validation {
    condition     = var.on_demand.base >= 0 && var.on_demand.percent_above >= 0 && var.on_demand.percent_above <= 100
    error_message = "The base is not below 0, and the percentage is 0 to 100."
  }
}

variable "scale_on" {
  description = "The signal of scaling: queue (requests that wait), gpu (utilisation), or both."
  type        = string
  default     = "queue"

  validation {
    condition     = contains(["queue", "gpu", "both"], var.scale_on)
    error_message = "The signal is queue, gpu or both."
  }
}

variable "queue" {
  description = "Requests per instance: more than high wait, one more; not more than low run or wait for 15 minutes, one less."
  type        = object({ high = number, low = number })
  default     = { high = 4, low = 1 }

  validation {
    condition     = var.queue.high > 0 && var.queue.low >= 0
    error_message = "high is above 0, and low is not below it."
  }
}

variable "model" {
  description = "What vLLM serves: a repository of Hugging Face, or s3://bucket/prefix."
  type        = string
  default     = "Qwen/Qwen3-4B"

  validation {
    condition     = can(regex("^(s3://)?[A-Za-z0-9._/-]+$", var.model))
    error_message = "This is organisation/model or s3://bucket/prefix."
  }
}

variable "served_name" {
  description = "The name by which clients ask for it."
  type        = string
  default     = "qwen3-4b"

  validation {
    condition     = can(regex("^[A-Za-z0-9][A-Za-z0-9._/-]*$", var.served_name))
    error_message = "A model's name has letters, digits and ._/- only."
  }
}

variable "engine_arguments" {
  description = "More arguments for vllm serve, as on its command line."
  type        = string
  default     = "--max-model-len 16384"

  validation {
    condition     = !can(regex("[`$;|&<>\n]", var.engine_arguments))
    error_message = "Arguments are words without shell syntax."
  }
}

variable "headrace_requirement" {
  description = "What of Headrace is installed, as pip writes it: pin a version."
  type        = string
  default     = "headrace"

  validation {
    condition     = can(regex("^[A-Za-z0-9][A-Za-z0-9 ._\\[\\],=<>~:/@+-]*$", var.headrace_requirement))
    error_message = "This is a requirement such as headrace==0.1.0, or a URL of a wheel."
  }
}

variable "vllm_requirement" {
  description = "What of vLLM is installed, as pip writes it: pin a version."
  type        = string
  default     = "vllm==0.32.0"

  validation {
    condition     = startswith(var.vllm_requirement, "vllm")
    error_message = "This is a requirement such as vllm==0.32.0."
  }
}

variable "drain_s" {
  description = "For how long a leaving instance may finish its streams, s; Spot gives 120 in all."
  type        = number
  default     = 90

  validation {
    condition     = var.drain_s >= 0 && var.drain_s <= 105
    error_message = "Draining takes 0 to 105 s: two minutes after its notice a Spot instance is gone."
  }
}

variable "secret_arn" {
  description = "A secret whose JSON object becomes the environment of both units (HF_TOKEN, ...); null has none."
  type        = string
  default     = null

  validation {
    condition     = var.secret_arn == null || can(regex("^arn:aws[a-z-]*:secretsmanager:", var.secret_arn))
    error_message = "This is a secret's ARN, or null."
  }
}

variable "domain" {
  description = "The name that clients use; null keeps the load balancer inside the VPC."
  type        = string
  default     = null

  validation {
    condition     = (var.domain == null) == (var.zone_id == null)
    error_message = "A domain and its Route 53 zone come together."
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

variable "client_cidrs" {
  description = "Who may connect to a public load balancer; with API Gateway, its firewall decides."
  type        = list(string)
  default     = ["0.0.0.0/0"]

  validation {
    condition     = alltrue([for range in var.client_cidrs : can(cidrhost(range, 0))])
    error_message = "These are IPv4 ranges in CIDR form."
  }
}

variable "api" {
  description = "Whether API Gateway with a firewall stands before the load balancer."
  type        = bool
  default     = false
}

variable "requests_per_minute" {
  description = "How many requests one address may send a minute, with API Gateway."
  type        = number
  default     = 100

  validation {
    condition     = var.requests_per_minute >= 10
    error_message = "AWS takes limits from 10 on."
  }
}

variable "demo" {
  description = "Whether there is a page to try it, on CloudFront; it needs a domain, so that the API can be reached from there."
  type        = bool
  default     = false

  validation {
    condition     = !var.demo || var.domain != null
    error_message = "The page needs an API on the internet: give a domain and its zone."
  }
}

variable "monthly_usd" {
  description = "The budget of a month, USD: letters go out at 50, 80 and 100 % of it."
  type        = number

  validation {
    condition     = var.monthly_usd > 0
    error_message = "A budget is more than nothing."
  }
}

variable "emails" {
  description = "Who gets these letters."
  type        = list(string)

  validation {
    condition     = length(var.emails) > 0
    error_message = "Name at least one address."
  }
}

variable "instance_usd_per_hour" {
  description = "What one instance of the first type costs an hour on demand, USD; for the dashboard's estimate."
  type        = number
  default     = 0.8048

  validation {
    condition     = var.instance_usd_per_hour > 0
    error_message = "An instance costs more than nothing."
  }
}

variable "deletion_protection" {
  description = "Whether AWS refuses to delete the load balancer, and buckets with something in them."
  type        = bool
  default     = false
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
