# Finds a Python for the scripts in hack/, and runs a module of hack/kit with it. Sourced, never run.
#
# hack_exec MODULE ARGS...   replaces the shell by that module
# A machine without Python 3.11 or newer gets Debian's, if that is new enough.
# shellcheck shell=bash

hack_python() {
  local candidate
  for candidate in python3 python3.14 python3.13 python3.12 python3.11 /usr/bin/python3; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      command -v "$candidate"
      return 0
    fi
  done
  return 1
}

hack_exec() {
  local folder python
  folder=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
  if ! python=$(hack_python); then
    echo "installing python3 (no Python 3.11 or newer found)" >&2
    local sudo=()
    [ "$(id -u)" = 0 ] || sudo=(sudo)
    if "${sudo[@]}" apt-get update -qq; then
      "${sudo[@]}" apt-get install -qq -y --no-install-recommends python3 >/dev/null || true
    fi
    if ! python=$(hack_python); then
      echo "Lattice needs Python 3.11 or newer: please install one" >&2
      exit 1
    fi
  fi
  # -B: a root run must not leave byte code in a user's clone.
  PYTHONPATH=$folder exec "$python" -B -m "$@"
}
