#!/usr/bin/env bash
# containerd as the caller of the plugin, over CRI as the kubelet does it: Debian's 1.6 (CNI 1.0), and 2.x (CNI 1.1: STATUS)
# where there is one: $TIDEWAY_CONTAINERD2 names the program (its ctr and shim beside it), else one on PATH, else Debian sid's
# package, unpacked into the cache and not installed.
set -uo pipefail
cd "$(dirname "$0")/../../.." || exit 1
: "${CARGO_TARGET_DIR:=${XDG_CACHE_HOME:-$HOME/.cache}/tideway/target}"
BIN=${TIDEWAY_BIN:-$CARGO_TARGET_DIR/debug}
CNI=${TIDEWAY_CNI:-$BIN/tideway-cni}
. tests/judges/verdict.sh
needs_root judge-containerd || { verdict; exit; }
. tests/judges/containerd/find.sh
# shellcheck source=bench/bed.sh
. bench/bed.sh
JUDGE=$CARGO_TARGET_DIR/containerd-judge
(cd tests/judges/containerd && CGO_ENABLED=0 go build -o "$JUDGE" .) || { echo "the judge could not be built" >&2; exit 1; }
containerd='' dir='' group=tideway-judge$$

containerd_stop() {
  local shim
  if [ -n "$containerd" ]; then
    kill "$containerd" 2>/dev/null
    wait "$containerd" 2>/dev/null
    containerd=''
  fi
  [ -n "$dir" ] || return 0
  # Shims of sandboxes that a failed run has left outlive containerd; only ours name this directory.
  for shim in /proc/[0-9]*; do
    [[ $(readlink "$shim/exe" 2>/dev/null) == *containerd-shim-runc-v2 ]] && grep -qF "$dir" "$shim/cmdline" 2>/dev/null && kill -9 "${shim#/proc/}"
  done
  awk -v d="$dir/" 'index($2, d) == 1 { print $2 }' /proc/mounts | sort -r | while read -r mount; do umount -l "$mount"; done
  find /sys/fs/cgroup -depth -type d -path "*/$group*" -exec rmdir {} + 2>/dev/null
  dir=''
}
end() { containerd_stop; bed_stop; }
trap end EXIT
trap 'exit 1' INT TERM

# containerd_start PROGRAM MAJOR: in the node's network namespace, everything of it below $dir
containerd_start() {
  local program=$1 major=$2 path
  path=$(dirname "$program"):$PATH
  dir=$BED_DIR/c$major
  mkdir -p "$dir/cni-bin"
  cp "$CNI" "$dir/cni-bin/tideway-cni"
  cp /usr/lib/cni/loopback "$dir/cni-bin/" # containerd 1.6 runs it as a network of its own
  sed "s#@DIR@#$dir#; s#@CONF@#$BED_DIR/net.d#; s#@RUNC@#$(command -v runc)#" "tests/judges/containerd/$major.toml" >"$dir/config.toml"
  PATH=$path nsenter --net="$BED_NETNS" "$program" --config "$dir/config.toml" >"$dir.log" 2>&1 &
  containerd=$!
  "$JUDGE" image "$dir/pause.tar" || return 1
  for _ in $(seq 100); do
    PATH=$path ctr -a "$dir/containerd.sock" version >/dev/null 2>&1 &&
      { PATH=$path ctr -a "$dir/containerd.sock" -n k8s.io images import "$dir/pause.tar" || return 1; } && return 0
    kill -0 "$containerd" 2>/dev/null || break
    sleep 0.1
  done
  tail -n 20 "$dir.log"
  return 1
}

# daemon_with SOCKET: the daemon anew, with this runtime
daemon_with() {
  kill "$BED_DAEMON"
  wait "$BED_DAEMON"
  rm -f "$BED_CONFLIST"
  sed -i "s#runtimeSocket:.*#runtimeSocket: $1#" "$BED_DIR/tidewayd.yaml"
  nsenter --net="$BED_NETNS" "$BIN/tidewayd" --config "$BED_DIR/tidewayd.yaml" >>"$BED_DIR/tidewayd.log" 2>&1 &
  BED_DAEMON=$!
  for _ in $(seq 300); do
    [ -e "$BED_CONFLIST" ] && return 0
    sleep 0.1
  done
  tail -n 20 "$BED_DIR/tidewayd.log"
  return 1
}

# judge PROGRAM MAJOR CNI_VERSION
judge() {
  local before=$failed
  echo "$("$1" --version), CNI $3"
  # Not through `check`: it would take the processes into a subshell.
  if containerd_start "$1" "$2" >"$BED_DIR/start" 2>&1; then right "containerd $2 starts"; else wrong "containerd $2 starts"; cat "$BED_DIR/start"; return; fi
  if daemon_with "$dir/containerd.sock"; then right "the daemon starts beside it"; else wrong "the daemon starts beside it"; return; fi
  check "the daemon publishes CNI $3" test "$(jq -r .cniVersion "$BED_CONFLIST")" = "$3"
  fold "containerd $2" "$JUDGE" pods -socket "$dir/containerd.sock" -major "$2" -cgroup "/$group" -tideway "$BIN/tideway" \
    -daemon "$BED_SOCKET" -pid "$BED_DAEMON"
  [ "$failed" = "$before" ] || tail -n 30 "$dir.log" "$BED_DIR/tidewayd.log"
  containerd_stop
}

bed_start "$BIN" ecs.g6.xlarge 2 6 || exit 1
first=$(command -v containerd) && [[ $("$first" --version) == *" 1."* || $("$first" --version) == *" v1."* ]] || first=''
if [ -n "$first" ]; then
  judge "$first" 1 1.0.0
else
  skip "judge-containerd: 1.x" "no containerd 1.x on PATH; apt-get install containerd on Debian 12"
fi
if containerd2_find; then
  judge "$CONTAINERD2" 2 1.1.0
else
  skip "judge-containerd: 2.x" "no containerd 2.x here and Debian sid's package cannot be had; name one with TIDEWAY_CONTAINERD2"
fi
check "no address was given twice, none is lost" bed_verify
verdict
