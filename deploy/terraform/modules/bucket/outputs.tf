output "name" {
  description = "The bucket's name."
  value       = aws_s3_bucket.this.id
}

output "arn" {
  description = "Its ARN."
  value       = aws_s3_bucket.this.arn
}

output "domain_name" {
  description = "Its regional host name, for CloudFront."
  value       = aws_s3_bucket.this.bucket_regional_domain_name
}
