# For trying things: at most two Spot instances, one NAT instance, inside the VPC.
name        = "headrace-box-dev"
environment = "dev"
region      = "us-east-1"

zones    = 2
nat      = "instance"
size     = { min = 0, max = 2, desired = 1 }
log_days = 7

monthly_usd = 300
emails      = ["platform@example.com"]
