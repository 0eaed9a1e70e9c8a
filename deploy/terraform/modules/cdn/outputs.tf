output "arn" {
  description = "The distribution, for the policy of a bucket behind it."
  value       = aws_cloudfront_distribution.this.arn
}

output "url" {
  description = "Where clients go."
  value       = "https://${coalesce(var.domain, aws_cloudfront_distribution.this.domain_name)}"
}

output "web_acl_arn" {
  description = "The firewall."
  value       = aws_wafv2_web_acl.this.arn
}
