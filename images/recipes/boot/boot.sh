# The kernel and its initramfs, for the FAT: they leave the root partition, where packages would make them again.
for name in update-initramfs depmod; do
	rm "$root/usr/sbin/$name"
	chroot "$root" dpkg-divert --quiet --local --rename --remove "/usr/sbin/$name"
done
put 755 initramfs-hook etc/initramfs-tools/hooks/card
printf 'MODULES=most\nCOMPRESS=zstd\nCOMPRESSLEVEL=3\n' >"$root/etc/initramfs-tools/conf.d/card"
kernel=$(basename "$root"/boot/vmlinuz-* | sed 's/^vmlinuz-//')
chroot "$root" update-initramfs -c -k "$kernel"
mv "$root/boot/vmlinuz-$kernel" "$FAT/${kernel_name:-kernel8.img}"
mv "$root/boot/initrd.img-$kernel" "$FAT/${initramfs_name:-initramfs8}"
cp "$root"/usr/lib/linux-image-"$kernel"/broadcom/bcm2[78]*-rpi-*.dtb "$FAT"
rm -f "$root/vmlinuz" "$root/vmlinuz.old" "$root/initrd.img" "$root/initrd.img.old"
