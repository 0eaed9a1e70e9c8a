# Which charts run in the cluster, at which version, with which values: a list, and nothing else.
# `headrace aws up` installs it with Helm. Terraform does not: a provider that must reach a cluster which
# the same plan makes is what breaks the first apply, the last destroy and each change of the cluster.
# GPU metrics and node pools are in Headrace's own chart; Bottlerocket, the GPU nodes' system, has
# NVIDIA's device plugin built in.

locals {
  always = [
    {
      name       = "karpenter"
      namespace  = "kube-system"
      chart      = "oci://public.ecr.aws/karpenter/karpenter"
      repository = null
      version    = "1.14.1"
      values = {
        settings = {
          clusterName       = var.cluster_name
          interruptionQueue = var.interruption_queue
        }
        nodeSelector = { "headrace.dev/pool" = "system" } # never on a node of its own making
        replicas     = var.replicas
      }
    },
    {
      name       = "keda"
      namespace  = "keda"
      chart      = "keda"
      repository = "https://kedacore.github.io/charts"
      version    = "2.20.2"
      values = {
        nodeSelector = { "headrace.dev/pool" = "system" }
        operator     = { replicaCount = var.replicas }
      }
    },
    {
      name       = "aws-load-balancer-controller"
      namespace  = "kube-system"
      chart      = "aws-load-balancer-controller"
      repository = "https://aws.github.io/eks-charts"
      version    = "1.14.0"
      values = {
        clusterName    = var.cluster_name
        region         = var.region
        vpcId          = var.vpc_id
        replicaCount   = var.replicas
        serviceAccount = { name = "aws-load-balancer-controller" }
        nodeSelector   = { "headrace.dev/pool" = "system" }
      }
    },
  ]

  metrics = [for release in local.observability : release if var.observability]

  observability = [
    {
      name       = "kube-prometheus-stack"
      namespace  = "monitoring"
      chart      = "kube-prometheus-stack"
      repository = "https://prometheus-community.github.io/helm-charts"
      version    = "88.5.3"
      values = {
        grafana = { sidecar = { dashboards = { enabled = true, searchNamespace = "ALL" } } }
        prometheus = { prometheusSpec = {
          retention                               = "15d"
          podMonitorSelectorNilUsesHelmValues     = false
          serviceMonitorSelectorNilUsesHelmValues = false
          ruleSelectorNilUsesHelmValues           = false
          nodeSelector                            = { "headrace.dev/pool" = "system" }
          storageSpec = { volumeClaimTemplate = { spec = {
            accessModes = ["ReadWriteOnce"]
            resources   = { requests = { storage = "50Gi" } }
          } } }
        } }
      }
    },
    {
      name       = "loki"
      namespace  = "monitoring"
      chart      = "loki"
      repository = "https://grafana.github.io/helm-charts"
      version    = "6.30.1"
      values = {
        deploymentMode = "SingleBinary"
        singleBinary   = { replicas = 1 }
        loki = {
          auth_enabled = false
          commonConfig = { replication_factor = 1 }
          storage      = { type = "filesystem" }
          schemaConfig = { configs = [{ from = "2026-01-01", store = "tsdb", object_store = "filesystem", schema = "v13", index = { prefix = "loki_", period = "24h" } }] }
        }
        read    = { replicas = 0 }
        write   = { replicas = 0 }
        backend = { replicas = 0 }
      }
    },
    {
      name       = "tempo"
      namespace  = "monitoring"
      chart      = "tempo"
      repository = "https://grafana.github.io/helm-charts"
      version    = "1.23.2"
      values     = { tempo = { retention = "72h" } }
    },
  ]
}
