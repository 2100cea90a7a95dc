#!/usr/bin/env bash
# Writes everything that is generated: crds/*.yaml from the Rust types, then what is derived from
# them and from the charts. Tests fail when one of the files is stale.
set -euo pipefail
cd "$(dirname "$0")/../.."

helm=$(tests/tools/build.sh --path helm)/helm
cargo run --quiet -p vmcp-crds --bin crdgen
tests/tools/render.sh "$helm" .
git status --short crds charts deploy
