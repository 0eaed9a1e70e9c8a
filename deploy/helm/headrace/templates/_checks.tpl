{{/* What the schema cannot say. Rendered once, by configmap.yaml; each failure says what to do. */}}

{{- define "headrace.checks" -}}
{{- $slugs := dict -}}
{{- range $given := .Values.models -}}
{{- $m := mustMergeOverwrite (deepCopy $.Values.modelDefaults) (deepCopy $given) -}}
{{- $slug := include "headrace.slug" $m.name -}}
{{- if hasKey $slugs $slug -}}
{{- fail (printf "models: %q and %q would have objects of the same name; change one of the names." $m.name (get $slugs $slug)) -}}
{{- end -}}
{{- $_ := set $slugs $slug $m.name -}}
{{- include "headrace.checkModel" (list $ $m) -}}
{{- end -}}
{{- if and (not .Values.models) (not .Values.gateway.config.backends) (not .Values.gateway.config.discovery) -}}
{{- fail "models: is empty; name a model, or engines that run elsewhere in gateway.config.backends." -}}
{{- end -}}
{{- if and .Values.postgresql.enabled (not .Values.postgresql.passwordSecret.name) -}}
{{- fail "postgresql.passwordSecret.name: is empty; create a Secret with a password and name it." -}}
{{- end -}}
{{- if and (not .Values.gateway.anonymous) (not .Values.gateway.pepperSecret.name) (not .Values.gateway.config.identity) -}}
{{- fail "gateway.pepperSecret.name: is empty, so gateways would not know each other's API keys; create a Secret with a pepper of 32 random letters and name it, or let everybody in (gateway.anonymous: true)." -}}
{{- end -}}
{{- if and (not .Values.gateway.anonymous) (not (include "headrace.stateOn" .)) (not .Values.gateway.config.identity) -}}
{{- fail "redis: is off, so API keys have no place; name one in redis.urlSecret, set gateway.config.identity, or let everybody in (gateway.anonymous: true)." -}}
{{- end -}}
{{- range list "loki" "tempo" -}}
{{- if and (index $.Values.trial .).enabled (not $.Values.collector.enabled) -}}
{{- fail (printf "trial.%s: nothing sends to it; set collector.enabled: true." .) -}}
{{- end -}}
{{- end -}}
{{- if .Values.karpenter.enabled -}}
{{- include "headrace.checkKarpenter" . -}}
{{- end -}}
{{- end -}}

{{- define "headrace.checkModel" -}}
{{- $m := index . 1 -}}
{{- $at := printf "models: %s: " $m.name -}}
{{- if and (eq $m.engine "vllm") (not $m.model) -}}
{{- fail (print $at "`model` is empty; give a repository, s3://bucket/path or a path below /models.") -}}
{{- end -}}
{{- if and (eq $m.source "s3") (not (hasPrefix "s3://" $m.model)) -}}
{{- fail (print $at "`source` is s3, so `model` must begin with s3://.") -}}
{{- end -}}
{{- if and (eq $m.source "pvc") (not $m.pvc.claimName) -}}
{{- fail (print $at "`source` is pvc; name the claim in pvc.claimName.") -}}
{{- end -}}
{{- if and (eq $m.source "oci") (not $m.oci.reference) -}}
{{- fail (print $at "`source` is oci; name the image in oci.reference.") -}}
{{- end -}}
{{- if and (gt (int $m.nodes) 1) (ne $m.engine "vllm") -}}
{{- fail (print $at "`nodes` above 1 is for vllm.") -}}
{{- end -}}
{{- if and $m.spot (lt (include "headrace.shutdownSeconds" $m | int) 10) -}}
{{- fail (print $at "drain.preStopSeconds leaves running requests less than 10 s of Spot's two minutes; lower it.") -}}
{{- end -}}
{{- if lt (int $m.autoscaling.maxReplicas) (max 1 (int $m.autoscaling.minReplicas)) -}}
{{- fail (print $at "autoscaling.maxReplicas is below minReplicas.") -}}
{{- end -}}
{{- end -}}

{{- define "headrace.checkKarpenter" -}}
{{- if or (not .Values.karpenter.clusterName) (not .Values.karpenter.nodeRole) -}}
{{- fail "karpenter: needs clusterName and nodeRole." -}}
{{- end -}}
{{- if lt (int .Values.karpenter.consolidateAfterSeconds) (include "headrace.longestGrace" . | int) -}}
{{- fail (printf "karpenter.consolidateAfterSeconds: a node must outlive what drains on it; give at least %s." (include "headrace.longestGrace" .)) -}}
{{- end -}}
{{- end -}}

{{/* headrace.longestGrace $: the longest end of an engine's pod in seconds. */}}
{{- define "headrace.longestGrace" -}}
{{- $longest := 60 -}}
{{- range $given := .Values.models -}}
{{- $m := mustMergeOverwrite (deepCopy $.Values.modelDefaults) (deepCopy $given) -}}
{{- $longest = max $longest (include "headrace.graceSeconds" $m | int) -}}
{{- end -}}
{{- $longest -}}
{{- end -}}
