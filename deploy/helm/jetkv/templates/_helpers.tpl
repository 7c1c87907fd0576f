{{- define "jetkv.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "jetkv.fullname" -}}
{{- $name := include "jetkv.name" . }}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else if contains $name .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "jetkv.selectorLabels" -}}
app.kubernetes.io/name: {{ include "jetkv.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "jetkv.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "jetkv.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "jetkv.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}
{{- end }}

{{- define "jetkv.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{ .Values.serviceAccount.name | default (include "jetkv.fullname" .) }}
{{- else -}}
{{ .Values.serviceAccount.name | default "default" }}
{{- end }}
{{- end }}

{{/* The Secret with the file of tokens, or nothing. */}}
{{- define "jetkv.tokensSecret" -}}
{{- if eq .Values.auth.mode "tokens" -}}
{{- if .Values.auth.existingSecret -}}
{{ .Values.auth.existingSecret }}
{{- else if .Values.auth.tokens -}}
{{ include "jetkv.fullname" . }}-tokens
{{- end }}
{{- end }}
{{- end }}

{{- define "jetkv.tokensKey" -}}
{{- if .Values.auth.existingSecret }}{{ .Values.auth.key }}{{ else }}tokens{{ end }}
{{- end }}

{{/* Names by which clients reach the gateway; without tokens, it answers under no other name with a dot. */}}
{{- define "jetkv.allowedHosts" -}}
{{- $names := list (printf "%s.%s" (include "jetkv.fullname" .) .Release.Namespace) "*.svc" "*.svc.cluster.local" }}
{{- if .Values.ingress.enabled }}{{ $names = concat $names .Values.ingress.hosts }}{{ end }}
{{- if .Values.httpRoute.enabled }}{{ $names = concat $names .Values.httpRoute.hostnames }}{{ end }}
{{- join "," (uniq $names) }}
{{- end }}

{{/* A stop takes 21 seconds with a request_timeout of 5, and the delay; four seconds are a margin. */}}
{{- define "jetkv.gracePeriod" -}}
{{- if .Values.terminationGracePeriodSeconds -}}
{{ .Values.terminationGracePeriodSeconds }}
{{- else -}}
{{- $timeout := float64 (default 5 (get .Values.settings "request_timeout")) -}}
{{- add 25 .Values.shutdownDelaySeconds (max 0 (int (ceil (subf $timeout 5.0)))) -}}
{{- end }}
{{- end }}
