{{/* headrace.yaml, from the values. What a key means is in docs/configuration.md. */}}

{{- define "headrace.tree" -}}
{{- $models := list -}}
{{- $discovery := list -}}
{{- range $given := .Values.models -}}
{{- $m := mustMergeOverwrite (deepCopy $.Values.modelDefaults) (deepCopy $given) -}}
{{- $model := dict "name" $m.name -}}
{{- with $m.aliases }}{{ $_ := set $model "aliases" . }}{{ end -}}
{{- with $m.contextLength }}{{ $_ := set $model "context_length" (int .) }}{{ end -}}
{{- $_ := set $model "cold_start_s" (add (int $m.startupSeconds) (int $m.nodeStartSeconds)) -}}
{{- $models = append $models $model -}}
{{- $source := dict "type" "kubernetes" "selector" (printf "kubernetes.io/service-name=%s" (include "headrace.engineName" (list $ $m))) "namespace" $.Release.Namespace "port_name" "http" "serves" (list $m.name) -}}
{{- if and $.Values.engineApiKey.secretName (eq $m.engine "vllm") }}{{ $_ := set $source "api_key" "${HEADRACE_ENGINE_KEY}" }}{{ end -}}
{{- $discovery = append $discovery $source -}}
{{- end -}}
{{- $drain := .Values.gateway.drain -}}
{{- $tree := dict
  "server" (dict "host" "0.0.0.0" "port" 8000 "drain_s" $drain.seconds "drain_grace_s" $drain.graceSeconds)
  "admin" (dict "host" "127.0.0.1" "port" 8001)
  "hold" (dict "keep_alive_s" 15)
  "identity" (dict "anonymous" .Values.gateway.anonymous)
  "edge" (dict "host" "0.0.0.0" "port" 8443 "gateways" (list (printf "%s-gateways:8000" (include "headrace.name" .))) "tls" (dict "enabled" .Values.edge.tls.enabled))
-}}
{{- if $models }}{{ $_ := set $tree "models" $models }}{{ $_ := set $tree "discovery" $discovery }}{{ end -}}
{{- if .Values.gateway.pepperSecret.name }}{{ $_ := set $tree.identity "pepper" "${HEADRACE_PEPPER}" }}{{ end -}}
{{- if include "headrace.stateOn" . }}{{ $_ := set $tree "state" (dict "url" "${HEADRACE_STATE_URL}") }}{{ end -}}
{{- if include "headrace.ledgerOn" . }}{{ $_ := set $tree "metering" (dict "url" "${HEADRACE_LEDGER_URL}") }}{{ end -}}
{{- if .Values.collector.enabled }}{{ $_ := set $tree "tracing" (dict "endpoint" (printf "http://%s-collector:4318" (include "headrace.name" .))) }}{{ end -}}
{{- $_ := mustMergeOverwrite $tree.edge (deepCopy .Values.edge.config) -}}
{{- $_ := mustMergeOverwrite $tree (deepCopy .Values.gateway.config) -}}
{{- /* Lists of people come beside ours, not in their place. */ -}}
{{- with .Values.gateway.config.models }}{{ $_ := set $tree "models" (concat $models .) }}{{ end -}}
{{- with .Values.gateway.config.discovery }}{{ $_ := set $tree "discovery" (concat $discovery .) }}{{ end -}}
{{- toYaml $tree -}}
{{- end -}}

{{/* What the edge is rendered from: nothing that a secret stands in. */}}
{{- define "headrace.edgeTree" -}}
{{- $tree := include "headrace.tree" . | fromYaml -}}
{{- toYaml (pick $tree "server" "timeouts" "models" "rules" "classes" "edge") -}}
{{- end -}}
