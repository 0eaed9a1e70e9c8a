# For trying things: one way out (an instance), two small system nodes, state and ledger in the cluster,
# no name on the internet. About 215 USD a month without GPUs; see docs/deploy/aws.md.
name        = "headrace-dev"
environment = "dev"
region      = "us-east-1"

zones                 = 2
nat                   = "instance"
system_instance_types = ["t3.large", "m6i.large"]
system_nodes          = { min = 2, max = 3 }
log_days              = 7
observability         = "cluster"

monthly_usd = 300
emails      = ["platform@example.com"]
