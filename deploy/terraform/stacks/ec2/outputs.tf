output "name" {
  description = "The deployment."
  value       = var.name
}

output "region" {
  description = "Where it is."
  value       = var.region
}

output "url" {
  description = "Where clients go; without API Gateway and without a domain, a name that only the VPC reaches."
  value       = var.api ? module.api[0].url : module.entrance.url
}

output "group" {
  description = "The Auto Scaling group; `headrace aws pause` sets it to zero."
  value       = module.fleet.group_name
}

output "model_bucket" {
  description = "Where models may lie, for model = \"s3://BUCKET/MODEL\"."
  value       = module.models.name
}

output "page" {
  description = "The page to try it; empty without one."
  value       = var.demo ? module.page_cdn[0].url : ""
}

output "dashboard" {
  description = "The dashboard in CloudWatch."
  value       = module.alarms.dashboard_name
}
