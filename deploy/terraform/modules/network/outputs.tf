output "vpc_id" {
  description = "The VPC."
  value       = aws_vpc.this.id
}

output "cidr" {
  description = "Its addresses."
  value       = aws_vpc.this.cidr_block
}

output "private_subnet_ids" {
  description = "Subnets without a way in, one per zone."
  value       = [for subnet in aws_subnet.private : subnet.id]
}

output "public_subnet_ids" {
  description = "Subnets for load balancers, one per zone."
  value       = [for subnet in aws_subnet.public : subnet.id]
}

output "zones" {
  description = "The availability zones, in order."
  value       = local.zones
}
