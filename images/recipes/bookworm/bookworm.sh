# The first boot of Bookworm: an initramfs that grows the card, a script as PID 1, and a restart.
put 755 grow-root etc/initramfs-tools/scripts/local-premount/firstboot
put 755 first-boot usr/lib/raspberrypi-sys-mods/firstboot

# That script makes the SSH host keys, and systemd of Debian 12 takes an empty file for no machine-id yet.
chroot "$root" systemctl --quiet disable regenerate_ssh_host_keys.service
rm "$root/usr/lib/systemd/system/regenerate_ssh_host_keys.service"
: >"$root/etc/machine-id"
rm -rf "$root/var/lib/systemd/timesync"

# kmod's program is /sbin/depmod here, which the diversion of /usr/sbin/depmod does not hold back: done by hand, or it would
# be gone when the initramfs needs it.
mv "$root/usr/sbin/depmod" "$root/usr/sbin/depmod.distrib"
: >"$root/usr/sbin/depmod"
