# Prometheus as a judge. Its Debian package is unpacked, not installed: only the one program is wanted. Sourced.
# shellcheck shell=bash

# Sets PROMTOOL; returns 1 when it cannot be had.
promtool_find() {
  local cache=${XDG_CACHE_HOME:-$HOME/.cache}/tideway folder
  PROMTOOL=$(command -v promtool) && return 0
  PROMTOOL=$cache/promtool
  [ ! -x "$PROMTOOL" ] || return 0
  folder=$(mktemp -d) || return 1
  mkdir -p "$cache"
  if (cd "$folder" && timeout 120 apt-get download prometheus && dpkg-deb -x prometheus_*.deb x && mv x/usr/bin/promtool "$PROMTOOL.$$") \
    >/dev/null 2>&1 && mv "$PROMTOOL.$$" "$PROMTOOL"; then
    rm -rf "$folder"
    return 0
  fi
  rm -rf "$folder" "$PROMTOOL.$$"
  return 1
}

# promtool_check FILE: an OpenMetrics text. Its linter reads the older format only, so it gets the same figures in that one;
# the text itself goes through Prometheus' own parser into blocks of its store, where every series must come back.
promtool_check() {
  local folder
  promtool_find || { skip "judge-signer: promtool" "Debian's prometheus package cannot be downloaded; apt-get update, or put promtool on PATH"; return; }
  folder=$(mktemp -d)
  check "promtool's linter finds nothing" promtool_lint "$1"
  check "Prometheus' store takes every series" promtool_store "$1" "$folder"
  rm -rf "$folder"
}

promtool_lint() {
  awk '
    $2 == "TYPE" { type[$3] = $4 }
    { line[NR] = $0 }
    END {
      for (n = 1; n <= NR; n++) {
        split(line[n], word, " ")
        if (word[1] == "#") {
          if (word[2] != "HELP" && word[2] != "TYPE") continue
          name = word[3]
          if (type[name] == "counter") sub(" " name " ", " " name "_total ", line[n])
          if (type[name] == "info") { sub(" " name " ", " " name "_info ", line[n]); sub(/ info$/, " gauge", line[n]) }
        }
        print line[n]
      }
    }' "$1" | "$PROMTOOL" check metrics
}

promtool_store() {
  local now sent kept
  now=$(date +%s)
  awk -v now="$now" '!/^#/ { $0 = $0 " " now } 1' "$1" >"$2/figures" # the store wants a time at each sample
  "$PROMTOOL" tsdb create-blocks-from openmetrics "$2/figures" "$2/store" || return 1
  sent=$(grep -vc '^#' "$1")
  mkdir -p "$2/store/wal" # a store of blocks only has none, and is then not opened
  kept=$("$PROMTOOL" tsdb dump "$2/store" | grep -c .)
  [ "$sent" = "$kept" ] || { echo "$sent samples were sent, $kept are there"; return 1; }
}
