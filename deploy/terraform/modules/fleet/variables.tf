variable "name" {
  description = "What the group and its instances are called."
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

variable "target_group_arns" {
  description = "Target groups of load balancers that send requests here."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for arn in var.target_group_arns : can(regex("^arn:aws[a-z-]*:elasticloadbalancing:", arn))])
    error_message = "These are ARNs of target groups."
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

variable "gpu_percent" {
  description = "Utilisation of GPUs above which there is one more, and below which for 15 minutes there is one less."
  type        = object({ high = number, low = number })
  default     = { high = 70, low = 30 }

  validation {
    condition     = var.gpu_percent.high <= 100 && var.gpu_percent.low >= 0 && var.gpu_percent.high > var.gpu_percent.low
    error_message = "It holds that 0 <= low < high <= 100."
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

variable "port" {
  description = "The gateway's port."
  type        = number
  default     = 8000

  validation {
    condition     = var.port > 1023 && var.port < 65536 && var.port != 8001
    error_message = "A port is from 1024 to 65535; 8001 is the engine's."
  }
}

variable "disk_gib" {
  description = "The disk of an instance, GiB: the image takes 40, vLLM 15, and then the weights."
  type        = number
  default     = 150

  validation {
    condition     = var.disk_gib >= 80
    error_message = "Less than 80 GiB does not hold the image, vLLM and any weights."
  }
}

variable "boot_s" {
  description = "What an instance takes from its start to its first token, s; failed health checks before that are not counted."
  type        = number
  default     = 600

  validation {
    condition     = var.boot_s >= 60 && var.boot_s <= 3600
    error_message = "A start takes 60 to 3600 s."
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

variable "model_bucket_arn" {
  description = "The bucket of models that instances may read; null allows none."
  type        = string
  default     = null

  validation {
    condition     = var.model_bucket_arn == null || can(regex("^arn:aws[a-z-]*:s3:::", var.model_bucket_arn))
    error_message = "This is a bucket's ARN, or null."
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

variable "metrics_namespace" {
  description = "The name space of what instances tell CloudWatch."
  type        = string
  default     = "Headrace"

  validation {
    condition     = can(regex("^[A-Za-z0-9._/#-]+$", var.metrics_namespace)) && !startswith(var.metrics_namespace, "AWS/")
    error_message = "A name space has letters, digits and ._/#-, and does not begin with AWS/."
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
