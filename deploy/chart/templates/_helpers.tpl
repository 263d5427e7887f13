{{- define "lalafo.tag" -}}
{{- .Values.images.tag | default .Chart.AppVersion -}}
{{- end -}}

{{- define "lalafo.worker" -}}
{{ .Values.images.worker }}:{{ include "lalafo.tag" . }}
{{- end -}}

{{- define "lalafo.labels" -}}
app.kubernetes.io/part-of: lalafo-vision
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* Kubernetes' "restricted" standard, with any user id. */}}
{{- define "lalafo.podSecurity" -}}
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  seccompProfile: {type: RuntimeDefault}
{{- with .Values.images.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end -}}

{{- define "lalafo.containerSecurity" -}}
imagePullPolicy: {{ .Values.images.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end -}}

{{/* Variables: settings, the Secret, and a home that can be written. */}}
{{- define "lalafo.environment" -}}
{{ include "lalafo.environmentOf" (list . "lalafo-settings") }}
{{- end -}}

{{- define "lalafo.environmentOf" -}}
{{- $root := index . 0 -}}
envFrom:
  - configMapRef: {name: {{ index . 1 }}}
  - secretRef: {name: {{ $root.Values.secret }}}
env:
  - {name: LALAFO_HOME, value: /var/lib/lalafo}
  - {name: HOME, value: /var/lib/lalafo}
  - {name: USER, value: lalafo}
  - {name: LOGNAME, value: lalafo}
{{- end -}}

{{- define "lalafo.mounts" -}}
volumeMounts:
  - {name: home, mountPath: /var/lib/lalafo}
  - {name: tmp, mountPath: /tmp}
  {{- if .Values.filesSecret }}
  - {name: files, mountPath: /etc/lalafo, readOnly: true}
  {{- end }}
{{- end -}}

{{/* The same, for processes that open Dagster's instance. */}}
{{- define "lalafo.dagsterMounts" -}}
{{ include "lalafo.mounts" . }}
  - {name: dagster-storage, mountPath: /opt/lalafo/dagster/storage}
{{- end -}}

{{- define "lalafo.volumes" -}}
volumes:
  - name: home
    emptyDir: {sizeLimit: 4Gi}
  - name: tmp
    emptyDir: {}
  - name: dagster-storage
    emptyDir: {}
  {{- if .Values.filesSecret }}
  - name: files
    secret: {secretName: {{ .Values.filesSecret }}}
  {{- end }}
{{- end -}}
