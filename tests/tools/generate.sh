#!/usr/bin/env bash
# Writes everything that is generated: crds/*.yaml from the Rust types, the copies of them in the
# chart, and deploy/install.yaml from the charts. tests/tests/charts.rs fails when one is stale.
set -euo pipefail
cd "$(dirname "$0")/../.."

helm=$(tests/tools/build.sh --path helm)/helm
target="${CARGO_TARGET_DIR:-target}"

cargo build --quiet --workspace --bins
"$target/debug/crdgen"
"$target/debug/render" --helm "$helm"
