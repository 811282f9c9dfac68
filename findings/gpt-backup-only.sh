#!/bin/sh
# Guess: a GPT keeps a second header at the end of the disk, so an image whose first header is destroyed still works after
# it is written to an SD card.
#
# Reality: programs look for the second header at the end of the *card*. On a card larger than the image they do not find it:
# partx prints no partition and exits 0, and sfdisk treats the disk as an MBR with one partition of type ee. On a disk of exactly
# the image's size both tools find everything, so a test with the image file alone does not show the problem.
#
# Needs: fdisk (sfdisk), util-linux (partx), coreutils. No root. Observed with util-linux 2.38.1.
set -eu
PATH=$PATH:/usr/sbin:/sbin
export LC_ALL=C
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
partx --version

truncate -s 64M whole.img
printf 'label: gpt\nstart=2048,size=32768\nstart=40960,size=65536\n' | sfdisk --quiet whole.img
cp whole.img headless.img
dd if=/dev/zero of=headless.img bs=512 seek=1 count=1 conv=notrunc status=none
for name in whole headless; do
    cp "$name.img" "$name-card.img"
    truncate -s 128M "$name-card.img"
done

fail() { echo "behaviour changed: $1" >&2; exit 1; }
count() { partx -go NR "$1" | wc -l; }
for name in whole headless whole-card headless-card; do
    echo "$name: partx finds $(count $name.img), sfdisk prints: $(sfdisk --dump $name.img 2>/dev/null | grep '^label:')"
done
[ "$(count headless.img)" -eq 2 ] || fail "the second header is not used on a disk of the image's size"
[ "$(count whole-card.img)" -eq 2 ] || fail "a whole GPT does not work on a larger card"
[ "$(count headless-card.img)" -eq 0 ] || fail "partx finds the partitions on a larger card"
sfdisk --dump headless-card.img 2>/dev/null | grep -q '^label: dos' || fail "sfdisk no longer takes it for an MBR"

# Rewriting the table on a disk of the image's size restores both headers.
sfdisk --dump headless.img > table 2>/dev/null
sfdisk --quiet headless.img < table >/dev/null 2>&1
truncate -s 128M headless.img
[ "$(count headless.img)" -eq 2 ] || fail "sfdisk does not restore the first header"
echo "as expected: the second header works only on a disk of exactly the image's size"
