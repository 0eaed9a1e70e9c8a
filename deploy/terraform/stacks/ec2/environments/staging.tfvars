# Like production with a smaller fleet: API Gateway, firewall and page, all instances on Spot.
name        = "headrace-box-staging"
environment = "staging"
region      = "us-east-1"

nat      = "single"
size     = { min = 1, max = 3, desired = 1 }
log_days = 14

domain  = "llm-staging.example.com"
zone_id = "Z0000000000000000000"
api     = true
demo    = true

monthly_usd = 1500
emails      = ["platform@example.com"]
