#!/bin/sh
# Makes the good inputs that the fuzzing of builder begins with, with the programs people use: what is read is made by
# others. Needs fdisk, dosfstools, mtools, e2fsprogs, xz-utils, zstd and zip. Run it in this folder to make them anew. The
# folders in `found` have what the fuzzing found: panics, circles and sizes without measure, made anew by the damage alone.
set -eu
export LC_ALL=C SOURCE_DATE_EPOCH=1764806400 MTOOLS_SKIP_CHECK=1 PATH="$PATH:/usr/sbin:/sbin"
export MKE2FS_DETERMINISTIC=1 E2FSPROGS_FAKE_TIME=1764806400
here=$PWD
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

keep() { # image, folder
    mkdir -p "$here/$2"
    zstd -q -19 -f -o "$here/$2/$1.zst" "$1"
}

found() { # image, folder, name, then offset and bytes, as many as there are
    image=$1 folder=found/$2 name=$3.img
    shift 3
    cp --sparse=always "$image" "$name"
    while [ $# -gt 0 ]; do
        printf "$2" | dd of="$name" bs=1 seek="$(($1))" conv=notrunc status=none
        shift 2
    done
    keep "$name" "$folder"
}

# Partition tables: plain with an extended partition, GPT, GPT beside plain entries, GPT of which only the backup is left.
for name in mbr gpt; do truncate -s 128K $name.img; done
sfdisk -q mbr.img <<'TABLE'
label: dos
label-id: 0x4f2c9ea0
start=8, size=64, type=c
start=72, size=128, type=83
start=200, size=56, type=5
TABLE
sfdisk -q gpt.img <<'TABLE'
label: gpt
label-id: 4F2C9EA0-0000-4000-8000-000000000000
first-lba: 40
start=40, size=64, type=EBD0A0A2-B9E5-4433-87C0-68B6B72699C7, uuid=4F2C9EA0-0000-4000-8000-000000000001
start=104, size=96, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4, uuid=4F2C9EA0-0000-4000-8000-000000000002
TABLE
cp gpt.img hybrid.img
printf '\0\0\2\0\14\377\377\377\50\0\0\0\100\0\0\0' | dd of=hybrid.img bs=1 seek=462 conv=notrunc status=none
cp gpt.img backup.img
dd if=/dev/zero of=backup.img bs=512 seek=1 count=1 conv=notrunc status=none
for name in mbr gpt hybrid backup; do keep $name.img tables; done
found mbr.img tables empty-partition 446+12 '\0\0\0\0'
found mbr.img tables over-the-table 446+8 '\0\0\0\0'
found mbr.img tables overlapping 462+8 '\50\0\0\0'

# What lies on a card's boot partition.
mkdir -p boot/swarm boot/overlays
echo 'console=tty1 root=PARTUUID=4f2c9ea0-02 rootfstype=ext4 rootwait resize' > boot/cmdline.txt
printf 'arm_64bit=1\nauto_initramfs=1\n[all]\n' > boot/config.txt
echo 'Raspberry Pi reference 2025-12-04' > boot/issue.txt
printf '#cloud-config\n' > boot/user-data
printf 'kernel%4000s' '' > boot/kernel8.img
for model in rpi-3-b rpi-3-b-plus rpi-4-b rpi-5-b rpi-cm4; do echo tree > boot/bcm2711-$model.dtb; done
for name in vc4-kms-v3d disable-bt; do echo overlay > boot/overlays/$name.dtbo; done
cp "$here/../../../cluster/tests/corpus/card/full.json" boot/swarm/card.json
echo 'This card belongs to red02, a worker of the cluster red.' > boot/swarm/status.txt
echo '2026-11-22T21:04:30Z docker trouble*12 cannot install Docker: no route' > boot/swarm/log.txt
find boot -exec touch -d @$SOURCE_DATE_EPOCH {} +

fat() { # image, bits, KiB
    truncate -s "$3K" "$1"
    mkfs.fat -F "$2" -s 1 -i 4f2c9ea0 -n BOOTFS "$1" > /dev/null
    mcopy -s -m -i "$1" boot/* ::/
}
fat fat32.img 32 33600
fat fat16.img 16 4200
for name in fat32 fat16; do keep $name.img fat; done
# The first table is behind 32 sectors, the root folder's cluster, with number 2, behind two tables of 517. The fifth sector
# of the folder has room at its end for a slot that is not there.
table='32*512' root='(32+2*517)*512'
found fat32.img fat folder-in-a-circle "$table+2*4" '\2\0\0\0'
found fat32.img fat folder-to-nowhere "$table+2*4" '\1\0\0\0'
found fat32.img fat folder-beyond-the-end "$table+2*4" '\0\0\0\1'
found fat32.img fat files-behind-the-end "$root+6*32" '\0'
found fat32.img fat not-unmounted 65 '\1'

# What is read of a root partition: with and without checksums, and with a journal that waits to be played.
mkdir -p root/etc root/usr/bin root/usr/lib root/var/lib/firstboot
printf 'PRETTY_NAME="Debian GNU/Linux 13 (trixie)"\nVERSION_CODENAME=trixie\nID=debian\n' > root/usr/lib/os-release
ln -s ../usr/lib/os-release root/etc/os-release
ln -s usr/bin root/bin
ln -s dash root/usr/bin/sh
printf 'PARTUUID=4f2c9ea0-01 /boot/firmware vfat defaults 0 2\nPARTUUID=4f2c9ea0-02 / ext4 defaults 0 1\n' > root/etc/fstab
echo uninitialized > root/etc/machine-id
echo '{}' > root/var/lib/firstboot/seed.json
echo '{"version": 1, "marks": [{"stage": "network", "at": 1780000000}]}' > root/var/lib/firstboot/journal.json
# An ELF header for 64-bit ARM and a program header of nothing.
{
    printf '\177ELF\2\1\1\0\0\0\0\0\0\0\0\0\2\0\267\0\1\0\0\0\0\0\0\0\0\0\0\0\100\0\0\0\0\0\0\0'
    printf '\0\0\0\0\0\0\0\0\0\0\0\0\100\0\70\0\1\0\100\0\0\0\0\0'
    head -c 56 /dev/zero
} > root/usr/bin/dpkg
i=0
while [ $i -lt 40 ]; do echo $i > "root/usr/lib/a-file-with-a-long-name-$i"; i=$((i + 1)); done
find root -exec touch -h -d @$SOURCE_DATE_EPOCH {} +

ext4() { # image, KiB, features
    truncate -s "$2K" "$1"
    mke2fs -q -t ext4 -b 1024 -N 96 -U 4f2c9ea0-0000-4000-8000-000000000003 -L rootfs \
        -E hash_seed=4f2c9ea0-0000-4000-8000-000000000004,root_owner=0:0 -O "$3" -d root "$1"
}
ext4 plain.img 384 ^has_journal,^metadata_csum,^64bit,^huge_file
ext4 sums.img 384 ^has_journal,metadata_csum,^64bit,^huge_file
ext4 journal.img 2048 has_journal,metadata_csum,64bit,^huge_file
echo 'played' > played
printf 'jo -c -v 3\njw -b 1500 played\njc\n' | debugfs -w -f - journal.img > /dev/null 2>&1
for name in plain sums journal; do keep $name.img root; done
found plain.img root blocks-of-2-GiB 1024+0x18 '\25\0\0\0'
found plain.img root a-group-per-block 1024+0x04 '\0\0\0\177' 1024+0x20 '\1\0\0\0'
cp sums.img long-link.img
debugfs -w -R 'set_inode_field /etc/os-release size 0x7fffffffff' long-link.img > /dev/null 2>&1
keep long-link.img found/root
cp sums.img long-file.img
debugfs -w -R 'set_inode_field /etc/fstab size 0x7fffffffff' long-file.img > /dev/null 2>&1
keep long-file.img found/root

# A whole card.
truncate -s 34400K card.img
sfdisk -q card.img <<'TABLE'
label: dos
label-id: 0x4f2c9ea0
grain: 512
start=64, size=67200, type=c
start=67264, size=768, type=83
TABLE
dd if=fat32.img of=card.img bs=512 seek=64 conv=notrunc,sparse status=none
dd if=sums.img of=card.img bs=512 seek=67264 conv=notrunc,sparse status=none
keep card.img card

# A small image packed in every way: bytes that do not pack, bytes that do, a hole.
{
    head -c 512 /dev/zero
    xz -c "$here/../../../LICENSE-APACHE" | head -c 1500
    head -c 9000 "$here/../../../LICENSE-APACHE"
} > os.img
truncate -s 24K os.img
printf 'the end' | dd of=os.img bs=1 seek=24569 conv=notrunc status=none
printf '\125\252' | dd of=os.img bs=1 seek=510 conv=notrunc status=none
mkdir -p "$here/archives"
cp os.img "$here/archives/os.img"
touch -d @$SOURCE_DATE_EPOCH os.img
xz -k --block-size=8KiB os.img
xz -c -6 --check=crc32 os.img > one.xz
gzip -9 -k os.img
zstd -q -19 --check os.img
head -c 8192 os.img > first.img
tail -c +8193 os.img > second.img
for name in first second; do xz -c $name.img; head -c 8 /dev/zero; done > two.xz
for name in first second; do gzip -n -c $name.img; done > two.gz
for name in first second; do zstd -q -c $name.img; done > two.zst
echo 'read me' > readme.txt
touch -d @$SOURCE_DATE_EPOCH readme.txt
zip -q -X os.zip os.img readme.txt
zip -q -X -0 stored.zip os.img
cp os.img.xz one.xz os.img.gz os.img.zst two.xz two.gz two.zst os.zip stored.zip "$here/archives/"
