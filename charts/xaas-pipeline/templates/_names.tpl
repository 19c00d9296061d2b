{{/* Names and labels. Everything that is called something is called so here. */}}

{{- define "xaas.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" -}}
{{- end }}

{{/* 50 characters leave room for the longest suffix in the 63 of a Service's name. */}}
{{- define "xaas.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains (include "xaas.name" .) .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "xaas.name" .) | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end }}

{{- define "xaas.operator" -}}{{ include "xaas.fullname" . }}-operator{{- end }}
{{- define "xaas.api" -}}{{ include "xaas.fullname" . }}-api{{- end }}
{{- define "xaas.gateway" -}}{{ include "xaas.fullname" . }}-gateway{{- end }}
{{- define "xaas.keySecret" -}}{{ include "xaas.fullname" . }}-gateway-key{{- end }}
{{- define "xaas.uninstall" -}}{{ include "xaas.fullname" . }}-uninstall{{- end }}
{{- define "xaas.test" -}}{{ include "xaas.fullname" . }}-test{{- end }}

{{/* What selects the pods of a component: (list $ "operator"). It never changes in an upgrade. */}}
{{- define "xaas.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ include "xaas.name" $root }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{/* Labels of an object: (list $ "operator"). */}}
{{- define "xaas.labels" -}}
{{- $root := index . 0 -}}
{{ include "xaas.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- end }}

{{/* What selects the pods of steps, in every namespace; the launcher labels them so. */}}
{{- define "xaas.steps" -}}
app.kubernetes.io/managed-by: xaas-pipeline
app.kubernetes.io/component: step
{{- end }}

{{/* An image as a pod names it: (list $ .Values.image). */}}
{{- define "xaas.image" -}}
{{- $root := index . 0 -}}
{{- with index . 1 -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $root.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end }}
