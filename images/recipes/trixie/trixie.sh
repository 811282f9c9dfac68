# The first boot of Trixie: one boot, no restart of its own.
put 755 resize-partition etc/initramfs-tools/scripts/local-premount/resize-partition
put 755 new-identity etc/initramfs-tools/scripts/local-bottom/new-identity
put 644 rpi-resize.service usr/lib/systemd/system/rpi-resize.service
chroot "$root" systemctl --quiet enable rpi-resize.service
