# CloudFront with a web application firewall: before a private load balancer (streams pass, nothing is
# cached), or before a bucket with a page. Everything here lives in us-east-1, as CloudFront wants it.
# Shape after terraform-aws-modules/cloudfront.

locals {
  bucket = var.bucket_domain != null

  # AWS's own policies, by their fixed ids.
  caching_disabled  = "4135ea2d-6df8-44a3-9df3-4b5a84be39ad"
  caching_optimized = "658327ea-f89d-4fab-a63d-7e88639e58f6"
  all_viewer        = "216adef6-5c7f-47e4-b989-5492eafa07d3"
  all_but_host      = "b689b0a8-53d0-40ab-baf2-68738e2966ac"
  security_headers  = "67f7725c-6f97-4210-82d7-5512b31e9d03"
}

resource "aws_wafv2_web_acl" "this" {
  name  = var.name
  scope = "CLOUDFRONT"

  default_action {
    allow {}
  }

  rule {
    name     = "per-address"
    priority = 1

    action {
      block {
        custom_response {
          response_code = 429
        }
      }
    }

    statement {
      rate_based_statement {
        limit                 = var.requests_per_minute
        evaluation_window_sec = 60
        aggregate_key_type    = "IP"
      }
    }

    visibility_config {
      cloudwatch_metrics_enabled = true
      metric_name                = "${var.name}-per-address"
      sampled_requests_enabled   = true
    }
  }

  # The generic rule set is not here on purpose: it blocks bodies over 8 KiB and prompts that talk
  # about SQL or scripts, which is what people send to a language model.
  rule {
    name     = "reputation"
    priority = 2

    override_action {
      none {}
    }

    statement {
      managed_rule_group_statement {
        name        = "AWSManagedRulesAmazonIpReputationList"
        vendor_name = "AWS"
      }
    }

    visibility_config {
      cloudwatch_metrics_enabled = true
      metric_name                = "${var.name}-reputation"
      sampled_requests_enabled   = true
    }
  }

  rule {
    name     = "known-bad"
    priority = 3

    override_action {
      none {}
    }

    statement {
      managed_rule_group_statement {
        name        = "AWSManagedRulesKnownBadInputsRuleSet"
        vendor_name = "AWS"
      }
    }

    visibility_config {
      cloudwatch_metrics_enabled = true
      metric_name                = "${var.name}-known-bad"
      sampled_requests_enabled   = true
    }
  }

  visibility_config {
    cloudwatch_metrics_enabled = true
    metric_name                = var.name
    sampled_requests_enabled   = true
  }
}

resource "aws_cloudwatch_log_group" "waf" {
  name              = "aws-waf-logs-${var.name}" # WAF insists on this beginning
  retention_in_days = var.log_days
}

resource "aws_wafv2_web_acl_logging_configuration" "this" {
  resource_arn            = aws_wafv2_web_acl.this.arn
  log_destination_configs = [aws_cloudwatch_log_group.waf.arn]

  redacted_fields {
    single_header {
      name = "authorization"
    }
  }
}

resource "aws_cloudfront_vpc_origin" "this" {
  count = local.bucket ? 0 : 1

  vpc_origin_endpoint_config {
    name                   = var.name
    arn                    = var.load_balancer_arn
    http_port              = 80
    https_port             = 443
    origin_protocol_policy = "https-only"

    origin_ssl_protocols {
      items    = ["TLSv1.2"]
      quantity = 1
    }
  }
}

resource "aws_cloudfront_origin_access_control" "this" {
  count = local.bucket ? 1 : 0

  name                              = var.name
  origin_access_control_origin_type = "s3"
  signing_behavior                  = "always"
  signing_protocol                  = "sigv4"
}

resource "aws_cloudfront_distribution" "this" {
  comment             = var.name
  enabled             = true
  is_ipv6_enabled     = true
  http_version        = "http2and3"
  price_class         = var.price_class
  aliases             = var.domain == null ? [] : [var.domain]
  web_acl_id          = aws_wafv2_web_acl.this.arn
  default_root_object = local.bucket ? "index.html" : null

  origin {
    origin_id                = "origin"
    domain_name              = local.bucket ? var.bucket_domain : var.load_balancer_domain
    origin_access_control_id = local.bucket ? aws_cloudfront_origin_access_control.this[0].id : null

    dynamic "vpc_origin_config" {
      for_each = aws_cloudfront_vpc_origin.this

      content {
        vpc_origin_id = vpc_origin_config.value.id
        # The longest silence, not the longest answer. A gateway's keep-alive comments must come more
        # often than this.
        origin_read_timeout      = 120
        origin_keepalive_timeout = 60
      }
    }
  }

  # The API beside a page, under the page's own name: a browser then asks nobody else.
  dynamic "origin" {
    for_each = var.api_url == null ? [] : [regex("^https://([^/]+)(/.*)?$", var.api_url)]

    content {
      origin_id   = "api"
      domain_name = origin.value[0]
      origin_path = origin.value[1]

      custom_origin_config {
        http_port                = 80
        https_port               = 443
        origin_protocol_policy   = "https-only"
        origin_ssl_protocols     = ["TLSv1.2"]
        origin_read_timeout      = 120
        origin_keepalive_timeout = 60
      }
    }
  }

  dynamic "ordered_cache_behavior" {
    for_each = var.api_url == null ? [] : ["/v1/*"]

    content {
      path_pattern             = ordered_cache_behavior.value
      target_origin_id         = "api"
      viewer_protocol_policy   = "https-only"
      allowed_methods          = ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"]
      cached_methods           = ["GET", "HEAD"]
      compress                 = false
      cache_policy_id          = local.caching_disabled
      origin_request_policy_id = local.all_but_host
    }
  }

  default_cache_behavior {
    target_origin_id           = "origin"
    viewer_protocol_policy     = "redirect-to-https"
    allowed_methods            = local.bucket ? ["GET", "HEAD"] : ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"]
    cached_methods             = ["GET", "HEAD"]
    compress                   = local.bucket # a compressed stream is a stream that waits
    cache_policy_id            = local.bucket ? local.caching_optimized : local.caching_disabled
    origin_request_policy_id   = local.bucket ? null : local.all_viewer
    response_headers_policy_id = local.security_headers
  }

  restrictions {
    geo_restriction {
      restriction_type = length(var.countries) > 0 ? "whitelist" : "none"
      locations        = var.countries
    }
  }

  viewer_certificate {
    acm_certificate_arn            = var.certificate_arn
    cloudfront_default_certificate = var.certificate_arn == null
    minimum_protocol_version       = var.certificate_arn == null ? null : "TLSv1.2_2021"
    ssl_support_method             = var.certificate_arn == null ? null : "sni-only"
  }

  dynamic "logging_config" {
    for_each = var.log_bucket_domain == null ? [] : [var.log_bucket_domain]

    content {
      bucket = logging_config.value
      prefix = "cdn/${var.name}/"
    }
  }
}

resource "aws_route53_record" "this" {
  for_each = var.domain == null ? [] : toset(["A", "AAAA"])

  zone_id = var.zone_id
  name    = var.domain
  type    = each.key

  alias {
    name                   = aws_cloudfront_distribution.this.domain_name
    zone_id                = aws_cloudfront_distribution.this.hosted_zone_id
    evaluate_target_health = false
  }
}
