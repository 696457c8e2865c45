#!/usr/bin/env bash
# Makes the release packages in target/package: a .deb, a tarball and SHA256SUMS. The same sources and the same compiler
# give the same bytes: times come from the last commit (or SOURCE_DATE_EPOCH), owners are root.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export SOURCE_DATE_EPOCH
target=$(rustc -vV | sed -n 's/^host: //p')
case $target in
x86_64-*) architecture=amd64 ;;
aarch64-*) architecture=arm64 ;;
*) architecture=${target%%-*} ;;
esac

# The folder of the checkout and that of cargo would be in the binary.
export RUSTFLAGS="${RUSTFLAGS:-} --remap-path-prefix=$PWD=/build --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo"
cargo build --release --locked --bin diffmig

out=$PWD/target/package
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
rm -rf "$out"
mkdir -p "$out"

# What both packages hold, as it lies below /.
tree=$work/tree
share=$tree/usr/share
mkdir -p "$share"/man/man1 "$share"/doc/diffmig/examples
install -D -m 0755 target/release/diffmig "$tree/usr/bin/diffmig"
strip --strip-all "$tree/usr/bin/diffmig"
diffmig=$tree/usr/bin/diffmig
"$diffmig" --quiet man "$share/man/man1"
gzip -9n "$share"/man/man1/*.1
mkdir -p "$share"/bash-completion/completions "$share"/zsh/vendor-completions "$share"/fish/vendor_completions.d
"$diffmig" completions bash >"$share/bash-completion/completions/diffmig"
"$diffmig" completions zsh >"$share/zsh/vendor-completions/_diffmig"
"$diffmig" completions fish >"$share/fish/vendor_completions.d/diffmig.fish"
install -D -m 0755 packaging/cron/diffmig-nightly "$tree/usr/lib/diffmig/diffmig-nightly"
install -D -m 0644 -t "$tree/lib/systemd/system" packaging/systemd/diffmig.service packaging/systemd/diffmig.timer
install -D -m 0644 -t "$share/doc/diffmig/examples" packaging/kubernetes/cronjob.yaml fixtures/diffmig.toml
install -D -m 0644 packaging/debian/copyright "$share/doc/diffmig/copyright"
gzip -9nc CHANGELOG.md >"$share/doc/diffmig/CHANGELOG.md.gz"
# The name that Debian looks for has a form of its own.
printf 'diffmig (%s) unstable; urgency=medium\n\n  * See CHANGELOG.md.gz.\n\n -- the diffmig authors <diffmig@localhost>  %s\n' \
    "$version" "$(LC_ALL=C date --utc --rfc-email --date="@$SOURCE_DATE_EPOCH")" | gzip -9n >"$share/doc/diffmig/changelog.gz"
chmod -R u=rwX,go=rX "$tree"

# Everything is as old as the commit, and sorted.
stamp() { find "$1" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +; }

name=diffmig-$version-$target
mkdir "$work/$name"
cp -a "$tree/." "$work/$name/"
cp README.md LICENSE CHANGELOG.md "$work/$name/"
stamp "$work/$name"
tar --create --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" --format=gnu \
    --directory="$work" "$name" | gzip -9n >"$out/$name.tar.gz"

# A .deb is the tree with a description; dpkg-deb exists on every Debian.
if command -v dpkg-deb >/dev/null; then
    mkdir "$tree/DEBIAN"
    # The oldest C library that has all symbols that the binary asks for.
    libc=$(objdump -T "$diffmig" | sed -n 's/.*GLIBC_\([0-9.]*\).*/\1/p' | sort -uV | tail -n 1)
    cat >"$tree/DEBIAN/control" <<CONTROL
Package: diffmig
Version: $version
Architecture: $architecture
Maintainer: the diffmig authors <diffmig@localhost>
Installed-Size: $(du -ks --exclude=DEBIAN "$tree" | cut -f1)
Depends: libc6 (>= $libc), libgcc-s1
Suggests: curl
Section: database
Priority: optional
Description: differential migration of a legacy PostgreSQL into Supabase
 diffmig compares a legacy PostgreSQL database with what it has moved before,
 finds every new, modified and deleted row by its content, and applies just
 those: in foreign-key order, in batches that can be killed at any moment.
 .
 The package brings systemd units that are not enabled; see
 diffmig-migrate(1) and /usr/share/doc/diffmig.
CONTROL
    (cd "$tree" && find . -type f ! -path './DEBIAN/*' -printf '%P\0' | sort -z | xargs -0 md5sum) >"$tree/DEBIAN/md5sums"
    chmod 0644 "$tree"/DEBIAN/*
    stamp "$tree"
    dpkg-deb --root-owner-group -Zxz --build "$tree" "$out/diffmig_${version}_$architecture.deb" >/dev/null
else
    echo "no .deb: dpkg-deb is not installed" >&2
fi

(cd "$out" && sha256sum -- * >SHA256SUMS)
echo "shared libraries of the binary:"
ldd "$diffmig" 2>/dev/null | awk '{ print "  " $1 }' || true
ls -l "$out"
