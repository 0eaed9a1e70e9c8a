variable "name" {
  description = "The first part of all repositories' names."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,20}[a-z0-9]$", var.name))
    error_message = "The name has 3 to 22 lower-case letters, digits and dashes: rules of the cache have at most 30."
  }
}

variable "repositories" {
  description = "Repositories for images of your own."
  type        = set(string)
  default     = ["gateway", "engine"]

  validation {
    condition     = alltrue([for name in var.repositories : can(regex("^[a-z0-9]+([._/-][a-z0-9]+)*$", name))])
    error_message = "A repository's name has lower-case letters, digits, and ._/- between them."
  }
}

variable "upstreams" {
  description = "Registries to cache: host, and for Docker Hub and GitHub the secret with credentials (its name begins with ecr-pullthroughcache/)."
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
    condition     = alltrue([for name, upstream in var.upstreams : can(regex("^[a-z0-9]{2,7}$", name)) && !can(regex("/", upstream.url))])
    error_message = "Each has a short name of 2 to 7 letters and a host without a path, such as quay.io."
  }
}

variable "keep_images" {
  description = "How many images a repository keeps."
  type        = number
  default     = 20

  validation {
    condition     = var.keep_images >= 2
    error_message = "Keep at least 2 images: the one that runs, and the one to go back to."
  }
}

variable "kms_key_arn" {
  description = "The key that encrypts images; null uses keys of ECR itself."
  type        = string
  default     = null

  validation {
    condition     = var.kms_key_arn == null || can(regex("^arn:aws[a-z-]*:kms:", var.kms_key_arn))
    error_message = "This is the ARN of a KMS key, or null."
  }
}

variable "force_delete" {
  description = "Whether repositories may be deleted with images in them."
  type        = bool
  default     = false
}
