{{/*
The programs of `trial`: what each runs, and its configuration, which is that of observability/ with
this release's addresses in it. A key of a configuration has "--" where its path has "/".
*/}}

{{/* headrace.trials $: by name, what is enabled. Mounts are those of the images; Grafana takes any user. */}}
{{- define "headrace.trials" -}}
{{- $all := include "headrace.trialTable" . | fromYaml -}}
{{- range $name, $_ := $all -}}
{{- if not (index $.Values.trial $name).enabled }}{{ $_ := unset $all $name }}{{ end -}}
{{- end -}}
{{- toYaml $all -}}
{{- end -}}

{{- define "headrace.trialTable" -}}
prometheus:
  user: 65534
  ports: {http: 9090}
  ready: /-/ready
  config: /etc/prometheus
  data: /prometheus
  callers: [grafana]
  token: true
  args:
    - --config.file=/etc/prometheus/kubernetes.yaml
    - --storage.tsdb.path=/prometheus
    - --storage.tsdb.retention.time={{ .Values.trial.prometheus.retention }}
    - --enable-feature=exemplar-storage
alertmanager:
  user: 65534
  ports: {http: 9093}
  ready: /-/ready
  config: /etc/alertmanager
  data: /alertmanager
  callers: [prometheus]
  args:
    - --config.file=/etc/alertmanager/alertmanager.yaml
    - --storage.path=/alertmanager
    - --cluster.listen-address=
grafana:
  user: 10001
  ports: {http: 3000}
  ready: /api/health
  config: /etc/grafana/provisioning
  data: /var/lib/grafana
  callers: []
  args: []
loki:
  user: 10001
  ports: {http: 3100}
  ready: /ready
  config: /etc/loki
  data: /loki
  callers: [collector, grafana]
  alone: true
  args: [-config.file=/etc/loki/loki.yaml]
tempo:
  user: 10001
  ports: {http: 3200, otlp-grpc: 4317}
  ready: /ready
  config: /etc/tempo
  data: /var/tempo
  callers: [collector, grafana]
  alone: true
  args: [-config.file=/etc/tempo/tempo.yaml]
{{- end -}}

{{/* headrace.trialConfig (list $ NAME): the files of one program. */}}
{{- define "headrace.trialConfig" -}}
{{- $root := index . 0 -}}
{{- $name := index . 1 -}}
{{- if eq $name "prometheus" -}}
kubernetes.yaml: |
  {{- include "headrace.trialPrometheus" $root | nindent 2 }}
{{- range $path, $_ := $root.Files.Glob "files/rules/*.yaml" }}
rules--{{ base $path }}: |
  {{- $root.Files.Get $path | nindent 2 }}
{{- end }}
{{- else if eq $name "alertmanager" -}}
alertmanager.yaml: |
  {{- $config := $root.Files.Get "files/alertmanager/alertmanager.yaml" | fromYaml }}
  {{- toYaml (mustMergeOverwrite $config (deepCopy $root.Values.trial.alertmanager.config)) | nindent 2 }}
templates--headrace.tmpl: |
  {{- $root.Files.Get "files/alertmanager/headrace.tmpl" | nindent 2 }}
{{- else if eq $name "grafana" -}}
dashboards--dashboards.yaml: |
  {{- $root.Files.Get "files/grafana/dashboards.yaml" | nindent 2 }}
datasources--datasources.yaml: |
  {{- include "headrace.trialSources" $root | nindent 2 }}
{{- else -}}
{{ $name }}.yaml: |
  {{- $root.Files.Get (printf "files/%s/%s.yaml" $name $name) | nindent 2 }}
{{- end }}
{{- end -}}

{{/* It looks for pods in its own namespace, for which a Role is enough. */}}
{{- define "headrace.trialPrometheus" -}}
{{- $config := .Files.Get "files/prometheus/kubernetes.yaml" | fromYaml -}}
{{- range $job := $config.scrape_configs -}}
{{- range $job.kubernetes_sd_configs }}{{ $_ := set . "namespaces" (dict "own_namespace" true) }}{{ end -}}
{{- end -}}
{{- if .Values.trial.alertmanager.enabled -}}
{{- $target := printf "%s-alertmanager:9093" (include "headrace.name" .) -}}
{{- $_ := set $config.alerting "alertmanagers" (list (dict "static_configs" (list (dict "targets" (list $target))))) -}}
{{- else -}}
{{- $_ := unset $config "alerting" -}}
{{- end -}}
{{- toYaml $config -}}
{{- end -}}

{{/* Grafana's sources are named after what answers them; those that do not run are left out. */}}
{{- define "headrace.trialSources" -}}
{{- $config := .Files.Get "files/grafana/datasources.yaml" | fromYaml -}}
{{- $sources := list -}}
{{- range $source := $config.datasources -}}
{{- if eq $source.uid "prometheus" -}}
{{- $sources = append $sources (set $source "url" (include "headrace.prometheus" $)) -}}
{{- else if (index $.Values.trial $source.uid).enabled -}}
{{- $url := replace "://" (printf "://%s-" (include "headrace.name" $)) $source.url -}}
{{- $sources = append $sources (set $source "url" $url) -}}
{{- end -}}
{{- end -}}
{{- toYaml (set $config "datasources" $sources) -}}
{{- end -}}

{{/* Without a password there is no administrator: whoever reaches Grafana looks and explores. */}}
{{- define "headrace.grafanaEnv" -}}
{{- $secret := .Values.trial.grafana.passwordSecret -}}
- {name: GF_ANALYTICS_REPORTING_ENABLED, value: "false"}
- {name: GF_ANALYTICS_CHECK_FOR_UPDATES, value: "false"}
- {name: GF_ANALYTICS_CHECK_FOR_PLUGIN_UPDATES, value: "false"}
- {name: GF_PLUGINS_PREINSTALL_DISABLED, value: "true"} # it would fetch them at each start
- {name: GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH, value: /var/lib/grafana/dashboards/headrace-overview.json}
{{- if $secret.name }}
- name: GF_SECURITY_ADMIN_PASSWORD
  valueFrom:
    secretKeyRef: {name: {{ $secret.name }}, key: {{ $secret.key }}}
{{- else }}
- {name: GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION, value: "true"}
- {name: GF_AUTH_BASIC_ENABLED, value: "false"}
- {name: GF_AUTH_DISABLE_LOGIN_FORM, value: "true"}
- {name: GF_AUTH_ANONYMOUS_ENABLED, value: "true"}
- {name: GF_AUTH_ANONYMOUS_ORG_ROLE, value: Viewer}
- {name: GF_USERS_VIEWERS_CAN_EDIT, value: "true"} # explore, and save nothing
{{- end }}
{{- end -}}

{{/* headrace.monitoring $: peers that may scrape. */}}
{{- define "headrace.monitoring" -}}
{{- $peers := .Values.networkPolicy.monitoring -}}
{{- if .Values.trial.prometheus.enabled -}}
{{- $labels := include "headrace.selector" (list . "prometheus") | fromYaml -}}
{{- $peers = append $peers (dict "podSelector" (dict "matchLabels" $labels)) -}}
{{- end -}}
{{- toYaml $peers -}}
{{- end -}}
