#!/bin/sh
# Guess: two apt sources conflict only if they name the same URL. An old entry with http:// and another key can stay in
# addition to a new one with https://, because these are different addresses.
#
# Reality: apt compares addresses without their scheme. It treats both entries as one source with contradicting Signed-By
# values, and every apt command fails, also for unrelated sources. A host name in different case, or a doubled slash, does
# make a different source.
#
# Needs apt (Debian 12: 2.6, Debian 13: 3.0). Changes nothing outside a temporary folder, downloads nothing.
set -eu

lab=$(mktemp -d)
trap 'rm -rf "$lab"' EXIT
mkdir -p "$lab/parts" "$lab/lists/partial" "$lab/cache/archives/partial"
: >"$lab/list" >"$lab/status"
apt() {
	apt-get -o Dir::Etc::sourcelist="$lab/list" -o Dir::Etc::sourceparts="$lab/parts" -o Dir::State::lists="$lab/lists" \
		-o Dir::Cache="$lab/cache" -o Dir::State::status="$lab/status" "$@"
}

apt-get --version | head -n 1
entry() { echo "deb [signed-by=/etc/apt/keyrings/$1.asc] $2 stable main"; }
check() { # expected exit status, address
	{ entry new https://packages.example/debian; entry old "$2"; } >"$lab/list"
	status=0
	apt indextargets >"$lab/out" 2>&1 || status=$?
	echo "$2: exit $status $(grep -m 1 '^E:' "$lab/out" || true)"
	[ "$status" -eq "$1" ] || { echo "the behaviour has changed"; exit 1; }
}
check 100 https://packages.example/debian/
check 100 http://packages.example/debian
check 0 https://Packages.example/debian
check 0 https://packages.example//debian
