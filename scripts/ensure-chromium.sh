#!/usr/bin/env bash
# Makes sure that a Chromium exists, for the tests of the dashboard, and prints the path of its program.
# Standard output is that one line; everything else goes to standard error.
#   --find    only look; prints nothing and ends with 3 when there is none
set -euo pipefail

say() { echo "ensure-chromium: $*" >&2; }

fail() {
    say "error: $1"
    say "next: $2"
    exit 1
}

runs() { "$1" --version >/dev/null 2>&1; }

# The first that starts: some distributions ship a script that only asks for another package.
find_installed() {
    local name path
    # Left unquoted on purpose: a list of names or paths.
    for name in ${DIFFMIG_CHROMIUM_SEARCH-chromium chromium-browser google-chrome-stable google-chrome \
        chromium-headless-shell /Applications/Chromium.app/Contents/MacOS/Chromium}; do
        if path=$(command -v "$name") && runs "$path"; then
            echo "$path"
            return
        fi
    done
    return 1
}

install_with_apt() {
    say "installing Chromium with apt-get"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq || say "apt-get update failed; trying with the lists that are there"
    apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core
}

main() {
    if [ -n "${DIFFMIG_CHROMIUM:-}" ]; then
        runs "$DIFFMIG_CHROMIUM" || fail "DIFFMIG_CHROMIUM=$DIFFMIG_CHROMIUM does not start" "correct it or unset it"
        echo "$DIFFMIG_CHROMIUM"
        return
    fi
    find_installed && return
    [ "${1:-}" != --find ] || exit 3
    if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
        install_with_apt >&2 || say "apt-get did not bring Chromium"
        find_installed && return
    fi
    fail "no Chromium is installed, and apt-get cannot bring one (it needs root)" \
        "install the package 'chromium', or set DIFFMIG_CHROMIUM to a Chromium or Chrome"
}

main "$@"
