#!/usr/bin/env bash
# Runs all tests; arguments go to cargo. Those of the dashboard need a Chromium: where there is none they are left
# out, and the last line says so.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

left_out=
code=0
DIFFMIG_CHROMIUM=$(scripts/ensure-chromium.sh --find) || code=$?
case $code in
    0) export DIFFMIG_CHROMIUM ;;
    3) left_out="NOT RUN: the tests of the dashboard, because there is no Chromium; scripts/ensure-chromium.sh brings one" ;;
    *) exit "$code" ;;
esac

# A test waits for its servers half of the time.
threads=$((2 * $(nproc 2>/dev/null || getconf _NPROCESSORS_ONLN || echo 2)))
export NEXTEST_TEST_THREADS="${NEXTEST_TEST_THREADS:-$threads}" RUST_TEST_THREADS="${RUST_TEST_THREADS:-$threads}"

# Every test makes and removes some two thousand files of its servers, which a file system in memory does best. The
# servers of one test need up to half a gigabyte.
if [ -z "${DIFFMIG_SANDBOX_DIR:-}" ]; then
    room=$(df -Pk /dev/shm 2>/dev/null | awk 'NR == 2 { print $4 }') || room=0
    [ "${room:-0}" -lt $((threads * 1000000)) ] || export DIFFMIG_SANDBOX_DIR=/dev/shm
fi

say() { [ -z "$left_out" ] || echo "run-tests: $left_out" >&2; }

say
code=0
if cargo nextest --version >/dev/null 2>&1; then
    cargo nextest run --no-fail-fast --features failpoints ${left_out:+-E 'not test(/^dashboard::/)'} "$@" || code=$?
else
    cargo test --no-fail-fast --features failpoints "$@" -- ${left_out:+--skip dashboard::} || code=$?
fi
say
exit "$code"
