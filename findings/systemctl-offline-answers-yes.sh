#!/bin/sh
# systemctl that must not talk to PID 1.
#
# Guess: with SYSTEMD_OFFLINE=1 (or in a chroot), where systemctl cannot ask PID 1, questions and orders fail; a script that calls
# `systemctl is-active NAME && systemctl reload NAME` reloads nothing.
#
# Reality (systemd 252): enable, disable, mask and set-default work on the files, without the reload that they cause
# otherwise. Everything else prints "ignoring command" and ends with 0: is-active says yes for any name, also for one that does not
# exist.
#
# Needs systemctl; root for nothing. Changes a folder of its own only.
set -eu
lab=$(mktemp -d)
trap 'rm -rf "$lab"' EXIT
systemctl --version | head -n 1
for words in "is-active no-such-unit.service" "reload no-such-unit.service" "start --no-block no-such-unit.service" daemon-reload; do
	result=0
	# shellcheck disable=SC2086 # several words
	SYSTEMD_OFFLINE=1 systemctl $words 2>"$lab/talk" || result=$?
	echo "systemctl $words: ends with $result: $(cat "$lab/talk")"
	[ "$result" -eq 0 ] && grep -q "ignoring command" "$lab/talk" || { echo "the behaviour has changed"; exit 1; }
done
mkdir -p "$lab/etc/systemd/system" "$lab/usr/lib/systemd/system"
printf '[Service]\nExecStart=true\n[Install]\nWantedBy=multi-user.target\n' >"$lab/usr/lib/systemd/system/a.service"
SYSTEMD_OFFLINE=1 systemctl --quiet --root="$lab" enable a.service
[ -L "$lab/etc/systemd/system/multi-user.target.wants/a.service" ] && echo "enable made the link; as it was seen"
