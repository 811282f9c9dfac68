# The first boot of Bookworm: an initramfs that grows the card, a script as PID 1, and a restart.
put 755 grow-root etc/initramfs-tools/scripts/local-premount/firstboot
put 755 first-boot usr/lib/raspberrypi-sys-mods/firstboot

# That script makes the SSH host keys by the service's own program, which then disables the service. systemd takes an empty file
# for no machine-id yet, and not for a first boot: no presets are applied.
chroot "$root" systemctl --quiet enable regenerate_ssh_host_keys.service
: >"$root/etc/machine-id"
rm -rf "$root/var/lib/systemd/timesync"

# The branch for Bookworm still creates the user with a shell, and lets it become root.
chroot "$root" usermod --shell /bin/bash pi
echo "pi ALL=(ALL) NOPASSWD: ALL" >"$root/etc/sudoers.d/010_pi-nopasswd"
chmod 440 "$root/etc/sudoers.d/010_pi-nopasswd"

# Settings of the same meaning, from before there were drop-ins for them; no watchdog, no shorter intervals for the clock.
rm "$root"/usr/lib/systemd/*/40-rpi-*.conf "$root/usr/lib/systemd/system-preset/00-pios.preset"
sed -i 's/^#\{0,1\}Storage=.*/Storage=volatile/' "$root/etc/systemd/journald.conf"
sed -i 's/swap-file 2048/swap-file 512/' "$root/usr/lib/systemd/system/swap-file.service"

# kmod's program is /sbin/depmod here, which the diversion of /usr/sbin/depmod does not hold back: done by hand, or it would
# be gone when the initramfs needs it.
mv "$root/usr/sbin/depmod" "$root/usr/sbin/depmod.distrib"
: >"$root/usr/sbin/depmod"
