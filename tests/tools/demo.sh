#!/usr/bin/env bash
# Builds or installs what the demo needs, then becomes the demo. No root is needed.
set -euo pipefail
cd "$(dirname "$0")/../.."

say() { printf '==> [%d:%02d] %s\n' $((SECONDS / 60)) $((SECONDS % 60)) "$*"; }

say "control plane (built once, about ten minutes cold)"
tests/tools/build.sh kubernetes etcd
say "four real MCP servers"
tests/peers/install.sh >/dev/null
say "operator, gateway and the demo itself"
cargo build --workspace --bins
say "demo"
exec "${CARGO_TARGET_DIR:-target}/debug/demo"
