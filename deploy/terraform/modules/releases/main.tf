# Which charts run in the cluster, at which version, with which values: a list, and nothing else.
# `headrace aws up` installs it with Helm. Terraform does not: a provider that must reach a cluster which
# the same plan makes is what breaks the first apply, the last destroy and each change of the cluster.
# GPU metrics and node pools are in Headrace's own chart; Bottlerocket, the GPU nodes' system, has
# NVIDIA's device plugin built in.
#
# Beside each version stand its source and the day of the source that it was read from: the newest
# there. Values of the load balancer controller, Loki and Tempo were rendered with these very charts.

locals {
  always = [
    {
      name       = "karpenter"
      namespace  = "kube-system"
      chart      = "oci://public.ecr.aws/karpenter/karpenter"
      repository = null
      version    = "1.14.1" # github.com/aws/karpenter-provider-aws, 2026-08
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
      version    = "2.20.2" # github.com/kedacore/keda, 2026-08
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
      version    = "3.5.0" # github.com/kubernetes-sigs/aws-load-balancer-controller, 2026-08-17
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
      version    = "88.5.3" # github.com/prometheus-community/helm-charts, 2026-08-22
      values = {
        grafana = {
          sidecar = { dashboards = { enabled = true, searchNamespace = "ALL" } }
          additionalDataSources = [ # by the names that the dashboards use
            { name = "Loki", uid = "loki", type = "loki", access = "proxy", url = "http://loki.monitoring.svc:3100" },
            { name = "Tempo", uid = "tempo", type = "tempo", access = "proxy", url = "http://tempo.monitoring.svc:3200" },
          ]
        }
        prometheus = { prometheusSpec = {
          enableFeatures                          = ["exemplar-storage"]
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
      repository = "https://grafana-community.github.io/helm-charts" # Loki's and Tempo's home since 2026
      version    = "18.11.0"                                         # github.com/grafana-community/helm-charts, 2026-08-20
      values = {
        deploymentMode = "Monolithic"
        singleBinary   = { replicas = 1 }
        loki = {
          auth_enabled  = false
          commonConfig  = { replication_factor = 1 }
          storage       = { type = "filesystem" }
          schemaConfig  = { configs = [{ from = "2026-01-01", store = "tsdb", object_store = "filesystem", schema = "v13", index = { prefix = "loki_", period = "24h" } }] }
          limits_config = { retention_period = "168h" }
          compactor     = { retention_enabled = true, delete_request_store = "filesystem" }
        }
        read         = { replicas = 0 }
        write        = { replicas = 0 }
        backend      = { replicas = 0 }
        chunksCache  = { enabled = false } # the chart's asks for 10 GB of memory
        resultsCache = { enabled = false }
        gateway      = { enabled = false }
        lokiCanary   = { enabled = false }
        test         = { enabled = false }
      }
    },
    {
      name       = "tempo"
      namespace  = "monitoring"
      chart      = "tempo"
      repository = "https://grafana-community.github.io/helm-charts"
      version    = "2.2.4" # github.com/grafana-community/helm-charts, 2026-08-20
      values     = { tempo = { retention = "72h" } }
    },
  ]
}
