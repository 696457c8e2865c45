#!/usr/bin/env bash
# Lets schemathesis make requests out of /openapi.json and send them to `diffmig serve` beside two throw-away servers
# with the migrated fixture: no answer may be a 5xx but an intended 503, and every answer must be as described.
# The last line sums up. DIFFMIG_FUZZ_EXAMPLES sets how many requests are made per operation (50).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

version=4.32.5
examples="${DIFFMIG_FUZZ_EXAMPLES:-50}"
venv="target/schemathesis"
work="$(mktemp -d)"
stop_servers=""
server=""

finish() {
    if [ -n "$server" ]; then
        kill "$server" 2>/dev/null || true
        wait "$server" 2>/dev/null || true
    fi
    if [ -n "$stop_servers" ]; then
        sh "$stop_servers" >/dev/null 2>&1 || true
    fi
    rm -rf "$work"
}
trap finish EXIT

if ! "$venv/bin/schemathesis" --version 2>/dev/null | grep -qF "$version"; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check "schemathesis==$version"
fi

# With failpoints, so that the build of the tests serves.
cargo build --quiet --features failpoints
diffmig="$PWD/target/debug/diffmig"

# The demo leaves its servers running, with two days migrated, and says how to reach and how to stop them.
(cd "$work" && "$diffmig" demo --keep >demo.txt)
stop_servers="$(sed -n 's/^sh \(.*\/stop\.sh\)$/\1/p' "$work/demo.txt")"
eval "$(grep '^export DIFFMIG_' "$work/demo.txt")"
mapping="$(sed -n 's/^diffmig --config \([^ ]*\) migrate$/\1/p' "$work/demo.txt")"

token="$(head -c 24 /dev/urandom | od -An -tx1 | tr -d ' \n')"
(umask 077 && echo "operator:$token" >"$work/tokens")
"$diffmig" --config "$mapping" serve --listen 127.0.0.1:0 --token-file "$work/tokens" \
    --writes-per-minute 1000000 >"$work/url.txt" 2>"$work/serve.txt" &
server=$!
for _ in $(seq 100); do
    [ -s "$work/url.txt" ] && break
    sleep 0.1
done
url="$(head -n 1 "$work/url.txt")"
session="$(curl -s -H "Authorization: Bearer $token" "$url/api/migration/sessions?limit=1" |
    sed -n 's/^{"sessions":\[{"sessionId":"\([0-9a-f-]*\)".*/\1/p')"

# Twice: with ids as they come, and with that of a session that is there.
# A body that breaks a limit of its fields may break that of its size first.
rejected='[checks.negative_data_rejection]
expected-statuses = [400, 401, 403, 404, 405, 406, 409, 413, 415, 422, 428, 429, "5xx"]'
printf '%s\n' "$rejected" >"$work/any.toml"
printf '%s\n[parameters]\n"path.sessionId" = "%s"\n' "$rejected" "$session" >"$work/known.toml"
# A 503 is what a server says that cannot reach its database or that ends; 409 and 429 depend on what else is going on.
failed=0
for run in any known; do
    echo "api-fuzz: session ids: $run"
    # It keeps what it found where it stands.
    (cd "$venv" && bin/schemathesis --config-file "$work/$run.toml" run "$url/openapi.json" --url "$url" \
        --header "Authorization: Bearer $token" --max-examples "$examples" --workers 2 --no-color \
        --request-timeout 60 --continue-on-failure --checks all \
        --exclude-checks positive_data_acceptance,use_after_free,ensure_resource_availability,object_level_authorization \
        2>&1) | tee "$work/$run.txt" || failed=1
done

curl -sf "$url/healthz" >/dev/null || { echo "api-fuzz: the server is gone"; failed=1; }
if grep -qE 'panicked|status=500' "$work/serve.txt"; then
    grep -E 'panicked|status=500' "$work/serve.txt" | head
    failed=1
fi
if [ "$failed" -eq 0 ]; then
    echo "api-fuzz: no 5xx but intended ones, no answer that is not as described"
else
    echo "api-fuzz: failed"
fi
exit "$failed"
