#!/usr/bin/env bash
# Runs every crash test and every fault case, and sums them up in one last line:
#   412 protocol points, 50 random histories, 31 fault cases, 0 violations
# Ends with a code other than 0 when anything was violated or a test failed.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
report="$work/report"
log="$work/log"
: >"$report"
export DIFFMIG_CRASH="${DIFFMIG_CRASH:-all}" DIFFMIG_CRASH_REPORT="$report" DIFFMIG_HISTORIES="${DIFFMIG_HISTORIES:-50}"

if cargo nextest --version >/dev/null 2>&1; then
  cargo nextest run --features failpoints --color never --no-fail-fast --run-ignored all \
    -E 'test(/^(crash|faults)::/)' 2>&1 | tee "$log"
else
  cargo test --features failpoints --test it -- --include-ignored crash:: faults:: 2>&1 | tee "$log"
fi
status=$?

# Both runners name a test at the end of its line or before "... ok"; nextest repeats failures at the end.
names() { grep -E "$1" "$log" | grep -oE "$2[A-Za-z0-9_:]+" | sort -u | wc -l; }
sum() { awk -v kind="$1" '$1 == kind { n += $2 } END { print n + 0 }' "$report"; }

cases="$(names '(PASS|FAIL|SIG[A-Z]+|TIMEOUT) +\[|^test .* \.\.\. ' 'faults::')"
# Enumerations and histories count their own violations; of all other tests a failure is one.
failed="$(names '(FAIL|SIG[A-Z]+|TIMEOUT) +\[|^test .* \.\.\. FAILED' '(faults|crash::(network|failpoints))::')"
violations=$(($(sum violations) + failed))
if [ "$status" -ne 0 ] && [ "$violations" -eq 0 ]; then
  violations=1
fi
echo "$(sum points) protocol points, $(sum histories) random histories, $cases fault cases, $violations violations"
[ "$status" -eq 0 ] && [ "$violations" -eq 0 ]
