#!/bin/sh
# Setting up a package makes systemd read all units again, three times for Docker. systemd finds a unit that it does not
# know yet without that. So it is done only if the installation has changed a unit that is loaded, which systemd says
# itself. The links that enable units count from the next reading on.
verb=
for word; do
	case $word in -*) ;; *) verb=$word; break ;; esac
done
if [ "$verb" = daemon-reload ]; then
	units=$(find /usr/lib/systemd/system /etc/systemd/system -type f -cnewer "$0.since" -printf '%P\n')
	case $units in
	'') exit 0 ;;
	# Drop-ins and templates: which units they change is systemd's affair.
	*/* | *@*) ;;
	*)
		case $(/usr/bin/systemctl show --property=LoadState,NeedDaemonReload --value $units) in
		*yes* | *not-found*) ;;
		*) exit 0 ;;
		esac
		;;
	esac
fi
exec /usr/bin/systemctl "$@"
