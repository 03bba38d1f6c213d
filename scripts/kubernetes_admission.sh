#!/usr/bin/env bash
# Has a real API server of Kubernetes, with etcd behind it, admit what deploy/kubernetes/ holds, every folder that is there: each in
# a namespace of its own that enforces the restricted Pod Security Standard, with unknown fields refused and warnings as errors.
# Nothing is run: there are no nodes. Not part of the tests, since building the servers takes ten minutes of a core the first time.
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
  namespace=default
  await k get --raw /readyz
  await k get namespace default
}

k() {
  KUBECONFIG=$work/none kubectl --server="https://127.0.0.1:$port" --insecure-skip-tls-verify --token=test \
    --namespace="$namespace" "$@"
}

# Where a module's files are, at the version that the tests of manifests use.
module() { (cd "$root/tests/deploy/manifests" && GOTOOLCHAIN=local go list -m -f '{{.Dir}}' "$1"); }

# The operator's own way from its types to the definitions of its kinds.
generate_monitoring_kinds() {
  cd "$root/tests/deploy/manifests" &&
    GOTOOLCHAIN=local GOFLAGS=-p=$(build_jobs) go run sigs.k8s.io/controller-tools/cmd/controller-gen@v0.19.0 crd \
      paths=github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1 output:crd:dir="$binaries/monitoring"
}

# The kinds that are not Kubernetes' own, and the class of GPU nodes.
prepare_cluster() {
  k create --filename="$(module sigs.k8s.io/gateway-api)/config/crd/standard/gateway.networking.k8s.io_grpcroutes.yaml" \
    --filename="$(module sigs.k8s.io/gateway-api)/config/crd/standard/gateway.networking.k8s.io_httproutes.yaml" \
    --filename="$(module github.com/kubeflow/training-operator)/manifests/base/crds/kubeflow.org_pytorchjobs.yaml" \
    --filename="$(module github.com/kedacore/keda/v2)/config/crd/bases/keda.sh_scaledobjects.yaml" \
    --filename="$binaries/monitoring/monitoring.coreos.com_podmonitors.yaml" \
    --filename="$binaries/monitoring/monitoring.coreos.com_prometheusrules.yaml" &&
    k wait --for=condition=Established crd --all --timeout=60s &&
    k create --filename=- <<'END'
apiVersion: node.k8s.io/v1
kind: RuntimeClass
metadata: {name: nvidia}
handler: nvidia
END
}

apply() { k apply --server-side --force-conflicts --validate=strict --warnings-as-errors --filename=-; }

# One that takes restricted pods alone; none is ever deleted, as no controller empties it.
use_namespace() {
  namespace=$1
  k create --filename=- <<END
apiVersion: v1
kind: Namespace
metadata:
  name: $namespace
  labels: {pod-security.kubernetes.io/enforce: restricted, pod-security.kubernetes.io/warn: restricted}
END
}

# A pod of each template in the namespace, as controllers would make them.
pods() {
  k get deployments,jobs,pytorchjobs --output=json | python3 -c '
import json, sys
pods = []
for workload in json.load(sys.stdin)["items"]:
    spec = workload["spec"]
    for holder in spec.get("pytorchReplicaSpecs", {"": spec}).values():
        template = holder["template"]
        pods.append({"apiVersion": "v1", "kind": "Pod", "spec": template["spec"],
                     "metadata": {"generateName": "pod-", "labels": template["metadata"].get("labels", {})}})
json.dump({"apiVersion": "v1", "kind": "List", "items": pods}, sys.stdout)'
}

# admit NAMESPACE FOLDER [COMPONENT...]: all of it, and a pod of each template, of which there is one at least.
admit() {
  local folder=$work/kubernetes/own
  use_namespace "$1" || return 1
  mkdir -p "$folder"
  printf 'resources: [../%s]\ncomponents: [%s]\n' "$2" "$(printf '../%s, ' "${@:3}" | sed -E 's/, $//; s/^\.\.\/$//')" \
    >"$folder/kustomization.yaml"
  kubectl kustomize "$folder" | apply || return 1
  [[ $2 == training/volumes ]] || pods | k create --filename=-
}

# folders OF: those in deploy/kubernetes/OF that kustomize builds.
folders() { (cd "$root/deploy/kubernetes" && printf '%s\n' "$1"/*/kustomization.yaml | sed 's,/kustomization.yaml$,,'); }

refuse_a_pod_that_is_not_restricted() {
  ! pods | sed 's/"seccompProfile": {[^}]*}/"runAsNonRoot": true/' | k create --filename=- 2>"$work/refusal" || return 1
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
for folder in $(folders overlays) $(folders training); do
  stage "$folder" "kubernetes-${folder//\//-}.log" admit "${folder//\//-}" "$folder" || failed=1
done
for component in $(folders components); do
  stage "$component" "kubernetes-${component//\//-}.log" admit "${component//\//-}" overlays/cpu "$component" || failed=1
done
# Of the three sources of a checkpoint one, and KEDA brings monitoring.
mapfile -t together < <(folders components | grep -vE 'checkpoint-(image|init)|monitoring')
stage "All components together" kubernetes-together.log admit together overlays/gpu "${together[@]}" || failed=1
stage "No pod without seccompProfile" kubernetes-refused.log refuse_a_pod_that_is_not_restricted || failed=1
stage "Prometheus' rules" kubernetes-rules.log admit_rules || failed=1
((failed == 0))
