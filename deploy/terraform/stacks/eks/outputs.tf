output "name" {
  description = "The deployment, and the cluster."
  value       = module.cluster.name
}

output "region" {
  description = "Where it is."
  value       = var.region
}

output "url" {
  description = "Where clients go; without a domain, a name that only the VPC reaches."
  value       = local.cdn ? module.cdn[0].url : module.entrance.url
}

output "model_bucket" {
  description = "Where models lie: aws s3 sync MODEL s3://BUCKET/MODEL."
  value       = module.models.name
}

output "repository_urls" {
  description = "Where images of your own are pushed to."
  value       = module.registry.repository_urls
}

output "image_caches" {
  description = "What takes the place of other registries' hosts."
  value       = module.registry.cache_prefixes
}

output "grafana" {
  description = "Where Grafana is; empty where the cluster runs it."
  value       = module.monitoring.grafana_endpoint
}

output "namespace" {
  description = "The namespace of Headrace's release."
  value       = var.namespace
}

output "secrets" {
  description = "Secrets that gateways need: what they are for, where they connect to, and which secret of AWS has the password. `headrace aws up` puts them into the cluster."
  value = {
    redis    = var.cache == null ? null : { endpoint = module.cache[0].endpoint, secret_arn = module.cache[0].secret_arn }
    postgres = var.database == null ? null : { endpoint = module.database[0].endpoint, secret_arn = module.database[0].secret_arn }
  }
}

output "releases" {
  description = "What `headrace aws up` installs with Helm, in order."
  value       = module.releases.releases
}

output "manifests" {
  description = "What `headrace aws up` applies with kubectl: storage classes, and the gateway's pods in the load balancer's target group."
  value = [
    yamlencode({
      apiVersion        = "storage.k8s.io/v1"
      kind              = "StorageClass"
      metadata          = { name = "gp3", annotations = { "storageclass.kubernetes.io/is-default-class" = "true" } }
      provisioner       = "ebs.csi.aws.com"
      parameters        = { type = "gp3", encrypted = "true" }
      volumeBindingMode = "WaitForFirstConsumer"
    }),
    yamlencode({
      apiVersion   = "storage.k8s.io/v1"
      kind         = "StorageClass"
      metadata     = { name = "efs" }
      provisioner  = "efs.csi.aws.com"
      parameters   = { provisioningMode = "efs-ap", fileSystemId = module.filesystem.efs_id, directoryPerms = "770", uid = "10001", gid = "10001" }
      mountOptions = ["tls"]
    }),
    yamlencode({
      apiVersion = "elbv2.k8s.aws/v1beta1"
      kind       = "TargetGroupBinding"
      metadata   = { name = "headrace", namespace = var.namespace }
      spec = {
        serviceRef     = { name = "headrace", port = 8000 }
        targetGroupARN = module.entrance.target_group_arn
        targetType     = "ip"
      }
    }),
  ]
}

output "values" {
  description = "What of the chart's values this stack knows, as YAML; models are yours to add."
  value = yamlencode({
    edge      = { enabled = false } # the load balancer ends TLS
    gateway   = { drain = { seconds = var.drain_s }, pepperSecret = { name = "headrace-pepper" }, nodeSelector = { "headrace.dev/pool" = "system" } }
    karpenter = { enabled = true, clusterName = module.cluster.name, nodeRole = module.karpenter.node_role_name, tags = local.tags }
    networkPolicy = {
      clients = [{ ipBlock = { cidr = module.network.cidr } }]
    }
    redis      = { enabled = var.cache == null, urlSecret = { name = var.cache == null ? "" : "headrace-redis" } }
    postgresql = { urlSecret = { name = var.database == null ? "" : "headrace-postgres" } }
    prometheus = {
      serverAddress = "http://prometheus-operated.monitoring.svc:9090"
      monitors      = var.observability == "cluster"
      rules         = var.observability == "cluster"
    }
    grafana = { dashboards = var.observability == "cluster" }
    dcgm    = { enabled = var.observability == "cluster" }
    collector = {
      enabled = var.observability == "cluster"
      loki    = "http://loki.monitoring.svc:3100/otlp"
      tempo   = "tempo.monitoring.svc:4317"
    }
  })
}
