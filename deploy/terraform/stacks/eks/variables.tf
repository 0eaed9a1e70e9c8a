variable "name" {
  description = "What everything here is called, the cluster first of all; also the value of the tag headrace:deployment."
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

variable "interface_endpoints" {
  description = "AWS services reached by private address (ecr.api, ecr.dkr, sts, ec2, logs, ...)."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for name in var.interface_endpoints : can(regex("^[a-z0-9.-]+$", name))])
    error_message = "Endpoints are names such as ecr.api or sts."
  }
}

variable "kubernetes_version" {
  description = "The Kubernetes version."
  type        = string
  default     = "1.35"

  validation {
    condition     = can(regex("^1\\.[0-9]{2}$", var.kubernetes_version))
    error_message = "The version is written like 1.35."
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
    error_message = "These are ARNs of IAM roles or users."
  }
}

variable "system_instance_types" {
  description = "Instance types of the system nodes, all of one architecture."
  type        = list(string)
  default     = ["m7i.large", "m6i.large"]

  validation {
    condition     = length(var.system_instance_types) > 0
    error_message = "Name at least one type such as m7i.large."
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

variable "namespace" {
  description = "The namespace of Headrace's release; the release is called headrace."
  type        = string
  default     = "headrace"

  validation {
    condition     = can(regex("^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", var.namespace))
    error_message = "A namespace is a DNS label: lower-case letters, digits and dashes."
  }
}

variable "lustre_gib" {
  description = "Capacity of FSx for Lustre in GiB; 0 makes none."
  type        = number
  default     = 0

  validation {
    condition     = var.lustre_gib >= 0
    error_message = "The capacity is not below 0."
  }
}

variable "image_caches" {
  description = "Registries to cache in this account: host, and the secret with credentials where the registry wants some."
  type = map(object({
    url            = string
    credential_arn = optional(string)
  }))
  default = {
    k8s  = { url = "registry.k8s.io" }
    quay = { url = "quay.io" }
    ecr  = { url = "public.ecr.aws" }
  }

  validation {
    condition     = alltrue([for name, upstream in var.image_caches : can(regex("^[a-z0-9]{2,7}$", name))])
    error_message = "Each has a short name of 2 to 7 letters."
  }
}

variable "cache" {
  description = "ElastiCache for what gateways share: type and number of nodes; null runs a small one in the cluster."
  type        = object({ node_type = string, nodes = number })
  default     = null

  validation {
    condition     = var.cache == null || try(var.cache.nodes >= 1 && startswith(var.cache.node_type, "cache."), false)
    error_message = "The type begins with cache., and there is at least one node."
  }
}

variable "database" {
  description = "RDS PostgreSQL for the ledger: class, and whether a standby waits in another zone; null keeps the ledger in a file."
  type        = object({ instance_class = string, multi_az = bool })
  default     = null

  validation {
    condition     = var.database == null || try(startswith(var.database.instance_class, "db."), false)
    error_message = "The class begins with db., such as db.t4g.small."
  }
}

variable "domain" {
  description = "The name that clients use; null keeps the gateway inside the VPC (kubectl port-forward reaches it)."
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
  description = "Who may connect to a public load balancer; with CloudFront, its firewall decides."
  type        = list(string)
  default     = ["0.0.0.0/0"]

  validation {
    condition     = alltrue([for range in var.client_cidrs : can(cidrhost(range, 0))])
    error_message = "These are IPv4 ranges in CIDR form."
  }
}

variable "cdn" {
  description = "Whether CloudFront with a firewall stands before the load balancer; it needs a domain."
  type        = bool
  default     = false
}

variable "requests_per_minute" {
  description = "How many requests one address may send a minute, with CloudFront."
  type        = number
  default     = 100

  validation {
    condition     = var.requests_per_minute >= 10
    error_message = "AWS takes limits from 10 on."
  }
}

variable "drain_s" {
  description = "For how long a gateway that leaves may finish its streams, s."
  type        = number
  default     = 120

  validation {
    condition     = var.drain_s >= 0 && var.drain_s <= 3600
    error_message = "Draining takes 0 to 3600 s."
  }
}

variable "observability" {
  description = "Who runs Prometheus and Grafana: the cluster, AWS (managed), or nobody (none)."
  type        = string
  default     = "cluster"

  validation {
    condition     = contains(["cluster", "managed", "none"], var.observability)
    error_message = "This is cluster, managed or none."
  }
}

variable "response_days" {
  description = "For how many days stored responses are kept."
  type        = number
  default     = 30

  validation {
    condition     = var.response_days >= 1
    error_message = "Responses stay for at least one day."
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

variable "deletion_protection" {
  description = "Whether AWS refuses to delete cluster, database and load balancer, and buckets with something in them."
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
