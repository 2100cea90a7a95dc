#!/usr/bin/env bash
# Every check that needs no running program. Each of them runs even if an earlier one failed.
set -uo pipefail
cd "$(dirname "$0")/../.."

failed=0
check() {
    printf '==> [%d:%02d] %s\n' $((SECONDS / 60)) $((SECONDS % 60)) "$*"
    "$@" </dev/null || { echo "FAILED: $*"; failed=1; }
}

rust_tools=$(tests/tools/rust-tools.sh) || exit 1
export PATH="$rust_tools:$PATH"

check cargo fmt --all --check
check cargo clippy --workspace --all-targets --quiet -- -D warnings
RUSTDOCFLAGS="-D warnings" check cargo doc --workspace --no-deps --quiet
# Without `advisories`: its database lies on a git host, which a build must not depend on.
check cargo deny --log-level error check bans licenses sources
check bash -n tests/tools/*.sh .ci/run

[ "$failed" -eq 0 ] && echo "lint: clean"
exit "$failed"
