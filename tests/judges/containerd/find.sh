# Finds a containerd 2.x. Sourced.
# shellcheck shell=bash

containerd2_is() { [[ -x $1 && $("$1" --version 2>/dev/null) =~ \ v?2\.[0-9]+\. ]]; }

# Sets CONTAINERD2; returns 1 when there is none and none can be had.
containerd2_find() {
  local cache=${XDG_CACHE_HOME:-$HOME/.cache}/tideway/containerd2 work options archive
  for CONTAINERD2 in "${TIDEWAY_CONTAINERD2:-}" "$(command -v containerd)" "$cache/containerd"; do
    containerd2_is "$CONTAINERD2" && return 0
  done
  # The archive that this machine's packages come from, its security archive left out.
  archive=$(apt-get indextargets --format '$(SITE)' 2>/dev/null | grep -v -- -security | head -n 1)
  archive=${archive:-$(grep -rhoE 'https?://[^ ]+/debian/?( |$)' /etc/apt/sources.list /etc/apt/sources.list.d 2>/dev/null | head -n 1)}
  archive=${archive%% *}
  [ -n "$archive" ] || return 1
  work=$(mktemp -d) || return 1
  # Package lists of its own: the machine's are not touched, and nothing is installed.
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $archive sid main" >"$work/sources.list"
  mkdir -p "$work/lists/partial" "$work/cache/archives/partial"
  options=(-o "Dir::Etc::sourcelist=$work/sources.list" -o Dir::Etc::sourceparts=- -o "Dir::State::lists=$work/lists"
    -o "Dir::Cache=$work/cache" -o Acquire::Languages=none)
  (cd "$work" && timeout 120 apt-get "${options[@]}" update && timeout 120 apt-get "${options[@]}" download containerd &&
    dpkg-deb -x containerd_*.deb x && mkdir -p "$cache" &&
    mv x/usr/bin/containerd x/usr/bin/containerd-shim-runc-v2 x/usr/bin/ctr "$cache/") >/dev/null 2>&1
  rm -rf "$work"
  CONTAINERD2=$cache/containerd
  containerd2_is "$CONTAINERD2"
}
