# Like production, but single: one NAT gateway, one node of each store, CloudFront off.
name        = "headrace-staging"
environment = "staging"
region      = "us-east-1"

zones               = 3
nat                 = "single"
interface_endpoints = []
system_nodes        = { min = 2, max = 4 }
log_days            = 14
observability       = "cluster"

cache    = { node_type = "cache.t4g.micro", nodes = 1 }
database = { instance_class = "db.t4g.small", multi_az = false }

domain  = "llm-staging.example.com"
zone_id = "Z0000000000000000000"

monthly_usd = 1500
emails      = ["platform@example.com"]
