# What every system here has: its own way to packages, no identity yet, a clock that stood still.

# What mmdebstrap needed to make the tree goes.
rm -f "$root"/etc/apt/sources.list "$root"/etc/apt/sources.list.d/*
rm -f "$root/etc/apt/apt.conf.d/99mmdebstrap" "$root/etc/dpkg/dpkg.cfg.d/99mmdebstrap"
cp "$SOURCES" "$root/etc/apt/sources.list.d/debian.sources"

put 644 fstab etc/fstab
mkdir -p "$root/boot/firmware"

rm -f "$root/etc/network/interfaces" "$root"/etc/ssh/ssh_host_*_key*

# A clock that stood still while the image lay on a shelf.
install -d -m 755 "$root/var/lib/systemd/timesync"
: >"$root/var/lib/systemd/timesync/clock"

rm -f "$root/var/lib/dbus/machine-id"
ln -s /etc/machine-id "$root/var/lib/dbus/machine-id"
rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/*.bin "$root"/var/log/*.log "$root"/var/log/apt
