# Two instances on demand carry the night, Spot carries the day.
name        = "headrace-box-prod"
environment = "prod"
region      = "us-east-1"

nat       = "per_zone"
size      = { min = 2, max = 12, desired = 2 }
on_demand = { base = 2, percent_above = 20 }
log_days  = 90

domain  = "llm.example.com"
zone_id = "Z0000000000000000000"
api     = true

monthly_usd         = 9000
emails              = ["platform@example.com", "finance@example.com"]
deletion_protection = true
