{{/* What scaling asks Prometheus, and where that is. */}}

{{/*
headrace.scope $: matchers of this release's series. Where a Prometheus scrapes without the chart's monitors there may be
no label `release`: then all releases of the namespace count together.
*/}}
{{- define "headrace.scope" -}}
namespace={{ .Release.Namespace | quote }},release=~"{{ .Release.Name }}|"
{{- end -}}

{{/* headrace.gatewayLoad MATCHERS: requests that gateways have in hand, as PromQL; 0 without series. */}}
{{- define "headrace.gatewayLoad" -}}
{{- range $i, $metric := list "headrace_replica_inflight_requests" "headrace_waiting_requests" "headrace_held_requests" -}}
{{- if $i }} + {{ end }}(sum({{ $metric }}{ {{- $ -}} }) or vector(0))
{{- end -}}
{{- end -}}

{{/* headrace.prometheus $: its address, from any namespace. */}}
{{- define "headrace.prometheus" -}}
{{- if .Values.trial.prometheus.enabled -}}
http://{{ include "headrace.name" . }}-prometheus.{{ .Release.Namespace }}.svc:9090
{{- else -}}
{{- .Values.prometheus.serverAddress -}}
{{- end -}}
{{- end -}}

{{/* headrace.behavior: up at once; down one a minute, after five minutes of less load. */}}
{{- define "headrace.behavior" -}}
scaleUp:
  stabilizationWindowSeconds: 0
scaleDown:
  stabilizationWindowSeconds: 300
  policies:
    - {type: Pods, value: 1, periodSeconds: 60}
{{- end -}}
