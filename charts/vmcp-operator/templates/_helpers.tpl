{{- define "vmcp-operator.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "vmcp-operator.selector" -}}
app.kubernetes.io/name: vmcp-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "vmcp-operator.labels" -}}
{{ include "vmcp-operator.selector" . }}
app.kubernetes.io/component: operator
app.kubernetes.io/part-of: vmcp
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "vmcp-operator.image" -}}
{{- $tag := default .appVersion .image.tag -}}
{{- with .image.registry }}{{ . }}/{{ end }}{{ .image.repository }}:{{ $tag }}
{{- end -}}

{{- /* What the operator may do where it works: api.md "RBAC", counted by tests/tests/charts. */}}
{{- define "vmcp-operator.rules" -}}
# Our own kinds: read, and write what we know about them. Nobody's spec is ever changed.
- apiGroups: [vmcp.dev]
  resources: [mcpservers, virtualmcpservers]
  verbs: [get, list, watch]
- apiGroups: [vmcp.dev]
  resources: [mcpservers/status, virtualmcpservers/status]
  verbs: [patch]
# What we build. No update: server-side apply is a patch.
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [services, serviceaccounts]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [rbac.authorization.k8s.io]
  resources: [rolebindings]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
# The session keys of a gateway. A Secret may be made; none can be read, changed or deleted.
- apiGroups: [""]
  resources: [secrets]
  verbs: [create]
# Why a container does not start.
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
# Which gateways are alive: each of them holds a Lease.
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [get, list, watch]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
# A RoleBinding may name this role and no other.
- apiGroups: [rbac.authorization.k8s.io]
  resources: [{{ if .Values.watchNamespaces }}roles{{ else }}clusterroles{{ end }}]
  resourceNames: [vmcp-gateway]
  verbs: [bind]
{{- end -}}

{{- /* What a gateway may do in its own namespace. */}}
{{- define "vmcp-gateway.rules" -}}
- apiGroups: [vmcp.dev]
  resources: [mcpservers, virtualmcpservers]
  verbs: [get, list, watch]
# A gateway could patch the status of its neighbours in the namespace; it does not.
- apiGroups: [vmcp.dev]
  resources: [virtualmcpservers/status]
  verbs: [patch]
# Its Lease vmcp-<name>. One role serves all gateways of a namespace, so no name can stand here.
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [get, create, patch]
# Backends that come and go wake a health check.
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [list, watch]
{{- end -}}
