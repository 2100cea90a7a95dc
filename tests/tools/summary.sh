#!/usr/bin/env bash
# Says what ran and ends with the line `N passed, N failed`, counted from what the runners wrote.
# Fails when a test failed, when a runner failed without one (a leak, a crash, a compile error), and
# when a package or test file ran no test at all: a tier that silently ran nothing looks green.
# Usage: summary.sh JUNIT_REPORT DOCTEST_LOG TESTS_STATUS DOCTESTS_STATUS
set -euo pipefail
cd "$(dirname "$0")/../.."
report=$1
doc_log=$2
tests_status=$3
doc_status=$4

fail() {
    echo "FAILED: $*"
}

# Prints "NAME TESTS FAILURES" per test binary.
suites() {
    [ -s "$report" ] || return 0
    grep -o '<testsuite [^>]*>' "$report" | sed -E \
        's/.* name="([^"]*)".* tests="([0-9]+)".* errors="([0-9]+)" failures="([0-9]+)".*/\1 \2 \3 \4/' |
        awk '{ print $1, $2, $3 + $4 }'
}

# The name of every test binary that must have run something.
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

# Sums the numbers before a word in the result lines of cargo's own runner.
doctests() {
    sed -nE "s/^test result: .* ([0-9]+) $1; .*/\1/p" "$doc_log" | awk '{ s += $1 } END { print s + 0 }'
}

suites | sort | awk '{ printf "      %-44s %5d run %4d failed\n", $1, $2, $3 }'
read -r ran failed < <(suites | awk '{ t += $2; f += $3 } END { print t + 0, f + 0 }')
doc_passed=$(doctests passed)
doc_failed=$(doctests failed)
passed=$((ran - failed + doc_passed))
failed=$((failed + doc_failed))

while read -r name; do
    if ! suites | awk -v n="$name" '$1 == n && $2 > 0 { found = 1 } END { exit !found }'; then
        fail "$name ran no test"
        failed=$((failed + 1))
    fi
done < <(expected)
if [ "$tests_status" -ne 0 ] && [ "$ran" -eq 0 ]; then
    fail "the test runner ended with $tests_status before it ran a test"
fi
if [ "$failed" -eq 0 ] && [ $((tests_status + doc_status)) -ne 0 ]; then
    fail "a runner ended with $tests_status, $doc_status although no test failed"
    failed=1
fi

echo
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
