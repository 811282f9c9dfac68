#!/bin/sh
# Setting up a package makes systemd read all units again, three times for Docker. Until the installation ends, that is
# repeated only if a unit file has changed; the links that enable units count from the next reading on.
verb=
for word; do
	case $word in -*) ;; *) verb=$word; break ;; esac
done
if [ "$verb" = daemon-reload ]; then
	if [ -e "$0.done" ] && [ -z "$(find /usr/lib/systemd/system /etc/systemd/system -type f -cnewer "$0.done" -print -quit)" ]; then
		exit 0
	fi
	: >"$0.done"
fi
exec /usr/bin/systemctl "$@"
