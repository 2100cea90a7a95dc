#!/usr/bin/env bash
# Installs the gateways that `make bench` compares with, as far as a package registry carries them.
# Guarantees: only ordinary package clients are used; each version is pinned; what is there already
# is left alone. agentgateway is in no registry: its program may be put into the folder by hand.
set -euo pipefail
cd "$(dirname "$0")/../.."

cache="${VMCP_CACHE:-${XDG_CACHE_HOME:-${HOME:?HOME is not set and neither is VMCP_CACHE}/.cache}/vmcp}/rivals"
mcp_proxy=0.6.0
toolhive=v0.47.0
say() { printf 'rivals: %s\n' "$*" >&2; }

mkdir -p "$cache"
exec 9>"$cache/.lock"
flock 9

if [[ ! -x "$cache/cargo/bin/mcp-proxy" ]]; then
    say "mcp-proxy $mcp_proxy (crate): building, about five minutes"
    cargo install mcp-proxy --version "$mcp_proxy" --locked --no-default-features \
        --root "$cache/cargo" 9>&-
fi
if [[ ! -x "$cache/go/bin/vmcp" ]]; then
    say "ToolHive vmcp $toolhive (Go module): building, about five minutes"
    GOBIN="$cache/go/bin" go install -trimpath -ldflags "-s -w" \
        "github.com/stacklok/toolhive/cmd/vmcp@$toolhive" 9>&-
fi
say "fastmcp: one of the peers that the tests install"
peers=$(tests/peers/install.sh 9>&- | tail -n 1)
ln -sfn "$peers" "$cache/peers"
if [[ ! -x "$cache/agentgateway" ]]; then
    say "agentgateway: in no registry; put its program into this folder to have it measured"
fi
printf '%s\n' "$cache"
