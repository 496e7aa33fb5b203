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
for file in rbac daemonset uninstall crds/nodenetworks scheduler/rbac scheduler/second-scheduler; do
  check "the API server takes $file.yaml" taken "$file.yaml"
done
check "the ConfigMap holds the example" kubectl -n kube-system create configmap tidewayd --from-file=manifests/tidewayd.yaml --dry-run=server
# What stands in the files is what the server will run: nothing but events, the node's own object and one Lease may be written.
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
check "tidewayd may not delete events" may no delete events
check "NodeNetworks are applied" kubectl apply -f manifests/crds/nodenetworks.yaml
check "NodeNetworks are established" kubectl wait --for=condition=Established --timeout=30s crd/nodenetworks.tideway.dev
check "tidewayd may write a NodeNetwork's status" may yes patch nodenetworks/status
as_daemon() { kubectl --as=system:serviceaccount:kube-system:tidewayd "$@"; }
# Made and renewed, as crates/kubeapi/src/notice.rs writes it. kubectl reads before it patches, which the daemon does not.
event() { # event NAMESPACE ABOUT: what it is about, as JSON
  as_daemon create -f - <<<'{"apiVersion": "v1", "kind": "Event", "metadata": {"name": "x.00d1", "namespace": "'"$1"'"}, "type": "Warning", "reason": "SubnetFull", "message": "m", "count": 1,
    "firstTimestamp": "2026-11-28T09:00:00Z", "lastTimestamp": "2026-11-28T09:00:00Z", "source": {"component": "tidewayd", "host": "n1"}, "reportingComponent": "tidewayd", "reportingInstance": "n1", "involvedObject": '"$2"'}' &&
    kubectl -n "$1" patch event x.00d1 --type=merge -p '{"count": 2, "message": "n", "lastTimestamp": "2026-11-28T09:05:00Z"}'
}
check "tidewayd may renew events" may yes patch events
check "tidewayd may say in an event what a pod waits for" event kube-system '{"apiVersion": "v1", "kind": "Pod", "namespace": "kube-system", "name": "x", "uid": "u1"}'
check "tidewayd may say in an event what a node's pods wait for" event default '{"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": "n1"}'
# Made, held, given back, as crates/kubeapi/src/lease.rs writes it.
lease() {
  local spec='"leaseDurationSeconds": 900, "leaseTransitions": 0, "renewTime": "2026-11-28T09:00:00.000000Z", "acquireTime": "2026-11-28T09:00:00.000000Z"'
  local object='{"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "tideway-sweep", "namespace": "kube-system"}, "spec": '
  as_daemon create -f - <<<"$object{\"holderIdentity\": \"n1\", $spec}}" && as_daemon replace -f - <<<"$object{$spec}}" &&
    as_daemon -n kube-system get lease tideway-sweep
}
check "tidewayd may hold the Lease of the sweep and give it back" lease
own_lease() {
  local said
  said=$(kubectl auth can-i --as=system:serviceaccount:kube-system:tidewayd -n kube-system "$2" "lease/$3" 2>&1)
  [ "$said" = "$1" ] || { echo "$said"; return 1; }
}
check "tidewayd may not hold another Lease" own_lease no update kube-scheduler
check "tidewayd may not delete a Lease" own_lease no delete tideway-sweep
node_network() {
  as_daemon create -f - <<<'{"apiVersion": "tideway.dev/v1alpha1", "kind": "NodeNetwork", "metadata": {"name": "n1"}, "spec": {}}' || return 1
  as_daemon patch nodenetwork n1 --subresource=status --type=merge -p "$1"
}
refused() { ! "$@"; }
check "a status is taken" node_network '{"status": {"shared": {"ready": 7, "held": 9}, "podsResourceVersion": null, "cooldownMillis": 30000}}'
printed() { kubectl get nodenetworks | tee /dev/stderr | grep -qE '^n1 +7 '; }
check "a number is printed in its column" printed
check "a number below zero is refused" refused as_daemon patch nodenetwork n1 --subresource=status --type=merge -p '{"status": {"shared": {"ready": -1}}}'

# --- the scheduler's extender
check "the extender's rights are applied" kubectl apply -f manifests/scheduler/rbac.yaml -f manifests/scheduler/second-scheduler.yaml
scheduler_may() { # scheduler_may ANSWER VERB KIND [WHERE...]
  local said answer=$1
  shift
  said=$(kubectl auth can-i --as=system:serviceaccount:kube-system:tideway-scheduler "$@" 2>&1)
  [ "$said" = "$answer" ] || { echo "$said"; return 1; }
}
for deed in "watch nodenetworks.tideway.dev" "watch pods" "patch pods" "create pods --subresource=binding" "list persistentvolumes"; do
  # shellcheck disable=SC2086 # verb and kind
  check "the second scheduler may $deed" scheduler_may yes --all-namespaces $deed
done
check "it may hold its lease" scheduler_may yes -n kube-system update lease/tideway-scheduler
check "it may not hold another scheduler's" scheduler_may no -n kube-system update lease/tidewayd
check "it may not read secrets" scheduler_may no --all-namespaces get secrets
check "it may not write a NodeNetwork" scheduler_may no --all-namespaces patch nodenetworks.tideway.dev

# What the scheduler and the extender themselves read.
kubectl -n kube-system get configmap tideway-scheduler -o 'jsonpath={.data.scheduler\.yaml}' >"$dir/second.yaml"
kubectl -n kube-system get configmap tideway-scheduler -o 'jsonpath={.data.extender\.yaml}' >"$dir/second-extender.yaml"
reads() { # reads FILE: the real scheduler takes it, and knows the extender after it
  inside scheduler --config "$1" --master https://127.0.0.1:6443 --write-config-to "$dir/read.yaml" && grep -q 'urlPrefix: http://127.0.0.1:9843' "$dir/read.yaml"
}
check "kube-scheduler reads the second scheduler's file" reads "$dir/second.yaml"
extender=${TIDEWAY_BIN:-${CARGO_TARGET_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/tideway/target}/debug}/tideway-extender
if [ -x "$extender" ]; then
  check "tideway-extender reads the second scheduler's file" "$extender" --check --config "$dir/second-extender.yaml"
  check "tideway-extender reads the file beside kubeadm's scheduler" "$extender" --check --config manifests/scheduler/extender.yaml
else
  skip "judge-manifests: tideway-extender" "not built; cargo build -p tideway-extender"
fi

# The patch on what kubeadm 1.34 makes of a ClusterConfiguration with the extraArgs and extraVolumes of docs/scheduler.md.
cat >"$dir/kube-scheduler.yaml" <<'POD'
apiVersion: v1
kind: Pod
metadata: {name: kube-scheduler, namespace: kube-system, labels: {component: kube-scheduler, tier: control-plane}}
spec:
  hostNetwork: true
  priorityClassName: system-node-critical
  securityContext: {seccompProfile: {type: RuntimeDefault}}
  containers:
    - name: kube-scheduler
      image: registry.k8s.io/kube-scheduler:v1.34.4
      command: [kube-scheduler, --authentication-kubeconfig=/etc/kubernetes/scheduler.conf, --authorization-kubeconfig=/etc/kubernetes/scheduler.conf,
        --bind-address=127.0.0.1, --config=/etc/tideway/default.yaml, --kubeconfig=/etc/kubernetes/scheduler.conf, --leader-elect=true]
      livenessProbe: {httpGet: {host: 127.0.0.1, path: /livez, port: probe-port, scheme: HTTPS}}
      ports: [{containerPort: 10259, name: probe-port, protocol: TCP}]
      resources: {requests: {cpu: 100m}}
      volumeMounts:
        - {mountPath: /etc/kubernetes/scheduler.conf, name: kubeconfig, readOnly: true}
        - {mountPath: /etc/tideway, name: tideway-config, readOnly: true}
  volumes:
    - {name: kubeconfig, hostPath: {path: /etc/kubernetes/scheduler.conf, type: FileOrCreate}}
    - {name: tideway-config, hostPath: {path: /etc/tideway}}
POD
patched() {
  kubectl patch --local --type=strategic -f "$dir/kube-scheduler.yaml" --patch-file "manifests/scheduler/kube-scheduler+strategic.yaml" -o yaml >"$dir/patched.yaml" || return 1
  # The kubelet sends it without a service account, as it is a static pod.
  kubectl -n kube-system create serviceaccount default --dry-run=client -o yaml | kubectl apply -f - || return 1
  kubectl apply --dry-run=server --validate=strict -f "$dir/patched.yaml" -o 'jsonpath={range .spec.containers[*]}{.name}{"\n"}{end}' | sort >"$dir/containers" || return 1
  diff - "$dir/containers" <<<$'kube-scheduler\ntideway-extender'
}
check "the patch makes a pod of both that the API server takes" patched
verdict
