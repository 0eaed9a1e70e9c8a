output "releases" {
  description = "What Helm installs, in order; values are YAML."
  value = [for release in concat(local.always, local.metrics) : {
    name       = release.name
    namespace  = release.namespace
    chart      = release.chart
    repository = release.repository
    version    = release.version
    values     = yamlencode(release.values)
  }]
}
