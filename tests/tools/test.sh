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
report="$target/nextest/default/junit.xml"
doc_log="$target/doctests.log"

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

# --- what ran -------------------------------------------------------------------------------------
[ -s "$report" ] || abort "the test runner wrote no report (exit code $tests_status)"

# Prints "NAME TESTS FAILURES" per test binary of the JUnit report.
suites() {
    grep -o '<testsuite [^>]*>' "$report" | sed -E \
        's/.* name="([^"]*)".* tests="([0-9]+)".* errors="([0-9]+)" failures="([0-9]+)".*/\1 \2 \3 \4/' |
        awk '{ print $1, $2, $3 + $4 }'
}
doc_passed=$(sed -nE 's/^test result: .* ([0-9]+) passed; .*/\1/p' "$doc_log" | awk '{ s += $1 } END { print s + 0 }')
doc_failed=$(sed -nE 's/^test result: .* ([0-9]+) failed; .*/\1/p' "$doc_log" | awk '{ s += $1 } END { print s + 0 }')
read -r ran failed < <(suites | awk '{ t += $2; f += $3 } END { print t + 0, f + 0 }')

say "tests per binary"
suites | sort | awk '{ printf "      %-44s %5d run %4d failed\n", $1, $2, $3 }'

# Every package and every test file must have run something: a tier that silently ran nothing
# looks green.
expected() {
    local entry package folder file
    for entry in vmcp-core=vmcp/core vmcp-crds=crds vmcp=vmcp vmcp-operator=operator \
        vmcp-tests=tests; do
        package=${entry%%=*}
        folder=${entry#*=}
        echo "$package"
        for file in "$folder"/tests/*.rs; do
            [ ! -f "$file" ] || echo "$package::$(basename "$file" .rs)"
        done
        for file in "$folder"/tests/*/main.rs; do
            [ ! -f "$file" ] || echo "$package::$(basename "$(dirname "$file")")"
        done
    done
}
empty=0
while read -r name; do
    if ! suites | awk -v n="$name" '$1 == n && $2 > 0 { found = 1 } END { exit !found }'; then
        say "FAILED: $name ran no test"
        empty=$((empty + 1))
    fi
done < <(expected)

passed=$((ran - failed + doc_passed))
failed=$((failed + doc_failed + empty))
# A runner that fails without a failed test (a leak, a crash, a compile error) is a failure too.
if [ "$failed" -eq 0 ] && [ $((tests_status + doc_status)) -ne 0 ]; then failed=1; fi

say "done"
echo
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
