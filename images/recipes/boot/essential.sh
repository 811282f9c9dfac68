#!/bin/sh
# Runs before the packages come: the initramfs is made once, at the end, instead of by every package.
set -eu
chroot "$1" dpkg-divert --quiet --local --rename --add /usr/sbin/update-initramfs
mkdir -p "$1/usr/sbin"
ln -s /bin/true "$1/usr/sbin/update-initramfs"
