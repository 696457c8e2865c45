#!/usr/bin/env bash
# Makes sure that PgBouncer exists, and prints its path. Standard output is that one line; everything else goes to
# standard error. Ends with 77 when it cannot be had on this machine, with 1 when something went wrong.
set -euo pipefail

project=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
unpacked=$project/target/pgbouncer

say() { echo "ensure-pgbouncer: $*" >&2; }

runs() { [ -x "$1" ] && "$1" --version >/dev/null 2>&1; }

find_installed() {
    local file
    for file in "$(command -v pgbouncer || true)" /usr/sbin/pgbouncer "$unpacked/usr/sbin/pgbouncer"; do
        if [ -n "$file" ] && runs "$file"; then
            echo "$file"
            return
        fi
    done
    return 1
}

# Debian starts the service after the installation unless a policy forbids it; ours is for this one call.
install_with_apt() {
    say "installing PgBouncer with apt-get"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq || say "apt-get update failed; trying with the lists that are there"
    local policy=/usr/sbin/policy-rc.d made=
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod 755 "$policy" && made=yes
    fi
    local code=0
    apt-get install -y -qq --no-install-recommends pgbouncer || code=$?
    if [ -n "$made" ]; then rm -f "$policy"; fi
    return "$code"
}

# Anybody may download a package. What it needs beside itself is usually there.
unpack_with_apt() {
    say "unpacking PgBouncer into target/"
    mkdir -p "$unpacked"
    (cd "$unpacked" && apt-get download -qq pgbouncer && dpkg -x pgbouncer_*.deb . && rm -f pgbouncer_*.deb)
}

main() {
    if [ -n "${DIFFMIG_PGBOUNCER:-}" ]; then
        runs "$DIFFMIG_PGBOUNCER" || {
            say "error: DIFFMIG_PGBOUNCER=$DIFFMIG_PGBOUNCER does not run"
            say "next: correct it or unset it"
            exit 1
        }
        echo "$DIFFMIG_PGBOUNCER"
        return
    fi
    find_installed && return
    if command -v apt-get >/dev/null; then
        if [ "$(id -u)" -eq 0 ]; then
            install_with_apt >&2 || say "apt-get did not bring PgBouncer"
        elif command -v dpkg >/dev/null; then
            unpack_with_apt >&2 || say "apt-get did not bring PgBouncer"
        fi
        find_installed && return
    fi
    say "PgBouncer cannot be had here"
    say "next: install the package 'pgbouncer' (no service needs to run), or set DIFFMIG_PGBOUNCER to its file"
    exit 77
}

main
