#!/usr/bin/env bash
# The one way in which the tests run: `make test` and `.ci/run` are thin calls of it.
# Builds or installs what is absent, runs every tier, ends with the line `N passed, N failed`.
# Guarantees: nothing is skipped. A missing tool, a failed phase, or a package or test file that
# ran no test at all makes the exit code non-zero.
set -euo pipefail
cd "$(dirname "$0")/../.."

started=$SECONDS
clock() { printf '%d:%02d' $(((SECONDS - started) / 60)) $(((SECONDS - started) % 60)); }
say() { printf '==> [%s] %s\n' "$(clock)" "$*"; }

# A run that could not even start its tests has failed once, and says so in the closing line.
abort() {
    say "FAILED: $*"
    echo
    echo "0 passed, 1 failed"
    exit 1
}

phase() {
    local title=$1
    shift
    say "$title"
    "$@" </dev/null || abort "$title"
}

target="${CARGO_TARGET_DIR:-target}"
# nextest writes below the checkout, wherever cargo builds.
report="target/nextest/default/junit.xml"
doc_log="target/doctests.log"
mkdir -p target

say "rust tools"
rust_tools=$(tests/tools/rust-tools.sh) || abort "rust tools"
export PATH="$rust_tools:$PATH"
phase "control plane and helm (built once, about ten minutes cold)" \
    tests/tools/build.sh kubernetes etcd helm
phase "promtool" tests/tools/debian.sh
phase "real MCP peers" tests/peers/install.sh
# Bins and tests in one command: built apart, the features of the test crates would make cargo
# compile the shared dependencies twice.
phase "programs and tests" cargo build --workspace --bins --tests

rm -f "$report"
say "tests"
tests_status=0
"$target/debug/cluster" run -- cargo nextest run --workspace </dev/null || tests_status=$?

say "doctests"
doc_status=0
cargo test --doc --workspace </dev/null 2>&1 | tee "$doc_log" || doc_status=$?

say "done"
tests/tools/summary.sh "$report" "$doc_log" "$tests_status" "$doc_status"
