#!/bin/sh
# Starts this node's agent, if the processor can run it. A card of a 32-bit system fits into a Raspberry Pi 1 or Zero
# (ARMv6), too: there the agent would die before it takes its words off the kernel command line, and the Pi would start
# into it again and again.
folder=${0%/*}
case $(uname -m) in
armv6*) ;;
*) exec "$folder/agent" "$@" ;;
esac

words='@WORDS@'
blank='@BLANK@'
cmdline=$folder/../cmdline.txt
status="This Raspberry Pi cannot be a node: its processor is an ARMv6 (Raspberry Pi 1, Zero, Zero W or Compute Module 1),
and Docker has no packages for it. It starts normally from now on, and nothing else was set up.
Write the card again for a Raspberry Pi 2 or newer."

# Of no use to anybody but a finder: this card cannot become a node any more.
for secret in @SECRETS@; do
    [ -f "$folder/$secret" ] || continue
    dd if=/dev/zero of="$folder/$secret" bs="$(wc -c <"$folder/$secret")" count=1 conv=notrunc 2>/dev/null
    sync
    rm -f "$folder/$secret"
done
printf '%s\n' "$status" >"$folder/status.txt"
printf '%s\n' "$status" >&2

# Our words become blanks in place: one sector is written, and neither folder nor allocation table.
line=
[ -f "$cmdline" ] && IFS= read -r line <"$cmdline"
case $line in
*"$words"*) ;;
# Something else started this, which goes on by itself.
*) exit 1 ;;
esac
printf '%s' "${line%%"$words"*}$blank${line#*"$words"}" 1<>"$cmdline"
sync
IFS= read -r line <"$cmdline"
case $line in
*"$words"*)
    # A card that cannot be written. Ending would start this again and again, so the normal start begins from here.
    systemctl start --no-block multi-user.target
    while :; do sleep 3600; done
    ;;
esac
systemctl --no-block reboot
