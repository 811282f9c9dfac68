#!/bin/sh
# Guess: `apt-get install docker-ce=29.*` takes any version 29 of Docker, since the epoch `5:` is hardly ever shown, and
# `*` is a wildcard wherever it stands.
#
# What happens: apt compares the whole version with its epoch. A pattern that ends in `*` means "begins with what stands
# before it, letter by letter", so a further `*` in it matches nothing. One that does not end in `*` is a wildcard
# pattern that has to match to the last letter.
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
# The pattern, and the version that it should select; nothing for none.
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
