{{/* Parts of pods: security, environment, the engine's arguments and volumes. */}}

{{/* headrace.podSecurity USER: the profile `restricted` of the Pod Security Standards. */}}
{{- define "headrace.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ int . }}
runAsGroup: {{ int . }}
fsGroup: {{ int . }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "headrace.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{- define "headrace.pullSecrets" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end -}}

{{/* headrace.spread (list $ COMPONENT HOW): over zones, then over nodes. */}}
{{- define "headrace.spread" -}}
{{- range $key := list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
- maxSkew: 1
  topologyKey: {{ $key }}
  whenUnsatisfiable: {{ index $ 2 }}
  labelSelector:
    matchLabels:
      {{- include "headrace.selector" (list (index $ 0) (index $ 1)) | nindent 6 }}
{{- end }}
{{- end -}}

{{/* headrace.gatewayEnv $: what headrace.yaml takes from the environment. */}}
{{- define "headrace.gatewayEnv" -}}
- name: HOME
  value: /var/lib/headrace
{{- if .Values.redis.urlSecret.name }}
- name: HEADRACE_STATE_URL
  valueFrom:
    secretKeyRef: {name: {{ .Values.redis.urlSecret.name }}, key: {{ .Values.redis.urlSecret.key }}}
{{- else if .Values.redis.enabled }}
- name: HEADRACE_STATE_URL
  value: redis://{{ include "headrace.name" . }}-redis:6379/0
{{- end }}
{{- if .Values.postgresql.urlSecret.name }}
- name: HEADRACE_LEDGER_URL
  valueFrom:
    secretKeyRef: {name: {{ .Values.postgresql.urlSecret.name }}, key: {{ .Values.postgresql.urlSecret.key }}}
{{- else if .Values.postgresql.enabled }}
- name: PGPASSWORD
  valueFrom:
    secretKeyRef: {name: {{ .Values.postgresql.passwordSecret.name }}, key: {{ .Values.postgresql.passwordSecret.key }}}
- name: HEADRACE_LEDGER_URL
  value: postgresql://headrace:$(PGPASSWORD)@{{ include "headrace.name" . }}-postgresql:5432/usage
{{- end }}
{{- if .Values.engineApiKey.secretName }}
- name: HEADRACE_ENGINE_KEY
  valueFrom:
    secretKeyRef: {name: {{ .Values.engineApiKey.secretName }}, key: {{ .Values.engineApiKey.key }}}
{{- end }}
{{- if .Values.gateway.pepperSecret.name }}
- name: HEADRACE_PEPPER
  valueFrom:
    secretKeyRef: {name: {{ .Values.gateway.pepperSecret.name }}, key: {{ .Values.gateway.pepperSecret.key }}}
{{- end }}
{{- range $name, $from := .Values.gateway.secretEnv }}
- name: {{ $name }}
  valueFrom:
    secretKeyRef: {name: {{ $from.name }}, key: {{ $from.key }}}
{{- end }}
{{- end -}}

{{/* headrace.engineArgs (list $ MODEL): the arguments of one engine, a list of strings. */}}
{{- define "headrace.engineArgs" -}}
{{- $m := index . 1 -}}
{{- if eq $m.engine "sim" }}
- --host=0.0.0.0
- --port=8000
- --model={{ $m.name }}
- --preset={{ $m.sim.preset }}
- --speed={{ $m.sim.speed }}
- --shutdown-timeout={{ include "headrace.shutdownSeconds" $m }}
{{- range $m.sim.extraArgs }}
- {{ . | quote }}
{{- end }}
{{- else }}
- {{ $m.model | quote }}
- --served-model-name={{ $m.name }}
- --host=0.0.0.0
- --port=8000
- --shutdown-timeout={{ include "headrace.shutdownSeconds" $m }}
{{- include "headrace.vllmArgs" $m }}
{{- end }}
{{- end -}}

{{- define "headrace.vllmArgs" -}}
{{- $v := .vllm }}
{{- $tensor := $v.tensorParallelSize | default .gpus }}
{{- if gt (int $tensor) 1 }}
- --tensor-parallel-size={{ int $tensor }}
{{- end }}
{{- $stages := $v.pipelineParallelSize | default .nodes }}
{{- if gt (int $stages) 1 }}
- --pipeline-parallel-size={{ int $stages }}
{{- end }}
{{- with $v.maxModelLen }}
- --max-model-len={{ int . }}
{{- end }}
{{- with $v.maxNumSeqs }}
- --max-num-seqs={{ int . }}
{{- end }}
{{- with $v.maxNumBatchedTokens }}
- --max-num-batched-tokens={{ int . }}
{{- end }}
{{- with $v.maxNumQueuedReqs }}
- --max-num-queued-reqs={{ int . }}
{{- end }}
- --gpu-memory-utilization={{ $v.gpuMemoryUtilization }}
- --dtype={{ $v.dtype }}
{{- with $v.quantization }}
- --quantization={{ . }}
{{- end }}
- --kv-cache-dtype={{ $v.kvCacheDtype }}
- {{ if $v.enablePrefixCaching }}--enable-prefix-caching{{ else }}--no-enable-prefix-caching{{ end }}
{{- with $v.toolCallParser }}
- --enable-auto-tool-choice
- --tool-call-parser={{ . }}
{{- end }}
{{- with $v.reasoningParser }}
- --reasoning-parser={{ . }}
{{- end }}
{{- if eq .source "s3" }}
- --load-format=runai_streamer
- {{ printf "--model-loader-extra-config={\"concurrency\":%d}" (int .s3.concurrency) | quote }}
{{- end }}
{{- range $v.extraArgs }}
- {{ . | quote }}
{{- end }}
{{- end -}}

{{/* headrace.engineEnv (list $ MODEL) */}}
{{- define "headrace.engineEnv" -}}
{{- $root := index . 0 }}{{ $m := index . 1 -}}
- name: HOME
  value: /tmp
{{- if eq $m.engine "vllm" }}
- name: USER
  value: vllm
- name: VLLM_CACHE_ROOT
  value: /cache/vllm
- name: HF_HOME
  value: /cache/huggingface
- name: VLLM_NO_USAGE_STATS
  value: "1"
{{- if $root.Values.engineApiKey.secretName }}
- name: VLLM_API_KEY
  valueFrom:
    secretKeyRef: {name: {{ $root.Values.engineApiKey.secretName }}, key: {{ $root.Values.engineApiKey.key }}}
{{- end }}
{{- if and (eq $m.source "huggingface") $m.huggingface.tokenSecret }}
- name: HF_TOKEN
  valueFrom:
    secretKeyRef: {name: {{ $m.huggingface.tokenSecret }}, key: {{ $m.huggingface.tokenKey }}}
{{- end }}
{{- if ne $m.source "huggingface" }}
- name: HF_HUB_OFFLINE
  value: "1"
{{- end }}
{{- if and (eq $m.source "s3") $m.s3.endpoint }}
- name: AWS_ENDPOINT_URL
  value: {{ $m.s3.endpoint | quote }}
- name: RUNAI_STREAMER_S3_USE_VIRTUAL_ADDRESSING
  value: "0"
{{- end }}
{{- end }}
{{- with $m.env }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* headrace.engineVolumes (list $ MODEL) */}}
{{- define "headrace.engineVolumes" -}}
{{- $m := index . 1 -}}
- name: tmp
  emptyDir: {}
- name: shm
  emptyDir: {medium: Memory, sizeLimit: {{ $m.shm }}}
- name: cache
{{- if $m.cache.enabled }}
  persistentVolumeClaim:
    claimName: {{ $m.cache.existingClaim | default (printf "%s-cache" (include "headrace.engineName" .)) }}
{{- else }}
  emptyDir: {}
{{- end }}
{{- if eq $m.source "pvc" }}
- name: models
  persistentVolumeClaim: {claimName: {{ $m.pvc.claimName }}, readOnly: true}
{{- else if eq $m.source "oci" }}
- name: models
  image: {reference: {{ $m.oci.reference }}, pullPolicy: IfNotPresent}
{{- end }}
{{- end -}}

{{- define "headrace.engineMounts" -}}
- {name: tmp, mountPath: /tmp}
- {name: shm, mountPath: /dev/shm}
- {name: cache, mountPath: /cache}
{{- if has .source (list "pvc" "oci") }}
- {name: models, mountPath: /models, readOnly: true}
{{- end }}
{{- end -}}

{{/* headrace.engineResources MODEL: the GPUs are a limit, which is their request, too. */}}
{{- define "headrace.engineResources" -}}
{{- $resources := deepCopy .resources -}}
{{- if and (eq .engine "vllm") (gt (int .gpus) 0) -}}
{{- $limits := get $resources "limits" | default dict -}}
{{- $_ := set $limits .gpuResource (int .gpus) -}}
{{- $_ := set $resources "limits" $limits -}}
{{- end -}}
{{- toYaml $resources -}}
{{- end -}}

{{/* headrace.enginePlace MODEL: on which nodes its pods may run. */}}
{{- define "headrace.enginePlace" -}}
{{- with .nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- $tolerations := .tolerations }}
{{- if and (eq .engine "vllm") (gt (int .gpus) 0) }}
{{- $tolerations = append $tolerations (dict "key" .gpuResource "operator" "Exists" "effect" "NoSchedule") }}
{{- end }}
{{- if .spot }}
{{- $tolerations = append $tolerations (dict "key" "headrace.dev/spot" "operator" "Exists" "effect" "NoSchedule") }}
{{- end }}
{{- with $tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/*
headrace.enginePod (list $ MODEL COMMAND ARGS WORKER): the spec of an engine's pod.

After SIGTERM vLLM finishes what it has and still says 200 to /health, so the endpoint must go
first: preStop waits while it does.
The other nodes of a group compute for the leader: they wait until it has finished, and get SIGTERM
after it.
*/}}
{{- define "headrace.enginePod" -}}
{{- $root := index . 0 }}{{ $m := index . 1 }}{{ $worker := index . 4 -}}
serviceAccountName: {{ include "headrace.name" $root }}-engine
automountServiceAccountToken: false
enableServiceLinks: false # a Service named vllm would set VLLM_PORT, which vLLM reads
{{- with include "headrace.pullSecrets" $root }}
{{ . | trim }}
{{- end }}
{{- with $m.runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
{{- with $m.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
terminationGracePeriodSeconds: {{ include "headrace.graceSeconds" $m }}
securityContext:
  {{- include "headrace.podSecurity" $m.runAsUser | nindent 2 }}
{{- include "headrace.enginePlace" $m }}
containers:
  - name: engine
    image: {{ include "headrace.engineImage" (list $root $m) | quote }}
    imagePullPolicy: {{ if eq $m.engine "sim" }}{{ $root.Values.image.pullPolicy }}{{ else }}{{ $m.image.pullPolicy }}{{ end }}
    command: {{ index . 2 | toJson }}
    args:
      {{- index . 3 | trim | nindent 6 }}
    env:
      {{- include "headrace.engineEnv" (list $root $m) | nindent 6 }}
      {{- if and (eq $m.source "s3") $m.s3.credentialsSecret }}
    envFrom:
      - secretRef: {name: {{ $m.s3.credentialsSecret }}}
      {{- end }}
    {{- if not $worker }}
    ports:
      - {name: http, containerPort: 8000}
    startupProbe:
      httpGet: {path: /health, port: http}
      periodSeconds: 10
      timeoutSeconds: 5
      failureThreshold: {{ max 3 (div (add (int $m.startupSeconds) 9) 10) }}
    readinessProbe:
      httpGet: {path: {{ if and $root.Values.engineApiKey.secretName (eq $m.engine "vllm") }}/health{{ else }}/v1/models{{ end }}, port: http}
      periodSeconds: 5
      timeoutSeconds: 5
      failureThreshold: 3
    livenessProbe:
      httpGet: {path: /health, port: http}
      periodSeconds: 10
      timeoutSeconds: 5
      failureThreshold: 6
    {{- end }}
    lifecycle:
      preStop:
        sleep: {seconds: {{ ternary (add (int $m.drain.preStopSeconds) (include "headrace.shutdownSeconds" $m | int)) (int $m.drain.preStopSeconds) $worker }}}
    resources:
      {{- include "headrace.engineResources" $m | nindent 6 }}
    securityContext:
      {{- include "headrace.containerSecurity" . | nindent 6 }}
    volumeMounts:
      {{- include "headrace.engineMounts" $m | nindent 6 }}
volumes:
  {{- include "headrace.engineVolumes" (list $root $m) | nindent 2 }}
{{- end -}}
