#!/bin/sh
# Guess: on a machine that also has armhf enabled, `apt-get update -o APT::Architectures=arm64` halves the download, and the
# following `apt-get install` uses the index (pkgcache.bin) that update builds at its end.
#
# Reality: the index records the architectures it was built for. The next command without the option finds a different
# list, discards the index and builds it again, which takes seconds on a small computer. With
# `-o pkgCacheFile::Generate=false`, update does not build an index.
#
# Needs apt and dpkg (Debian 12: apt 2.6, Debian 13: 3.0). Changes nothing outside a temporary folder, downloads nothing.
set -eu

lab=$(mktemp -d)
trap 'rm -rf "$lab"' EXIT
mkdir -p "$lab/parts" "$lab/lists/partial" "$lab/cache/archives/partial" "$lab/repo"
: >"$lab/status"
cat >"$lab/repo/Packages" <<'END'
Package: example
Version: 1
Architecture: all
Maintainer: Example <example@localhost>
Description: example
Filename: ./example.deb
Size: 1
SHA256: 0000000000000000000000000000000000000000000000000000000000000000
END
echo "deb [trusted=yes] file:$lab/repo ./" >"$lab/list"
own=$(dpkg --print-architecture)
cat >"$lab/conf" <<END
Dir::Etc::sourcelist "$lab/list";
Dir::Etc::sourceparts "$lab/parts";
Dir::State::lists "$lab/lists";
Dir::State::status "$lab/status";
Dir::Cache "$lab/cache";
# The machine's own settings may switch the index off.
Dir::Etc::parts "$lab/parts";
Dir::Etc::main "$lab/parts/none";
APT::Sandbox::User "";
APT::Architectures { "$own"; "s390x"; };
END
export APT_CONFIG="$lab/conf"

apt-get --version | head -n 1
inode() { stat --format=%i "$lab/cache/pkgcache.bin"; }
fail() { echo "the behaviour has changed: $1"; exit 1; }

# A list in the configuration file overrides one on the command line, so the restricted update has its own configuration.
sed "s/; \"s390x\"//" "$lab/conf" >"$lab/own"
APT_CONFIG="$lab/own" apt-get -qq update
restricted=$(inode)
apt-get -qq --simulate install example >"$lab/out" || true
rebuilt=$(inode)
apt-get -qq --simulate install example >"$lab/out" || true
kept=$(inode)
echo "index after update for $own: $restricted, after install: $rebuilt, after install again: $kept"
[ "$restricted" != "$rebuilt" ] || fail "install used the index of the restricted update"
[ "$rebuilt" = "$kept" ] || fail "install does not keep its own index"

rm -f "$lab/cache"/*.bin
apt-get -qq update -o pkgCacheFile::Generate=false
[ ! -e "$lab/cache/pkgcache.bin" ] || fail "update built an index although told not to"
echo "update with pkgCacheFile::Generate=false: no index"
