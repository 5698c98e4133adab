{{- define "deepspeed-operator.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "deepspeed-operator.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{/* Only these two: a Deployment's selector can never be changed. */}}
{{- define "deepspeed-operator.selectorLabels" -}}
app.kubernetes.io/name: {{ include "deepspeed-operator.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "deepspeed-operator.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "deepspeed-operator.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "deepspeed-operator.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "deepspeed-operator.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "deepspeed-operator.image" -}}
{{- with .Values.image.registry }}{{ . }}/{{ end }}{{ .Values.image.repository }}
{{- if .Values.image.digest }}@{{ .Values.image.digest }}{{ else }}:{{ default .Chart.AppVersion .Values.image.tag }}{{ end }}
{{- end }}

{{/* "true" or "false". */}}
{{- define "deepspeed-operator.watchNodes" -}}
{{- if kindIs "bool" .Values.controller.watchNodes }}{{ .Values.controller.watchNodes }}{{ else }}{{ empty .Values.watchNamespaces }}{{ end }}
{{- end }}

{{/* Stops with a sentence when values do not go together. */}}
{{- define "deepspeed-operator.check" -}}
{{- if and (gt (int .Values.replicaCount) 1) (not .Values.leaderElection.enabled) }}
{{- fail (printf "replicaCount is %d, but leaderElection.enabled is false; without it all of them would act, so enable it or use one replica" (int .Values.replicaCount)) }}
{{- end }}
{{- if and .Values.podDisruptionBudget.enabled (ge (int .Values.podDisruptionBudget.minAvailable) (int .Values.replicaCount)) }}
{{- fail (printf "podDisruptionBudget.minAvailable is %d and replicaCount %d, so no machine with the operator could ever be drained; raise replicaCount, or disable the budget" (int .Values.podDisruptionBudget.minAvailable) (int .Values.replicaCount)) }}
{{- end }}
{{- if and .Values.metrics.enabled (eq (int .Values.metrics.port) (int .Values.healthPort)) }}
{{- fail (printf "metrics.port and healthPort are both %d; give each its own" (int .Values.healthPort)) }}
{{- end }}
{{- if and .Values.metrics.tlsSecretName (not .Values.metrics.secure) }}
{{- fail "metrics.tlsSecretName is set, but metrics.secure is false, so nothing would use the certificate; set metrics.secure, or remove it" }}
{{- end }}
{{- if and .Values.metrics.secure (not .Values.metrics.enabled) }}
{{- fail "metrics.secure is true, but metrics.enabled is false, so there is nothing to secure; enable metrics, or leave secure out" }}
{{- end }}
{{- if and .Values.metrics.serviceMonitor.enabled (not .Values.metrics.enabled) }}
{{- fail "metrics.serviceMonitor.enabled is true, but metrics.enabled is false, so there is nothing to scrape; enable metrics, or disable the ServiceMonitor" }}
{{- end }}
{{- if and .Values.serviceAccount.create (not .Values.serviceAccount.automount) (not .Values.extraVolumes) }}
{{- fail "serviceAccount.automount is false and there are no extraVolumes, so the operator would have no token for the API server; mount one with extraVolumes and extraVolumeMounts, or leave automount on" }}
{{- end }}
{{- end }}

{{/* Stops with a sentence when an API that a switch needs is not in the cluster: list CONTEXT API SWITCH. */}}
{{- define "deepspeed-operator.needs" -}}
{{- $root := index . 0 }}
{{- if not ($root.Capabilities.APIVersions.Has (index . 1)) }}
{{- fail (printf "%s is true, but this cluster does not have %s; install the Prometheus operator first, or set it to false" (index . 2) (index . 1)) }}
{{- end }}
{{- end }}
