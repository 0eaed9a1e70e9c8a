output "repository_urls" {
  description = "Where each image of ours is pushed to and pulled from."
  value       = { for name, repository in aws_ecr_repository.this : name => repository.repository_url }
}

output "cache_prefixes" {
  description = "What takes the place of each cached registry's host."
  value       = { for name, rule in aws_ecr_pull_through_cache_rule.this : name => "${rule.registry_id}.dkr.ecr.${data.aws_region.here.region}.amazonaws.com/${rule.ecr_repository_prefix}" }
}
