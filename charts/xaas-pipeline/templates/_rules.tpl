{{/*
What each of our accounts may do, and nothing else. No value changes these rules; a test compares
them with what the code calls.
*/}}

{{/* The operator, in all namespaces. */}}
{{- define "xaas.rules.operator" -}}
# Definitions are users'; the operator reads them and says whether they can be used.
- apiGroups: [xaas.dev]
  resources: [pipelines, pipelinetasks]
  verbs: [get, list, watch]
- apiGroups: [xaas.dev]
  resources: [pipelines/status, pipelinetasks/status]
  verbs: [patch]
# create: scripts make runs; patch: finalizer and labels; delete: ttlAfterFinished.
- apiGroups: [xaas.dev]
  resources: [pipelineruns]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [xaas.dev]
  resources: [pipelineruns/status]
  verbs: [patch]
- apiGroups: [xaas.dev]
  resources: [pipelinetaskruns]
  verbs: [get, list, watch, create, patch]
# The plan of a run.
- apiGroups: [apps]
  resources: [controllerrevisions]
  verbs: [get, create]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, patch, delete]
# patch: a deadline ends a pod and leaves its logs.
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch, patch]
- apiGroups: [""]
  resources: [pods/log]
  verbs: [get]
# list: why a pod doesn't start.
- apiGroups: [""]
  resources: [events]
  verbs: [list, create]
{{- end }}

{{/* The operator, in its own namespace. `create` can't be limited to a name. */}}
{{- define "xaas.rules.operator.own" -}}
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [create]
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames: [{{ include "xaas.operator" . }}]
  verbs: [get, update]
# The key that signs the runners' tokens: made by the operator, owned by its Deployment.
- apiGroups: [""]
  resources: [secrets]
  verbs: [create]
- apiGroups: [""]
  resources: [secrets]
  resourceNames: [{{ include "xaas.keySecret" . }}]
  verbs: [get]
- apiGroups: [apps]
  resources: [deployments]
  resourceNames: [{{ include "xaas.operator" . }}]
  verbs: [get]
- apiGroups: [""]
  resources: [services]
  resourceNames: [{{ include "xaas.gateway" . }}]
  verbs: [get]
{{- end }}

{{/* The API, in all namespaces: for whom it acts is asked by a review before each call. */}}
{{- define "xaas.rules.api" -}}
- apiGroups: [xaas.dev]
  resources: [pipelines, pipelinetasks]
  verbs: [get, list, watch, create, update, delete]
- apiGroups: [xaas.dev]
  resources: [pipelineruns]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [xaas.dev]
  resources: [pipelinetaskruns]
  verbs: [get, list]
# create: the plan of a new run, while no operator works.
- apiGroups: [apps]
  resources: [controllerrevisions]
  verbs: [get, create]
# Logs: found by what a Job and its pod say of themselves.
- apiGroups: [batch]
  resources: [jobs]
  verbs: [list]
- apiGroups: [""]
  resources: [pods]
  verbs: [list]
- apiGroups: [""]
  resources: [pods/log]
  verbs: [get]
- apiGroups: [authentication.k8s.io]
  resources: [tokenreviews]
  verbs: [create]
- apiGroups: [authorization.k8s.io]
  resources: [subjectaccessreviews]
  verbs: [create]
{{- end }}

{{/* The hook before an uninstall, in all namespaces: it takes the finalizer off runs,
and ends runners. */}}
{{- define "xaas.rules.uninstall" -}}
- apiGroups: [xaas.dev]
  resources: [pipelineruns]
  verbs: [get, list, update, patch]
# Runners, whom nobody would answer.
- apiGroups: [batch]
  resources: [jobs]
  verbs: [list, delete]
{{- end }}

{{/* The hook, in the release's namespace: it stops operator and API, and waits until their pods are gone. */}}
{{- define "xaas.rules.uninstall.own" -}}
- apiGroups: [apps]
  resources: [deployments, deployments/scale]
  resourceNames: [{{ include "xaas.operator" . }}, {{ include "xaas.api" . }}]
  verbs: [get, patch]
- apiGroups: [""]
  resources: [pods]
  verbs: [list]
{{- end }}

{{/* `helm test`, in the release's namespace: what a user does. */}}
{{- define "xaas.rules.test" -}}
- apiGroups: [xaas.dev]
  resources: [pipelines, pipelinetasks]
  verbs: [list, create, delete]
- apiGroups: [xaas.dev]
  resources: [pipelineruns]
  verbs: [get, create, delete]
- apiGroups: [xaas.dev]
  resources: [pipelinetaskruns]
  verbs: [get, list]
{{- end }}

{{/* Users who look on. */}}
{{- define "xaas.rules.view" -}}
- apiGroups: [xaas.dev]
  resources: [pipelines, pipelinetasks, pipelineruns, pipelinetaskruns]
  verbs: [get, list, watch]
{{- end }}

{{/* Users who work. Task runs and every status are the product's alone. */}}
{{- define "xaas.rules.edit" -}}
- apiGroups: [xaas.dev]
  resources: [pipelines, pipelinetasks, pipelineruns]
  verbs: [create, update, patch, delete, deletecollection]
{{- end }}
