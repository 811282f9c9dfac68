#!/bin/sh
# Guess: `apt-get update` checks the package lists that it has against the Release file, so a list that a power cut left empty
# is fetched again by the next update.
#
# Reality: update asks the server only whether the Release file has changed. If it has not, a list that is there counts, whatever it
# contains: update exits with 0 and without a word, and install says "Unable to locate package" until the repository
# changes. A list that is missing is fetched again. apt renames lists into place without flushing them, and a file system such as
# ext4 may keep the new name with zero bytes when the power is cut some seconds later.
#
# Needs apt (Debian 12: 2.6, Debian 13: 3.0) and python3. Changes nothing outside a temporary folder; listens on loopback.
set -eu

lab=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server"; rm -rf "$lab"' EXIT
mkdir -p "$lab/parts" "$lab/lists/partial" "$lab/cache/archives/partial" "$lab/repo/dists/stable/main/binary-all"
: >"$lab/status"
cd "$lab/repo/dists/stable"
cat >main/binary-all/Packages <<'END'
Package: example
Version: 1
Architecture: all
Maintainer: Example <example@localhost>
Description: example
Filename: ./example.deb
Size: 1
SHA256: 0000000000000000000000000000000000000000000000000000000000000000
END
digest=$(sha256sum main/binary-all/Packages | cut -d ' ' -f 1)
cat >Release <<END
Suite: stable
Codename: stable
Date: $(LC_ALL=C date -u '+%a, %d %b %Y %H:%M:%S UTC')
Architectures: all
Components: main
SHA256:
 $digest $(stat --format=%s main/binary-all/Packages) main/binary-all/Packages
END
cd "$lab"
# The server chooses a free port and says which.
python3 -u -m http.server --bind 127.0.0.1 --directory "$lab/repo" 0 >"$lab/port" 2>"$lab/log" &
server=$!
until grep -q ' port ' "$lab/port"; do
	kill -0 "$server"
	sleep 0.1
done
port=$(sed -n 's/.* port \([0-9]*\) .*/\1/p' "$lab/port")

apt() {
	apt-get -qq -o Dir::Etc::sourcelist="$lab/list" -o Dir::Etc::sourceparts="$lab/parts" -o Dir::State::lists="$lab/lists" \
		-o Dir::Cache="$lab/cache" -o Dir::State::status="$lab/status" -o APT::Sandbox::User= -o Acquire::http::Proxy=DIRECT \
		-o APT::Architecture="$(dpkg --print-architecture)" -o Acquire::Languages=none -o Acquire::GzipIndexes=false "$@"
}
fail() { echo "the behaviour has changed: $1"; exit 1; }

apt-get --version | head -n 1
echo "deb [trusted=yes] http://127.0.0.1:$port stable main" >"$lab/list"
apt update
apt --simulate install example >"$lab/out"
list=$(find "$lab/lists" -name '*_Packages')
: >"$list"
rm -f "$lab/cache"/*.bin
status=0
apt update >"$lab/out" 2>&1 || status=$?
echo "update with an emptied list: exit $status, $(wc -c <"$lab/out") bytes of output, the list has $(wc -c <"$list") bytes"
[ "$status" -eq 0 ] && [ ! -s "$lab/out" ] && [ ! -s "$list" ] || fail "update notices the emptied list"
status=0
apt --simulate install example >"$lab/out" 2>&1 || status=$?
echo "install: exit $status, $(head -n 1 "$lab/out")"
[ "$status" -eq 100 ] && grep -q "Unable to locate package example" "$lab/out" || fail "install finds the package"
rm "$list"
apt update
[ -s "$list" ] || fail "update does not fetch a missing list"
echo "update without the list: the list has $(wc -c <"$list") bytes"
