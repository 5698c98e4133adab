{{/*
What the operator may do in a namespace it looks after. Each verb is one that it uses, which tests/Operator.Tests/Chart checks.
Of secrets it makes and deletes those of the rendezvous; it can read none (docs/decisions/0006).
*/}}
{{- define "deepspeed-operator.jobRules" -}}
- apiGroups: [deepspeedsharp.dev]
  resources: [deepspeedjobs]
  # get: after a write whose answer was lost. delete: jobs with ttlSecondsAfterFinished.
  verbs: [get, list, watch, delete]
- apiGroups: [deepspeedsharp.dev]
  resources: [deepspeedjobs/status]
  verbs: [patch]
# Clusters that guard owner references ask for this one.
- apiGroups: [deepspeedsharp.dev]
  resources: [deepspeedjobs/finalizers]
  verbs: [update]
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch, create, delete]
- apiGroups: [""]
  resources: [services]
  verbs: [get, list, watch, create, patch]
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, list, create, delete]
- apiGroups: [""]
  resources: [secrets]
  verbs: [create, delete]
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  verbs: [get, create]
# Only for jobs with network.policy and scheduling.podDisruptionBudget.
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, create, patch]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, create, patch, delete]
{{- range $name, $group := dict "volcano" "scheduling.volcano.sh" "coscheduling" "scheduling.x-k8s.io" }}
{{- if has $name $.Values.rbac.gangSchedulers }}
- apiGroups: [{{ $group }}]
  resources: [podgroups]
  verbs: [get, list, {{ if eq $name "volcano" }}watch, {{ end }}create, patch, delete]
{{- end }}
{{- end }}
{{- if has "kueue" .Values.rbac.gangSchedulers }}
# To tell Kueue on a pod that its group gets no more, and to let pods go that were deleted while they waited in a queue.
- apiGroups: [""]
  resources: [pods]
  verbs: [patch]
- apiGroups: [kueue.x-k8s.io]
  resources: [workloads]
  verbs: [get, delete]
{{- end }}
- apiGroups: [""]
  resources: [events]
  verbs: [create, patch]
{{- end }}

{{/* What only a ClusterRole can give; nothing in single namespaces, unless a switch asks for it. */}}
{{- define "deepspeed-operator.clusterRules" -}}
{{- if not .Values.watchNamespaces }}
{{ include "deepspeed-operator.jobRules" . }}
# To see at its start whether the definition is as new as the operator.
- apiGroups: [apiextensions.k8s.io]
  resources: [customresourcedefinitions]
  resourceNames: [deepspeedjobs.deepspeedsharp.dev]
  verbs: [get]
{{- end }}
{{- if eq (include "deepspeed-operator.watchNodes" .) "true" }}
# To notice soon that a machine does not answer.
- apiGroups: [""]
  resources: [nodes]
  verbs: [list, watch]
{{- end }}
{{- if and .Values.metrics.enabled .Values.metrics.secure }}
# To ask who reads the metrics.
- apiGroups: [authentication.k8s.io]
  resources: [tokenreviews]
  verbs: [create]
- apiGroups: [authorization.k8s.io]
  resources: [subjectaccessreviews]
  verbs: [create]
{{- end }}
{{- end }}
