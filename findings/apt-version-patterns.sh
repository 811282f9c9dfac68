#!/bin/sh
# Guess: `apt-get install docker-ce=29.*` accepts any version 29 of Docker, because programs hardly ever show the epoch `5:`,
# and `*` is a wildcard at any position.
#
# Reality: apt compares the whole version including its epoch. A pattern that ends in `*` matches versions that begin with
# the literal text before it, so a further `*` in it matches nothing. A pattern that does not end in `*` is a wildcard pattern
# that must match the whole version.
#
# Needs apt-get (Debian 11 or newer). Uses a package source of its own in a temporary folder and changes nothing.
set -eu

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/repo" "$work/etc/apt/preferences.d" "$work/etc/apt/apt.conf.d" "$work/etc/apt/trusted.gpg.d" \
    "$work/var/lib/apt/lists/partial" "$work/var/cache/apt/archives/partial" "$work/var/lib/dpkg"
: >"$work/var/lib/dpkg/status"

# Versions as in Docker's own repository.
for version in 5:28.5.2-1~debian.13~trixie 5:29.0.1-1~debian.13~trixie; do
    cat >>"$work/repo/Packages" <<END
Package: docker-ce
Version: $version
Architecture: all
Maintainer: nobody <nobody@example.org>
Filename: ./docker-ce.deb
Size: 1
SHA256: 0000000000000000000000000000000000000000000000000000000000000000
Description: stands for docker-ce

END
done
echo "deb [trusted=yes] file:$work/repo ./" >"$work/etc/apt/sources.list"

apt() {
    apt-get -qq -o Dir="$work" -o Dir::State::status="$work/var/lib/dpkg/status" -o APT::Sandbox::User=root \
        -o Debug::NoLocking=1 "$@"
}
apt update >/dev/null

apt-get --version | head -n 1
failed=0
# Arguments: the pattern, and the version that it should select, or an empty string for none.
expect() {
    found=$(apt install --simulate "docker-ce=$1" 2>/dev/null | sed -n 's/^Inst docker-ce (\([^ ]*\) .*/\1/p')
    echo "docker-ce=$1 -> ${found:-nothing}"
    if [ "$found" != "$2" ]; then
        echo "  expected ${2:-nothing}: apt behaves differently now"
        failed=1
    fi
}
expect '5:29.*' '5:29.0.1-1~debian.13~trixie'
expect '29.*' ''
expect '5:29' ''
expect '5:29.0.1' ''
expect '5:*29.*' ''
expect '5:*.0.1*' ''
expect '5:29.*~trixie' '5:29.0.1-1~debian.13~trixie'
expect '*29.0.1-1~debian.13~trixie' '5:29.0.1-1~debian.13~trixie'
exit $failed
