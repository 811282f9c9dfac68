# What makes a Debian system look like Ubuntu Server to a card's reader: cloud-init makes the user, netplan the network.
put 644 90-ubuntu.cfg etc/cloud/cloud.cfg.d/90-ubuntu.cfg
chroot "$root" systemctl --quiet enable ssh.service systemd-networkd.service systemd-resolved.service systemd-timesyncd.service
ln -snf ../run/systemd/resolve/stub-resolv.conf "$root/etc/resolv.conf"
echo ubuntu >"$root/etc/hostname"
printf '127.0.0.1 localhost\n\n::1 ip6-localhost ip6-loopback\nff02::1 ip6-allnodes\nff02::2 ip6-allrouters\n' >"$root/etc/hosts"
kernel_name=vmlinuz initramfs_name=initrd.img
