terraform {
  required_version = ">= 1.10.0"

  # Bucket, key and region come from -backend-config; `headrace aws` writes them. The lock is a file
  # beside the state, so there is no table to keep.
  backend "s3" {
    encrypt      = true
    use_lockfile = true
  }

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 6.50.0, < 7.0.0"
    }
  }
}

provider "aws" {
  region = var.region

  default_tags {
    tags = local.tags
  }
}

# CloudFront, its firewall and its certificate live here, wherever the rest does.
provider "aws" {
  alias  = "global"
  region = "us-east-1"

  default_tags {
    tags = local.tags
  }
}
