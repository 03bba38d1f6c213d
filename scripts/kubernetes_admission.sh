#!/usr/bin/env bash
# Has a real API server of Kubernetes, with etcd behind it, admit what deploy/kubernetes/ holds: in a namespace that enforces
# the restricted Pod Security Standard, with unknown fields refused and warnings as errors. Nothing is run: there are no
# nodes. Not part of the tests, since building the servers takes seven minutes of a core the first time.
#
#   scripts/kubernetes_admission.sh    Go 1.24 or later, kubectl and Python 3; binaries go to build/kubernetes
set -euo pipefail
# shellcheck source=common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

readonly binaries=$root/build/kubernetes
work=$(mktemp -d)
pids=()

clean_up() {
  stop_ticker
  if ((${#pids[@]} > 0)); then
    kill "${pids[@]}" 2>/dev/null || true
    wait "${pids[@]}" 2>/dev/null || true
  fi
  rm -rf "$work"
}

build_servers() {
  cd "$root/tests/deploy/apiserver" && mkdir -p "$binaries" &&
    GOTOOLCHAIN=local GOFLAGS=-p=$(build_jobs) go build -o "$binaries/" k8s.io/kubernetes/cmd/kube-apiserver &&
    GOTOOLCHAIN=local GOFLAGS=-p=$(build_jobs) go build -o "$binaries/etcd" go.etcd.io/etcd/server/v3
}

# Below those that connections take for themselves.
free_port() {
  python3 -c '
import random, socket
while True:
    port = random.randrange(10000, 30000)
    with socket.socket() as s:
        if s.connect_ex(("127.0.0.1", port)):
            break
print(port)'
}

# await COMMAND...: until it succeeds, or a server has ended.
await() {
  local pid
  until "$@" >/dev/null 2>&1; do
    for pid in "${pids[@]}"; do
      kill -0 "$pid" 2>/dev/null || { tail -n 20 "$work"/*.log && die "A server has ended; above is what it said."; }
    done
    sleep 0.5
  done
}

start_servers() {
  local etcd peer
  etcd=$(free_port) peer=$(free_port) port=$(free_port)
  "$binaries/etcd" --data-dir="$work/etcd" --listen-client-urls="http://127.0.0.1:$etcd" \
    --advertise-client-urls="http://127.0.0.1:$etcd" --listen-peer-urls="http://127.0.0.1:$peer" \
    --initial-advertise-peer-urls="http://127.0.0.1:$peer" --initial-cluster="default=http://127.0.0.1:$peer" \
    >"$work/etcd.log" 2>&1 </dev/null &
  pids+=($!)
  openssl genrsa -out "$work/accounts.key" 2048 2>/dev/null
  echo 'test,test,test,system:masters' >"$work/tokens.csv"
  # No controllers make service accounts here.
  "$binaries/kube-apiserver" --etcd-servers="http://127.0.0.1:$etcd" --secure-port="$port" --bind-address=127.0.0.1 \
    --cert-dir="$work/certificates" --service-account-issuer=https://kubernetes.default.svc \
    --service-account-key-file="$work/accounts.key" --service-account-signing-key-file="$work/accounts.key" \
    --service-cluster-ip-range=10.0.0.0/24 --token-auth-file="$work/tokens.csv" --authorization-mode=RBAC \
    --disable-admission-plugins=ServiceAccount --feature-gates=ImageVolume=true \
    >"$work/kube-apiserver.log" 2>&1 </dev/null &
  pids+=($!)
  await k get --raw /readyz
  await k get namespace default
}

k() {
  KUBECONFIG=$work/none kubectl --server="https://127.0.0.1:$port" --insecure-skip-tls-verify --token=test \
    --namespace=digits "$@"
}

# Where a module's files are, at the version that the tests of manifests use.
module() { (cd "$root/tests/deploy/manifests" && GOTOOLCHAIN=local go list -m -f '{{.Dir}}' "$1"); }

# The operator's own way from its types to the definitions of its kinds.
generate_monitoring_kinds() {
  cd "$root/tests/deploy/manifests" &&
    GOTOOLCHAIN=local GOFLAGS=-p=$(build_jobs) go run sigs.k8s.io/controller-tools/cmd/controller-gen@v0.19.0 crd \
      paths=github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1 output:crd:dir="$binaries/monitoring"
}

# The kinds that are not Kubernetes' own, the class of GPU nodes, and a namespace that takes restricted pods alone.
prepare_cluster() {
  k create --filename="$(module sigs.k8s.io/gateway-api)/config/crd/standard/gateway.networking.k8s.io_grpcroutes.yaml" \
    --filename="$(module sigs.k8s.io/gateway-api)/config/crd/standard/gateway.networking.k8s.io_httproutes.yaml" \
    --filename="$(module github.com/kubeflow/training-operator)/manifests/base/crds/kubeflow.org_pytorchjobs.yaml" \
    --filename="$binaries/monitoring/monitoring.coreos.com_podmonitors.yaml" \
    --filename="$binaries/monitoring/monitoring.coreos.com_prometheusrules.yaml" &&
    k wait --for=condition=Established crd --all --timeout=60s &&
    k create --filename=- <<'END'
apiVersion: v1
kind: Namespace
metadata:
  name: digits
  labels: {pod-security.kubernetes.io/enforce: restricted, pod-security.kubernetes.io/warn: restricted}
---
apiVersion: node.k8s.io/v1
kind: RuntimeClass
metadata: {name: nvidia}
handler: nvidia
END
}

apply() { k apply --server-side --force-conflicts --validate=strict --warnings-as-errors --filename=-; }

# The pod that a controller would make of what has just been applied.
pod_of() {
  k get "$1" -o json | python3 -c '
import json, sys
template = json.load(sys.stdin)["spec"]["template"]
json.dump({"apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "pod-", "labels": template["metadata"]["labels"]},
           "spec": template["spec"]}, sys.stdout)'
}

# admit OVERLAY [COMPONENT...]: all of it, and a pod of it.
admit() {
  local folder=$work/kubernetes/own kind=deployment/denoised
  mkdir -p "$folder"
  printf 'resources: [../%s]\ncomponents: [%s]\n' "$1" "$(printf '../%s, ' "${@:2}" | sed -E 's/, $//; s/^\.\.\/$//')" \
    >"$folder/kustomization.yaml"
  [[ $1 != training/job ]] || kind=job/denoise-train
  kubectl kustomize "$folder" | apply || return 1
  if [[ $1 == training/pytorchjob ]]; then return; fi
  pod_of "$kind" | k create --filename=-
}

refuse_a_pod_that_is_not_restricted() {
  ! pod_of deployment/denoised | sed 's/"seccompProfile": {[^}]*}/"runAsNonRoot": true/' | k create --filename=- 2>"$work/refusal" ||
    return 1
  cat "$work/refusal"
  grep -q 'violates PodSecurity "restricted:latest": seccompProfile' "$work/refusal"
}

admit_rules() { "$root/deploy/kubernetes/prometheus_rules.sh" | apply; }

trap clean_up EXIT
(($# == 0)) || die "usage: scripts/kubernetes_admission.sh"
for program in go kubectl python3 openssl; do
  command -v $program >/dev/null || die "$program is not installed; Go 1.24 or later, kubectl, Python 3 and OpenSSL are needed."
done
stage "Building the API server" kubernetes-build.log build_servers
stage "Generating the operator's kinds" kubernetes-kinds.log generate_monitoring_kinds
start_servers
cp -R "$root/deploy/kubernetes" "$work/kubernetes"
stage "Preparing a cluster without nodes" kubernetes-cluster.log prepare_cluster
failed=0
stage "cpu" kubernetes-cpu.log admit overlays/cpu || failed=1
stage "No pod without seccompProfile" kubernetes-refused.log refuse_a_pod_that_is_not_restricted || failed=1
stage "cpu, gateway" kubernetes-gateway.log admit overlays/cpu components/gateway || failed=1
stage "cpu, a page, TLS, tokens, traces" kubernetes-components.log admit overlays/cpu components/{gateway,page,page-gateway,traces,tls,tokens} ||
  failed=1
stage "gpu" kubernetes-gpu.log admit overlays/gpu || failed=1
stage "autoscaled" kubernetes-autoscaled.log admit overlays/autoscaled || failed=1
for source in claim image init; do
  stage "cpu, checkpoint from $source" "kubernetes-$source.log" admit overlays/cpu "components/checkpoint-$source" || failed=1
done
stage "training" kubernetes-training.log admit training/job || failed=1
stage "PyTorchJob" kubernetes-pytorchjob.log admit training/pytorchjob || failed=1
stage "Prometheus' rules" kubernetes-rules.log admit_rules || failed=1
((failed == 0))
