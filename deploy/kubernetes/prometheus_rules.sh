#!/bin/sh
# The rules of deploy/prometheus/ for the Prometheus Operator: deploy/kubernetes/prometheus_rules.sh | kubectl apply -f -
set -eu
cd "$(dirname "$0")/../prometheus"
for name in recording alerts; do
  printf -- '---\napiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\nmetadata:\n  name: denoised-%s\n' "$name"
  printf '  labels: {app.kubernetes.io/name: denoised}\nspec:\n'
  sed 's/^/  /' "$name.rules.yml"
done
