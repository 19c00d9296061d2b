{{/* What the pods of this chart have in common: they are restricted, all of them. */}}

{{/*
The token is mounted where it is needed only (`xaas.token`): automounting would give it to every
container of the pod, to the evaluator among them, which runs what users wrote.
*/}}
{{- define "xaas.podSecurity" -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  {{- with .Values.runAsUser }}
  runAsUser: {{ int64 . }}
  runAsGroup: {{ int64 . }}
  fsGroup: {{ int64 . }}
  {{- end }}
  seccompProfile: {type: RuntimeDefault}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "xaas.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}

{{/* Where the pods of a component may run: (list $ "operator" .Values.operator). */}}
{{- define "xaas.placement" -}}
{{- $root := index . 0 -}}
{{- $component := index . 1 -}}
{{- with index . 2 -}}
{{- with .nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .spread }}
topologySpreadConstraints:
  - topologyKey: kubernetes.io/hostname
    maxSkew: 1
    whenUnsatisfiable: {{ . }}
    labelSelector:
      matchLabels:
        {{- include "xaas.selector" (list $root $component) | nindent 8 }}
    matchLabelKeys: [pod-template-hash]
{{- end }}
{{- end }}
{{- end }}

{{/* The account's token, as automounting would project it. */}}
{{- define "xaas.token" -}}
name: token
projected:
  sources:
    - serviceAccountToken: {path: token, expirationSeconds: 3607}
    - configMap:
        name: kube-root-ca.crt
        items: [{key: ca.crt, path: ca.crt}]
    - downwardAPI:
        items: [{path: namespace, fieldRef: {fieldPath: metadata.namespace}}]
{{- end }}

{{- define "xaas.tokenMount" -}}
{name: token, mountPath: /var/run/secrets/kubernetes.io/serviceaccount, readOnly: true}
{{- end }}

{{/* Who the pod is, for the operator and the hook. */}}
{{- define "xaas.identity" -}}
- {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
- {name: POD_NAMESPACE, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}
- {name: DEPLOYMENT_NAME, value: {{ include "xaas.operator" . }}}
{{- end }}

{{/*
The evaluator: beside operator and API, in the runner image, with no token. An init container that
restarts always is up before the others and outlives them, so no evaluation fails in a roll-out.
*/}}
{{- define "xaas.evaluator" -}}
name: evaluator
image: {{ include "xaas.image" (list . .Values.runner.image) }}
imagePullPolicy: {{ .Values.runner.image.pullPolicy }}
restartPolicy: Always
args: [evaluate, --socket, /run/xaas/evaluator.sock]
resources:
  {{- toYaml .Values.evaluator.resources | nindent 2 }}
{{ include "xaas.containerSecurity" . }}
volumeMounts:
  - {name: run, mountPath: /run/xaas}
{{- end }}
