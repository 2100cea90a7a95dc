#!/usr/bin/env bash
# Installs the real MCP clients and servers that the tests run against.
#
# Guarantees: the last line of standard output is the folder; every version is the one that the
# lock files name; a second caller waits for the first; an interrupted run leaves no `.complete`
# marker, so that the next run starts over. Virtual environments cannot be moved, therefore they
# are built in their final place and the marker is what makes the install atomic.
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
cache="${VMCP_CACHE:-${XDG_CACHE_HOME:-${HOME:?HOME is not set and neither is VMCP_CACHE}/.cache}/vmcp}/peers"

say() { printf 'peers: %s\n' "$*" >&2; }
die() {
  say "error: $*"
  exit 1
}
need() { command -v "$1" >/dev/null 2>&1 || die "missing tool: $1 ($2)"; }

need sha256sum "from coreutils"
need flock "from util-linux"
need npm "Node.js package manager, version 10 or newer"
need python3 "Python 3.11 or newer, with the venv module"
need git "mcp-server-git runs it"
python3 -c 'import venv, ensurepip' 2>/dev/null || die "missing tool: the venv module of python3"

# An interpreter that changed under an existing environment breaks it: its version is in the key.
key="$({
  cat "$here/npm/package-lock.json" "$here/py1/requirements.txt" "$here/py2/requirements.txt"
  python3 --version
} | sha256sum | cut -c1-16)"
dir="$cache/$key"
mkdir -p "$cache"

exec 9>"$cache/.lock"
if ! flock --nonblock 9; then
  say "another install is running, waiting for it"
  flock --timeout 900 9 || die "another install holds $cache/.lock for over 15 minutes"
fi
if [[ -f "$dir/.complete" ]]; then
  printf '%s\n' "$dir"
  exit 0
fi

rm -rf "$dir"
mkdir -p "$dir/npm" "$dir/log"
started=$SECONDS

step() { # step NAME COMMAND...: run it with its output in a log that is shown when it fails
  local name="$1" log="$dir/log/$1.log"
  shift
  say "$name: installing"
  if ! "$@" >"$log" 2>&1 9>&-; then
    tail -n 40 "$log" >&2
    die "$name failed, whole log in $log"
  fi
  say "$name: done after $((SECONDS - started)) s"
}

# `step` calls these in a condition, where `set -e` is off: every line must carry its own `&&`.
npm_packages() {
  cp "$here/npm/package.json" "$here/npm/package-lock.json" "$dir/npm/" &&
    (cd "$dir/npm" && npm ci --no-audit --no-fund --loglevel=warn) &&
    "$dir/npm/node_modules/node/bin/node" --version | grep '^v22\.'
}

python_packages() { # python_packages NAME
  python3 -m venv "$dir/$1" &&
    "$dir/$1/bin/pip" install --quiet --disable-pip-version-check \
      --requirement "$here/$1/requirements.txt" &&
    "$dir/$1/bin/pip" check
}

say "installing into $dir (about 90 s)"
step npm npm_packages &
npm_job=$!
(
  step py1 python_packages py1
  step py2 python_packages py2
) &
python_job=$!
failed=0
wait "$npm_job" || failed=1
wait "$python_job" || failed=1
((failed == 0)) || die "the peers are incomplete"

: >"$dir/.complete"
say "complete after $((SECONDS - started)) s"
printf '%s\n' "$dir"
