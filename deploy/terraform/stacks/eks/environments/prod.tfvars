# Nothing that one zone can take away: a NAT gateway per zone, stores in two zones, private endpoints,
# CloudFront with its firewall, and no accidental deletion.
name        = "headrace-prod"
environment = "prod"
region      = "us-east-1"

zones                 = 3
nat                   = "per_zone"
interface_endpoints   = ["ecr.api", "ecr.dkr", "sts", "ec2", "logs", "sqs", "eks-auth"]
system_instance_types = ["m7i.xlarge", "m6i.xlarge"]
system_nodes          = { min = 3, max = 9 }
log_days              = 90
observability         = "cluster"

cache    = { node_type = "cache.m7g.large", nodes = 2 }
database = { instance_class = "db.m7g.large", multi_az = true }

domain  = "llm.example.com"
zone_id = "Z0000000000000000000"
cdn     = true

monthly_usd         = 12000
emails              = ["platform@example.com", "finance@example.com"]
deletion_protection = true
