#!/usr/bin/env bash
# make bench-extender: what an extender costs a real kube-scheduler, in turns within one run: the scheduler alone, alone with a
# smaller sample, with a do-nothing extender in Go, and with ours in both modes. Prints a table, writes target/bench/extender.json.
#
# NODES ("1000 5000"), PODS (2000), PAIRS (10), CASES and FACTS (1: also memory, start, near-full and refused pods; 0: not),
# MEMORY_PODS (150000), REFUSED (1000) change the run; PROFILE=debug uses a debug build, EXTENDER=PROGRAM one that is built already.
#
# Everything lives in a network and a process namespace of its own and ends with this script.
set -euo pipefail
cd "$(dirname "$0")/.."
: "${CARGO_TARGET_DIR:=${XDG_CACHE_HOME:-$HOME/.cache}/tideway/target}"
export CARGO_TARGET_DIR
NODES=${NODES:-1000 5000} PODS=${PODS:-2000} PAIRS=${PAIRS:-10} FACTS=${FACTS:-1} PROFILE=${PROFILE:-release}
CASES=${CASES:-bare sampled noop noop64 default strict} MEMORY_PODS=${MEMORY_PODS:-150000} REFUSED=${REFUSED:-1000}

if [ "${1:-}" != inside ]; then
  [ "$(id -u)" = 0 ] || { echo "bench: run as root: namespaces are made" >&2; exit 1; }
  case ${EXTENDER:+given}${EXTENDER:-$PROFILE} in
    given*) ;;
    release) cargo build --release -p tideway-extender ;;
    debug) cargo build -p tideway-extender ;;
    *) echo "PROFILE is release or debug, not $PROFILE" >&2; exit 2 ;;
  esac
  (cd bench/extender && CGO_ENABLED=0 go build -o "$CARGO_TARGET_DIR/schedbench" .)
  KUBEBED=$(bash tests/cluster/build.sh)
  DIR=$(mktemp -d /var/tmp/tideway-bench.XXXXXX)
  trap 'rm -rf "$DIR"' EXIT
  export NODES PODS PAIRS CASES FACTS MEMORY_PODS REFUSED PROFILE KUBEBED DIR EXTENDER=${EXTENDER:-$CARGO_TARGET_DIR/$PROFILE/tideway-extender}
  unshare --net --pid --fork --kill-child --mount-proc bash "$0" inside
  exit
fi

BENCH=$CARGO_TARGET_DIR/schedbench PKI=$DIR/pki
schedbench() { local verb=$1; shift; "$BENCH" "$verb" -kubeconfig "$PKI/admin.kubeconfig" "$@"; }
fail() { echo "bench: $*" >&2; tail -n 5 "$DIR"/*.log >&2; exit 1; }
until_ok() { # until_ok WHAT COMMAND...: the condition, at most two minutes
  local what=$1 i; shift
  for ((i = 0; i < 1200; i++)); do "$@" >/dev/null 2>&1 && return 0; sleep 0.1; done
  fail "$what was not ready within two minutes"
}
note() { echo "bench: $*" >&2; }
as_admin() { curl --silent --fail --max-time 10 --cacert "$PKI/ca.crt" --cert "$PKI/admin.crt" --key "$PKI/admin.key" "$@"; }

control_plane() {
  ip link set lo up && ip address add 10.64.0.1/32 dev lo
  "$KUBEBED" pki --dir "$PKI" --server https://127.0.0.1:6443 --ip 127.0.0.1,10.64.0.1 admin=kubernetes-admin,system:masters \
    scheduler=system:kube-scheduler extender=tideway-extender,system:masters
  "$KUBEBED" etcd --data-dir "$DIR/etcd" --listen-client-url http://127.0.0.1:2379 --listen-peer-url http://127.0.0.1:2380 >"$DIR/etcd.log" 2>&1 &
  "$KUBEBED" apiserver --bind-address=127.0.0.1 --advertise-address=10.64.0.1 --etcd-servers=http://127.0.0.1:2379 --client-ca-file="$PKI/ca.crt" \
    --tls-cert-file="$PKI/apiserver.crt" --tls-private-key-file="$PKI/apiserver.key" --service-account-issuer=https://kubernetes.default.svc \
    --service-account-key-file="$PKI/sa.pub" --service-account-signing-key-file="$PKI/sa.key" --service-cluster-ip-range=10.96.0.0/16 \
    --authorization-mode=RBAC --disable-admission-plugins=TaintNodesByCondition,ServiceAccount --max-requests-inflight=5000 \
    --max-mutating-requests-inflight=5000 --event-ttl=10m --profiling=false >"$DIR/apiserver.log" 2>&1 &
  until_ok "the API server" as_admin https://127.0.0.1:6443/readyz
  "$KUBEBED" kubectl --kubeconfig "$PKI/admin.kubeconfig" apply -f manifests/crds/nodenetworks.yaml >"$DIR/crd.log"
  until_ok "the definition" as_admin https://127.0.0.1:6443/apis/tideway.dev/v1alpha1/nodenetworks
}

scheduler= extender=
end() { local pid; for pid in "$@"; do kill "$pid" 2>/dev/null || true; wait "$pid" 2>/dev/null || true; done; }

start_extender() { # start_extender CASE: the extender of a case, until it is ready
  extender=
  case $1 in
    noop) "$BENCH" noop -listen 127.0.0.1:9843 2>"$DIR/extender.log" & extender=$! ;;
    noop64) "$BENCH" noop -listen 127.0.0.1:9843 -keep 64 2>"$DIR/extender.log" & extender=$! ;;
    default | strict)
      printf 'kubeconfig: %s\nmode: %s\n' "$PKI/extender.kubeconfig" "$1" >"$DIR/extender.yaml"
      "$EXTENDER" --config "$DIR/extender.yaml" >"$DIR/extender.log" 2>&1 & extender=$!
      until_ok "the extender" curl --silent --fail http://127.0.0.1:9844/readyz ;;
  esac
}

start_scheduler() { # start_scheduler CASE NODES
  local verbs='urlPrefix: "http://127.0.0.1:9843", filterVerb: filter, prioritizeVerb: prioritize, weight: 1, nodeCacheCapable: true'
  {
    echo 'apiVersion: kubescheduler.config.k8s.io/v1'
    echo 'kind: KubeSchedulerConfiguration'
    echo "clientConnection: {kubeconfig: $PKI/scheduler.kubeconfig, qps: 5000, burst: 5000}"
    echo 'leaderElection: {leaderElect: false}'
    echo 'podMaxBackoffSeconds: 2'
    case $1 in
      sampled) echo "percentageOfNodesToScore: $((10000 / $2))" ;;
      noop | noop64) echo "extenders: [{$verbs, httpTimeout: 10s}]" ;;
      default) echo "extenders: [{$verbs, preemptVerb: preempt, ignorable: true, httpTimeout: 500ms}]" ;;
      strict) echo "extenders: [{$verbs, preemptVerb: preempt, bindVerb: bind, httpTimeout: 10s}]" ;;
    esac
  } >"$DIR/scheduler.yaml"
  "$KUBEBED" scheduler --config "$DIR/scheduler.yaml" --bind-address=127.0.0.1 --authentication-skip-lookup=true \
    --authorization-always-allow-paths=/metrics,/healthz,/readyz >"$DIR/scheduler.log" 2>&1 &
  scheduler=$!
}

algorithm_ms() { # mean of the scheduling algorithm, from the scheduler's own figures
  curl --silent --insecure https://127.0.0.1:10259/metrics |
    awk '/^scheduler_scheduling_algorithm_duration_seconds_sum/ {s = $2} /^scheduler_scheduling_algorithm_duration_seconds_count/ {n = $2} END {printf "%.4f", n ? s / n * 1000 : 0}'
}

served_ms() { # served_ms VERB QUANTILE: from our histogram, within a bucket by proportion
  curl --silent http://127.0.0.1:9844/metrics | awk -v verb="verb=\"$1\"" -v q="$2" '
    /^tideway_extender_request_duration_seconds_bucket/ && index($0, verb) {
      match($0, /le="[^"]*"/); edge[++n] = substr($0, RSTART + 4, RLENGTH - 5); seen[n] = $NF
    }
    END {
      low = 0; before = 0
      for (i = 1; i <= n; i++) {
        if (seen[i] >= q * seen[n] && seen[n] > 0) {
          if (edge[i] == "+Inf") { printf "%.3f", low * 1000; exit }
          printf "%.3f", (low + (edge[i] - low) * (seen[i] - before ? (q * seen[n] - before) / (seen[i] - before) : 1)) * 1000; exit
        }
        low = edge[i]; before = seen[i]
      }
      printf "0"
    }'
}

measure() { # measure NODES CASE ROUND: all pods exist before the scheduler starts, and the extender knows them
  local nodes=$1 case=$2 round=$3 watcher algorithm
  schedbench wipe 2>>"$DIR/schedbench.log"
  start_extender "$case"
  schedbench pods -n "$PODS" 2>>"$DIR/schedbench.log"
  start_scheduler "$case" "$nodes"
  schedbench follow -n "$PODS" -pids "$scheduler${extender:+,$extender}" >"$DIR/row" 2>>"$DIR/schedbench.log" & watcher=$!
  wait "$watcher" || fail "$case: not all pods were bound"
  algorithm=$(algorithm_ms)
  grep '^{' "$DIR/row" | jq -c --arg case "$case" --argjson nodes "$nodes" --argjson round "$round" --argjson algorithm "$algorithm" \
    '. + {case: $case, nodes: $nodes, round: $round, algorithm_ms: $algorithm}' >>"$DIR/rows"
  note "$(tail -n 1 "$DIR/rows" | jq -r '"\(.nodes) nodes, round \(.round), \(.case): \(.rate) pods/s, CPU \(.scheduler_ms) + \(.extender_ms) ms, algorithm \(.algorithm_ms) ms"')"
  case $case in default | strict) [ "$round" != 1 ] || served "$nodes" "$case" ;; esac
  end "$scheduler" ${extender:+"$extender"}
}

fact() { # fact NAME NODES JSON
  jq -nc --arg fact "$1" --argjson nodes "$2" --argjson value "$3" '{fact: $fact, nodes: $nodes, value: $value}' >>"$DIR/rows"
  note "$1, $2 nodes: $3"
}

served() { # time of an answer in our server
  local verb list=
  for verb in filter prioritize $([ "$2" = default ] || echo bind); do
    list="$list${list:+, }\"$verb\": {\"p50_ms\": $(served_ms "$verb" 0.5), \"p99_ms\": $(served_ms "$verb" 0.99)}"
  done
  fact "server time, $2" "$1" "{$list}"
}

anonymous_mib() { awk '/^RssAnon/ {printf "%.1f", $2 / 1024}' "/proc/$1/status"; }
now_ms() { date +%s%3N; }

near_full() { # addresses on 25 nodes, 100 pods: how long until all are bound
  local nodes=$1 began
  schedbench wipe -nodes; schedbench nodes -n "$nodes" -rich 25 -each 4
  start_extender default; start_scheduler default "$nodes"
  until_ok "the scheduler" curl --silent --fail --insecure https://127.0.0.1:10259/readyz
  sleep 11 # for 10 s after its start the extender is careful: that is not what is measured
  began=$(now_ms)
  schedbench follow -n 100 >"$DIR/row" 2>>"$DIR/schedbench.log" & local watcher=$!
  schedbench pods -n 100
  wait "$watcher" || fail "near-full: not all pods were bound"
  fact "100 pods for 100 addresses on 25 nodes, all bound" "$nodes" "{\"seconds\": $(awk -v a="$began" -v b="$(now_ms)" 'BEGIN {print (b - a) / 1000}')}"
  refused "$nodes"
  end "$scheduler" "$extender"
}

others() { # others NAME: pods that need nothing of ours, so many a second are bound; the answer is in $rate
  local watcher
  schedbench follow -n 500 -prefix "$1" >"$DIR/row" 2>>"$DIR/schedbench.log" & watcher=$!
  until_ok "the watch" grep -q watching "$DIR/row"
  schedbench pods -n 500 -prefix "$1" -host 2>>"$DIR/schedbench.log"
  wait "$watcher" || fail "not all pods of the host's network were bound"
  rate=$(grep '^{' "$DIR/row" | jq .rate)
}

refused() { # all addresses are taken; more pods wait
  local nodes=$1 quiet attempts stirrer alone rate
  others alone
  alone=$rate
  schedbench pods -n "$REFUSED" -prefix refused
  refused_all() { [ "$(curl --silent http://127.0.0.1:9844/metrics | awk '/^tideway_extender_books.*refused/ {print int($NF)}')" -ge "$REFUSED" ]; }
  until_ok "refusal of all pods" refused_all
  attempts() { curl --silent --insecure https://127.0.0.1:10259/metrics | awk '/^scheduler_schedule_attempts_total/ && !/result="scheduled"/ {n += $NF} END {print n + 0}'; }
  # What the first refusals have stirred up comes to rest: five seconds without an attempt.
  local before=-1 i; for ((i = 0; i < 60 && before != $(attempts); i++)); do before=$(attempts); sleep 5; done
  quiet=$(schedbench cpu -pids "$scheduler,$extender" -for 20s)
  attempts=$(($(attempts) - before))
  fact "$REFUSED refused pods in a quiet cluster, percent of a core in 20 s" "$nodes" "$(jq -c --argjson a "$attempts" '. + {attempts: $a}' <<<"$quiet")"
  schedbench stir -for 10m & stirrer=$!
  others beside
  end "$stirrer"
  fact "500 other pods beside $REFUSED refused ones and 10 events a second, pods bound a second" "$nodes" "{\"alone\": $alone, \"beside\": $rate}"
}

memory() { # many pods, all bound: memory and start of the extender
  local nodes=$1 began pid
  schedbench wipe
  schedbench pods -n "$MEMORY_PODS" -bound "$nodes" -workers 64 -limit 40m
  printf 'kubeconfig: %s\n' "$PKI/extender.kubeconfig" >"$DIR/extender.yaml"
  began=$(now_ms)
  "$EXTENDER" --config "$DIR/extender.yaml" >"$DIR/extender.log" 2>&1 & pid=$!
  until_ok "the extender" curl --silent --fail http://127.0.0.1:9844/readyz
  local ready=$(($(now_ms) - began)) first; first=$(anonymous_mib "$pid")
  sleep 5
  fact "$MEMORY_PODS pods: the extender's anonymous memory, and its start" "$nodes" \
    "{\"mib_when_ready\": $first, \"mib_later\": $(anonymous_mib "$pid"), \"peak_mib\": $(awk '/^VmHWM/ {printf "%.1f", $2 / 1024}' "/proc/$pid/status"), \"ready_seconds\": $(awk -v m="$ready" 'BEGIN {print m / 1000}')}"
  end "$pid"
}

: >"$DIR/rows"
control_plane
for nodes in $NODES; do
  schedbench wipe -nodes
  schedbench nodes -n "$nodes"
  for ((round = 1; round <= PAIRS; round++)); do
    # Each round begins with another case: none always follows the same one, or a rest.
    read -ra order <<<"$CASES"
    for ((i = 0; i < ${#order[@]}; i++)); do
      measure "$nodes" "${order[(i + round - 1) % ${#order[@]}]}" "$round"
    done
  done
done
if [ "$FACTS" = 1 ]; then
  near_full "$nodes"
  [ "$MEMORY_PODS" = 0 ] || memory "$nodes"
fi
"$BENCH" report -rows "$DIR/rows" -out target/bench/extender.json
