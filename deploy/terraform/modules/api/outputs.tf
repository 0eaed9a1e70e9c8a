output "url" {
  description = "Where clients go; the API begins at /v1 below it."
  value       = aws_api_gateway_stage.this.invoke_url
}
