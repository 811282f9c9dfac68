#!/bin/sh
# Running systemctl without contacting PID 1.
#
# Guess: with SYSTEMD_OFFLINE=1 (or in a chroot), where systemctl cannot contact PID 1, queries and commands fail; a script that
# calls `systemctl is-active NAME && systemctl reload NAME` reloads nothing.
#
# Reality (systemd 252): enable, disable, mask and set-default edit the files, without the reload that they cause otherwise.
# Every other command prints "ignoring command" and exits with 0: is-active succeeds for any name, even if the unit does not
# exist.
#
# Needs systemctl, but not root. Changes only a temporary folder.
set -eu
lab=$(mktemp -d)
trap 'rm -rf "$lab"' EXIT
systemctl --version | head -n 1
for words in "is-active no-such-unit.service" "reload no-such-unit.service" "start --no-block no-such-unit.service" daemon-reload; do
	result=0
	# shellcheck disable=SC2086 # several words
	SYSTEMD_OFFLINE=1 systemctl $words 2>"$lab/talk" || result=$?
	echo "systemctl $words: exits with $result: $(cat "$lab/talk")"
	[ "$result" -eq 0 ] && grep -q "ignoring command" "$lab/talk" || { echo "the behaviour has changed"; exit 1; }
done
mkdir -p "$lab/etc/systemd/system" "$lab/usr/lib/systemd/system"
printf '[Service]\nExecStart=true\n[Install]\nWantedBy=multi-user.target\n' >"$lab/usr/lib/systemd/system/a.service"
SYSTEMD_OFFLINE=1 systemctl --quiet --root="$lab" enable a.service
[ -L "$lab/etc/systemd/system/multi-user.target.wants/a.service" ] && echo "enable made the link, as observed"
