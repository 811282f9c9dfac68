#!/bin/sh
# Units that systemd enables at a first boot, and the time at which sshd gets its host keys.
#
# Guess: an image with `uninitialized` in /etc/machine-id starts the services that its maker enabled, and only NetworkManager
# waits for the network. Debian's sshd makes missing host keys whenever it starts.
#
# Reality (Debian 13: systemd 257.13, openssh-server 10.0p1): at a first boot PID 1 runs preset-all (enable only), which enables every
# unit that no preset disables. So disabled units are enabled again: systemd-networkd with its wait for the network (120 s if it
# manages no device) in addition to NetworkManager's, and ssh.socket in addition to ssh.service. sshd-keygen.service makes the
# host keys, with ConditionFirstBoot=yes: an image without keys that restarts before sshd has run once never gets any.
#
# Needs systemctl, apt and a Debian mirror (DEBIAN_MIRROR, otherwise the machine's own). Installs and starts nothing.
set -eu
mirror=${DEBIAN_MIRROR:-$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -m1 '/debian/*$')}
lab=$(mktemp -d)
trap 'rm -rf "$lab"' EXIT
mkdir -p "$lab/lists/partial" "$lab/cache/archives/partial"
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror trixie main" >"$lab/list"
apt() {
	apt-get -qq -o Dir::Etc::sourcelist="$lab/list" -o Dir::Etc::sourceparts=/dev/null -o Dir::State::lists="$lab/lists" \
		-o Dir::Cache="$lab/cache" -o Dir::State::status=/dev/null -o APT::Sandbox::User= "$@"
}
apt update
(cd "$lab" && apt download systemd openssh-server network-manager)
for deb in "$lab"/*.deb; do
	dpkg-deb --show --showformat='${Package} ${Version}\n' "$deb"
	dpkg-deb --extract "$deb" "$lab/tree"
done
mkdir -p "$lab/tree/etc/systemd/system"
units="systemd-networkd.service systemd-networkd-wait-online.service NetworkManager-wait-online.service ssh.service ssh.socket"
states() {
	for unit in $units; do
		echo "$1 $unit $(systemctl --root="$lab/tree" is-enabled "$unit" 2>/dev/null || true)"
	done
}
states before | tee "$lab/seen"
# PID 1 does the same at a first boot (systemd's src/core/manager.c, manager_preset_all).
systemctl --quiet --root="$lab/tree" preset-all --preset-mode=enable-only 2>/dev/null
states after | tee -a "$lab/seen"
grep -o 'ConditionFirstBoot=.*' "$lab/tree/usr/lib/systemd/system/sshd-keygen.service" | tee -a "$lab/seen"
{
	for unit in $units; do echo "before $unit disabled"; done
	for unit in $units; do echo "after $unit enabled"; done
	echo "ConditionFirstBoot=yes"
} >"$lab/wanted"
cmp "$lab/seen" "$lab/wanted" && echo "as observed"
