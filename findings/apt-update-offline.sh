#!/bin/sh
# Guess: `apt-get update` fails if it cannot reach any of its sources, so a script that checks its exit status knows why the
# following `apt-get install` would find nothing.
#
# Reality: unreachable sources are warnings. update exits with 0 and reports them only on standard error; install then
# exits with 100 and "Unable to locate package", which does not mention the network. A source that answers but is broken (no
# Release file) makes update exit with 100 even though all others were read.
#
# Second guess: a pattern that matches no package is an error, as a wrong name is. Reality: install ignores it.
#
# Needs apt (Debian 12: 2.6, Debian 13: 3.0). Changes nothing outside a temporary folder; connects only to a closed local port.
set -eu

lab=$(mktemp -d)
trap 'rm -rf "$lab"' EXIT
mkdir -p "$lab/parts" "$lab/lists/partial" "$lab/cache/archives/partial" "$lab/broken"
: >"$lab/status"
apt() {
	apt-get -qq -o Dir::Etc::sourcelist="$lab/list" -o Dir::Etc::sourceparts="$lab/parts" -o Dir::State::lists="$lab/lists" \
		-o Dir::Cache="$lab/cache" -o Dir::State::status="$lab/status" -o APT::Sandbox::User= -o Acquire::Retries=0 \
		-o Acquire::http::Proxy=DIRECT "$@"
}
expect() { # expected exit status, pattern on standard error, command
	want=$1 pattern=$2
	shift 2
	status=0
	apt "$@" >"$lab/out" 2>"$lab/err" || status=$?
	echo "apt-get $*: exit $status $(grep -m 1 '^[EW]:' "$lab/err" || true)"
	[ "$status" -eq "$want" ] && { [ -z "$pattern" ] || grep -q "$pattern" "$lab/err"; } || { echo "the behaviour has changed"; exit 1; }
}

apt-get --version | head -n 1
# Port 9 (discard) is closed.
echo "deb [signed-by=/etc/apt/keyrings/any.asc] http://127.0.0.1:9/debian stable main" >"$lab/list"
expect 0 "^W: Failed to fetch" update
expect 100 "Unable to locate package example" --simulate install example
expect 0 "" --simulate install '?exact-name(example)'
echo "deb [signed-by=/etc/apt/keyrings/any.asc] file:$lab/broken stable main" >"$lab/list"
expect 100 "does not have a Release file" update
