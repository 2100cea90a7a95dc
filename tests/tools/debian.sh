#!/usr/bin/env bash
# Installs what the tests take from Debian's packages: `prometheus`, which brings `promtool`.
# Guarantees: nothing is done when both programs are there; without root nothing is tried, and the
# message names the package.
set -euo pipefail

missing=()
for program in prometheus promtool; do
    command -v "$program" >/dev/null || missing+=("$program")
done
[ ${#missing[@]} -gt 0 ] || exit 0

fail() {
    echo "debian: ERROR: $*" >&2
    exit 1
}
fix="install the package 'prometheus' (apt-get install prometheus), or put both programs on PATH"
command -v apt-get >/dev/null || fail "${missing[*]} missing and no apt-get here: $fix"
[ "$(id -u)" -eq 0 ] || fail "${missing[*]} missing and this is not root: $fix"

log=$(mktemp)
trap 'rm -f "$log"' EXIT
export DEBIAN_FRONTEND=noninteractive
install() {
    # RUNLEVEL=1 keeps the package from starting its service on a developer's machine.
    RUNLEVEL=1 apt-get install --yes --quiet --no-install-recommends prometheus </dev/null
}
echo "debian: installing prometheus (for ${missing[*]})" >&2
if ! install >"$log" 2>&1; then
    apt-get update --quiet </dev/null >>"$log" 2>&1 || true
    install >>"$log" 2>&1 || {
        tail -n 20 "$log" >&2
        fail "apt-get could not install: $fix"
    }
fi
for program in prometheus promtool; do
    command -v "$program" >/dev/null || fail "$program still missing: $fix"
done
echo "debian: prometheus installed" >&2
