#!/usr/bin/env bash
# The manifests before a real API server (server-side dry run, strict field validation) and the unit before systemd.
set -uo pipefail
cd "$(dirname "$0")/../../.." || exit 1
. tests/judges/verdict.sh
dir=''
started=()
end() {
  [ ${#started[@]} = 0 ] || { kill "${started[@]}"; wait "${started[@]}"; } 2>/dev/null
  ip netns del "$netns" 2>/dev/null
  rm -rf "$dir"
}
dir=$(mktemp -d) netns=twmanifests$$
trap end EXIT
trap 'exit 1' INT TERM

# systemd wants to see the programs that the unit names.
unit() {
  local said
  sed -E 's#^(Exec[A-Za-z]*=-?)/usr/local/bin/\S+#\1/bin/true#' manifests/tidewayd.service >"$dir/tidewayd.service"
  said=$(systemd-analyze verify --man=no --recursive-errors=no "$dir/tidewayd.service" 2>&1) && [ -z "$said" ] || { echo "$said"; return 1; }
}
if command -v systemd-analyze >/dev/null; then
  check "systemd understands the unit" unit
else
  skip "judge-manifests: systemd" "systemd-analyze is not installed; apt-get install systemd"
fi

kubebed=${TIDEWAY_KUBEBED:-$(bash tests/cluster/build.sh --print 2>/dev/null)}
if [ ! -x "$kubebed" ]; then
  skip "judge-manifests: API server" "the Kubernetes of the tests is not built; make kubernetes"
  verdict
  exit
fi
needs_root "judge-manifests: API server" || { verdict; exit; }

# The API server asks for an address that is not a loopback one to advertise.
{ ip netns add "$netns" && ip -n "$netns" link set lo up && ip -n "$netns" address add 10.64.0.1/32 dev lo; } || exit 1
inside() { nsenter --net="/run/netns/$netns" "$kubebed" "$@"; }
kubectl() { inside kubectl --kubeconfig="$dir/pki/admin.kubeconfig" "$@"; }
launch() { # launch PROGRAM ARGUMENTS...: in the background, by its own process id
  nsenter --net="/run/netns/$netns" "$kubebed" "$@" >"$dir/$1.log" 2>&1 &
  started+=($!)
}
api() {
  inside pki --dir "$dir/pki" --server https://127.0.0.1:6443 admin=kubernetes-admin,system:masters || return 1
  launch etcd --data-dir "$dir/etcd" --listen-client-url=http://127.0.0.1:2379 --listen-peer-url=http://127.0.0.1:2380
  launch apiserver --bind-address=127.0.0.1 --advertise-address=10.64.0.1 --etcd-servers=http://127.0.0.1:2379 --service-cluster-ip-range=10.96.0.0/12 \
    --client-ca-file="$dir/pki/ca.crt" --tls-cert-file="$dir/pki/apiserver.crt" --tls-private-key-file="$dir/pki/apiserver.key" \
    --service-account-issuer=https://kubernetes.default.svc --service-account-key-file="$dir/pki/sa.pub" \
    --service-account-signing-key-file="$dir/pki/sa.key" --authorization-mode=RBAC --allow-privileged=true
  for _ in $(seq 300); do
    # The last thing that we need is made after the server says that it is ready.
    kubectl get priorityclass system-node-critical >/dev/null 2>&1 && kubectl get namespace kube-system >/dev/null 2>&1 && return 0
    kill -0 "${started[-1]}" 2>/dev/null || break
    sleep 0.2
  done
  tail -n 5 "$dir"/*.log
  return 1
}
# Not through `check`: it would take the processes into a subshell.
if api >"$dir/api" 2>&1; then right "the API server is up"; else wrong "the API server is up"; cat "$dir/api"; verdict; exit; fi
taken() { # taken FILE: strictly, and without a word of warning
  local said
  said=$(kubectl apply --dry-run=server --validate=strict -f "manifests/$1" 2>&1) && [[ $said != *Warning* ]] || { echo "$said"; return 1; }
}
for file in rbac daemonset uninstall crds/nodenetworks; do
  check "the API server takes $file.yaml" taken "$file.yaml"
done
check "the ConfigMap holds the example" kubectl -n kube-system create configmap tidewayd --from-file=manifests/tidewayd.yaml --dry-run=server
# What stands in the files is what the server will run: nothing but pods and the node's own object may be touched.
check "RBAC is applied" kubectl apply -f manifests/rbac.yaml
may() { # may ANSWER VERB KIND
  local said
  said=$(kubectl auth can-i --as=system:serviceaccount:kube-system:tidewayd --all-namespaces "$2" "$3" 2>&1)
  [ "$said" = "$1" ] || { echo "$said"; return 1; }
}
check "tidewayd may watch pods" may yes watch pods
check "tidewayd may not read secrets" may no get secrets
check "tidewayd may not change pods" may no patch pods
check "tidewayd may not change nodes" may no patch nodes
check "NodeNetworks are applied" kubectl apply -f manifests/crds/nodenetworks.yaml
check "NodeNetworks are established" kubectl wait --for=condition=Established --timeout=30s crd/nodenetworks.tideway.dev
check "tidewayd may write a NodeNetwork's status" may yes patch nodenetworks/status
as_daemon() { kubectl --as=system:serviceaccount:kube-system:tidewayd "$@"; }
node_network() {
  as_daemon create -f - <<<'{"apiVersion": "tideway.dev/v1alpha1", "kind": "NodeNetwork", "metadata": {"name": "n1"}, "spec": {}}' || return 1
  as_daemon patch nodenetwork n1 --subresource=status --type=merge -p "$1"
}
refused() { ! "$@"; }
check "a status is taken" node_network '{"status": {"shared": {"ready": 7, "held": 9}, "podsResourceVersion": null, "cooldownMillis": 30000}}'
printed() { kubectl get nodenetworks | tee /dev/stderr | grep -qE '^n1 +7 '; }
check "a number is printed in its column" printed
check "a number below zero is refused" refused as_daemon patch nodenetwork n1 --subresource=status --type=merge -p '{"status": {"shared": {"ready": -1}}}'
verdict
