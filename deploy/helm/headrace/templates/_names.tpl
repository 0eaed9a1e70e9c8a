{{/* Names, labels and images. What goes into pods is _pods.tpl's, headrace.yaml is _config.tpl's. */}}

{{- define "headrace.name" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* headrace.labels (list $ COMPONENT): all labels of an object. */}}
{{- define "headrace.labels" -}}
{{- $root := index . 0 -}}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | quote }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
{{ include "headrace.selector" . }}
{{- with $root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* headrace.selector (list $ COMPONENT): those that select pods, and never change. */}}
{{- define "headrace.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: headrace
app.kubernetes.io/instance: {{ $root.Release.Name | quote }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{/* headrace.podLabels (list $ COMPONENT): no version, so that an upgrade restarts no engine for it. */}}
{{- define "headrace.podLabels" -}}
{{ include "headrace.selector" . }}
{{- with (index . 0).Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* headrace.slug NAME: a model's name as a part of names of objects. */}}
{{- define "headrace.slug" -}}
{{- regexReplaceAll "[^a-z0-9]+" (lower .) "-" | trimPrefix "-" | trunc 22 | trimSuffix "-" -}}
{{- end -}}

{{/* headrace.engineName (list $ MODEL) */}}
{{- define "headrace.engineName" -}}
{{- printf "%s-%s" (include "headrace.name" (index . 0)) (include "headrace.slug" (index . 1).name) -}}
{{- end -}}

{{/* headrace.engineSelector (list $ MODEL): those of one model's pods. */}}
{{- define "headrace.engineSelector" -}}
{{ include "headrace.selector" (list (index . 0) "engine") }}
headrace.dev/model: {{ include "headrace.slug" (index . 1).name | quote }}
{{- end -}}

{{- define "headrace.image" -}}
{{- printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) -}}
{{- end -}}

{{/* headrace.engineImage (list $ MODEL): the simulated engine is in the gateway's image. */}}
{{- define "headrace.engineImage" -}}
{{- $m := index . 1 -}}
{{- if eq $m.engine "sim" -}}
{{- include "headrace.image" (index . 0) -}}
{{- else -}}
{{- printf "%s:%s" $m.image.repository $m.image.tag -}}
{{- end -}}
{{- end -}}

{{/* headrace.graceSeconds MODEL: how long the end of an engine's pod may take. */}}
{{- define "headrace.graceSeconds" -}}
{{- if .spot -}}
{{- $shutdown := min (int .drain.shutdownSeconds) (sub 95 (int .drain.preStopSeconds)) -}}
{{- add (int .drain.preStopSeconds) $shutdown 15 -}}
{{- else -}}
{{- add (int .drain.preStopSeconds) (int .drain.shutdownSeconds) 15 -}}
{{- end -}}
{{- end -}}

{{/* headrace.shutdownSeconds MODEL: the part of it that running requests have. */}}
{{- define "headrace.shutdownSeconds" -}}
{{- sub (include "headrace.graceSeconds" . | int) (add (int .drain.preStopSeconds) 15) -}}
{{- end -}}

{{- define "headrace.ledgerOn" -}}
{{- if or .Values.postgresql.enabled .Values.postgresql.urlSecret.name }}yes{{ end -}}
{{- end -}}

{{- define "headrace.stateOn" -}}
{{- if or .Values.redis.enabled .Values.redis.urlSecret.name }}yes{{ end -}}
{{- end -}}
