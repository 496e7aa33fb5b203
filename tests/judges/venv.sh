# The Python of the judges: one environment with the pinned packages, made once and found again by every clone. Sourced.
#
#   python_of REQUIREMENTS   sets PYTHON to the interpreter of that environment, which also finds the modules beside this file;
#                            returns 1 and sets PYTHON_LACKS to the cause when the machine cannot have it (no venv module,
#                            registry not reachable)
#
# The directory's name carries a hash of requirements and Python version. Cache: $XDG_CACHE_HOME/tideway or ~/.cache/tideway.
# shellcheck shell=bash disable=SC2034

python_of() {
  local requirements=$1 cache hash venv log
  PYTHON='' PYTHON_LACKS=''
  command -v python3 >/dev/null || { PYTHON_LACKS="python3 is not installed; apt-get install python3 python3-venv"; return 1; }
  cache=${XDG_CACHE_HOME:-$HOME/.cache}/tideway
  hash=$( { grep -v '^#' "$requirements"; python3 --version; } | sha256sum | cut -c1-16)
  venv=$cache/venv-$hash
  mkdir -p "$cache"
  exec 8>"$cache/venv.lock"
  flock 8 # two runs at once: the second one finds what the first one has made
  if [ ! -e "$venv/complete" ]; then
    log=$(mktemp)
    rm -rf "$venv"
    if ! python3 -m venv "$venv" >"$log" 2>&1; then
      # Debian keeps the module in a package of its own.
      [ "$(id -u)" != 0 ] || DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends python3-venv >>"$log" 2>&1
      python3 -m venv --clear "$venv" >>"$log" 2>&1 || PYTHON_LACKS="python3 has no venv module; apt-get install python3-venv"
    fi
    if [ -z "$PYTHON_LACKS" ] && ! "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$requirements" >>"$log" 2>&1; then
      if grep -qiE 'connection broken|connection ?error|timed out|name resolution|max retries|proxy ?error|unreachable|from versions: none' "$log"; then
        PYTHON_LACKS="the Python package registry cannot be reached or lacks a pinned package; run again with network, or point pip at a mirror"
      else
        cat "$log" >&2
        PYTHON_LACKS=broken
      fi
    fi
    rm -f "$log"
    if [ -z "$PYTHON_LACKS" ]; then touch "$venv/complete"; else rm -rf "$venv"; fi
  fi
  exec 8>&-
  [ -z "$PYTHON_LACKS" ] || return 1
  PYTHON=$venv/bin/python
  export PYTHONDONTWRITEBYTECODE=1
  # The judges' own modules.
  PYTHONPATH=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
  export PYTHONPATH
}

# python_or_skip JUDGE REQUIREMENTS: as `python_of`, and what cannot be had is skipped; a broken installation fails the judge.
python_or_skip() {
  python_of "$2" && return 0
  if [ "$PYTHON_LACKS" = broken ]; then
    wrong "$1: the pinned Python packages could not be installed"
  else
    skip "$1" "$PYTHON_LACKS"
  fi
  return 1
}
