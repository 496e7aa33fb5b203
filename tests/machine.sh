#!/bin/bash
# machine.sh : installs the Debian packages that builds, demo and tests need, or says in one message what to do.
# Silent when nothing is missing. Kernel features and cgroups are checked by the demo itself (tests/src/preflight).
set -u
# program or file : package
needed='cc:gcc /usr/include/stdlib.h:libc6-dev ld:binutils make:make git:git
containerd:containerd ctr:containerd containerd-shim-runc-v2:containerd runc:runc
/usr/lib/cni/portmap:containernetworking-plugins /usr/lib/cni/loopback:containernetworking-plugins
python3:python3 ping:iputils-ping sysctl:procps
busybox:busybox-static ip:iproute2 tc:iproute2 iptables:iptables nft:nftables conntrack:conntrack
nsenter:util-linux setsid:util-linux mount:mount curl:curl jq:jq ca-certificates.crt:ca-certificates'
# What Cargo.toml (rust-version) and the go.mod files ask for; tests/tests/harness.rs compares.
rust=1.95 go=1.24
PATH=$PATH:/usr/sbin:/sbin:/usr/local/go/bin:$HOME/.cargo/bin

there() {
  case $1 in
    ca-certificates.crt) [ -f /etc/ssl/certs/ca-certificates.crt ] || [ -n "${SSL_CERT_FILE:-}" ] ;;
    busybox) command -v busybox >/dev/null && ! head -c 4096 "$(command -v busybox)" | grep -q ld-linux ;; # the image has no libraries
    /*) [ -f "$1" ] ;;
    *) command -v "$1" >/dev/null ;;
  esac
}
missing() {
  local item
  for item in $needed; do there "${item%:*}" || echo "${item#*:}"; done | sort -u | tr '\n' ' '
}
problems=()
packages=$(missing)
if [ -n "$packages" ]; then
  if [ "$(id -u)" != 0 ]; then
    problems+=("packages $packages: run as root, or: sudo apt-get install $packages")
  elif ! command -v apt-get >/dev/null; then
    problems+=("what Debian calls $packages: install it with your distribution's tool")
  else
    echo "machine: installing Debian packages: $packages" >&2
    export DEBIAN_FRONTEND=noninteractive
    log=$(mktemp)
    # shellcheck disable=SC2086 # a list of names
    apt-get install -y --no-install-recommends $packages >"$log" 2>&1 || { apt-get update && apt-get install -y --no-install-recommends $packages; } >>"$log" 2>&1
    still=$(missing)
    [ -z "$still" ] || problems+=("packages $still: apt-get could not install them: $(tail -n 2 "$log" | tr '\n' ' ')")
    rm -f "$log"
  fi
fi
# toolchain NAME LEAST REMEDY SAID: SAID is what the program says of its version, empty when it is not there
toolchain() {
  local found
  found=$(grep -oE '[0-9]+(\.[0-9]+)+' <<<"$4" | head -n 1)
  [ -n "$found" ] && [ "$(printf '%s\n' "$2" "$found" | sort -V | head -n 1)" = "$2" ] && return
  problems+=("$1: ${found:+$found on PATH is too old; }install $2 or newer $3")
}
toolchain Rust "$rust" "from https://rustup.rs (there already: rustup update) and put ~/.cargo/bin on PATH" "$(cargo --version 2>/dev/null)"
toolchain Go "$go" "from https://go.dev/dl and put its bin on PATH" "$(go version 2>/dev/null)"
# The plugin is built with musl where rustup can bring it; cni/build.sh says why.
musl=x86_64-unknown-linux-musl
if [ ${#problems[@]} = 0 ] && command -v rustup >/dev/null && [ ! -d "$(rustc --print target-libdir --target $musl)" ]; then
  rustup target add $musl >/dev/null 2>&1 || echo "machine: rustup cannot bring $musl: the plugin is built with glibc" >&2
fi
[ ${#problems[@]} = 0 ] && exit 0
echo "machine: this machine lacks:" >&2
printf '  - %s\n' "${problems[@]}" >&2
exit 1
