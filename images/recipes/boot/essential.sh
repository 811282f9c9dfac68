#!/bin/sh
# Runs before the packages come. The initramfs is made once, at the end, instead of by every package; the index of
# modules is made by this machine's own program, if it is in the tree.
set -eu
for name in update-initramfs depmod; do
	chroot "$1" dpkg-divert --quiet --local --rename --add "/usr/sbin/$name"
done
ln -s /bin/true "$1/usr/sbin/update-initramfs"
if [ -e "$1/native/depmod" ]; then cp "$1/native/depmod" "$1/usr/sbin"; else ln -s ../bin/kmod "$1/usr/sbin/depmod"; fi
