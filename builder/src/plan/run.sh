#!/bin/sh
# Starts this node's agent, if the processor can run it and it is what was written. Otherwise the Pi would start into it again
# and again: nothing else takes our words off the kernel command line. A card of a 32-bit system fits into a Raspberry Pi 1
# or Zero (ARMv6), too, where the agent dies of its first instruction.
folder=${0%/*}
case $(uname -m) in
armv6*)
    status="This Raspberry Pi cannot be a node: its processor is an ARMv6 (Raspberry Pi 1, Zero, Zero W or Compute Module 1),
and Docker has no packages for it. It starts normally from now on, and nothing else was set up.
Write the card again for a Raspberry Pi 2 or newer."
    ;;
*)
    echo "@SHA256@  $folder/agent" | sha256sum --check --status && exec "$folder/agent" "$@"
    status="The program on this card, $folder/agent, is damaged or missing, so this Raspberry Pi does not become a node.
It starts normally from now on, and nothing else was set up. The card may be worn out: write another one with builder."
    ;;
esac

words='@WORDS@'
blank='@BLANK@'
cmdline=$folder/../cmdline.txt

# The image makes its user from userconf.txt, and may keep the shell: "nologin" since April 2026. The keys go where it will find
# them. Nothing works without the rest, so what fails is passed over.
account=$(getent passwd 1000)
user=${account%%:*}
shell=${account##*:}
home=${account%:*}
home=${home##*:}
case $shell in
'' | */nologin | */false) shell= ;;
*) [ ! -e /etc/shells ] || grep -q -x -F -e "$shell" /etc/shells || shell= ;;
esac
[ -z "$user" ] || [ -n "$shell" ] || usermod --shell /bin/bash "$user"
rm -f /etc/ssh/sshd_config.d/rename_user.conf
if [ -d "$home" ] && [ -s "$folder/authorized_keys" ]; then
    mkdir -p -m 700 "$home/.ssh"
    cp "$folder/authorized_keys" "$home/.ssh/authorized_keys"
    chmod 600 "$home/.ssh/authorized_keys"
    chown -R 1000:1000 "$home/.ssh"
fi

# Debian 13 makes sshd's keys in systemd's first boot only, which this is, and sshd starts in the next. Makes those that are missing.
ssh-keygen -A >/dev/null

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
