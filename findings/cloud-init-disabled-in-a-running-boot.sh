#!/bin/sh
# Disabling cloud-init during a boot.
#
# Guess: after `touch /etc/cloud/cloud-init.disabled` a `systemctl daemon-reload` removes cloud-init from the boot, because the
# reload runs cloud-init's generator again, which runs ds-identify, which checks the file.
#
# Reality (Debian 13, cloud-init 25.1.4): ds-identify looks for its own result in /run/cloud-init before it looks for the file. So
# it reports "found" again, and the generator keeps cloud-init.target in multi-user.target until the next boot. The conditions of
# the services then skip them, but in order: everything after cloud-init-network.service, sshd included, starts after
# systemd-networkd-wait-online.service.
#
# Needs root, apt and a Debian mirror (DEBIAN_MIRROR, otherwise the machine's own). Installs nothing.
set -eu
mirror=${DEBIAN_MIRROR:-$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -m1 '/debian/*$')}
lab=$(mktemp -d /var/tmp/cloud-init-disabled.XXXXXX)
trap 'rm -rf "$lab"' EXIT
mkdir -p "$lab/lists/partial" "$lab/cache/archives/partial" "$lab/etc/cloud/cloud.cfg.d" "$lab/run"
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror trixie main" >"$lab/list"
apt() {
	apt-get -qq -o Dir::Etc::sourcelist="$lab/list" -o Dir::Etc::sourceparts=/dev/null -o Dir::State::lists="$lab/lists" \
		-o Dir::Cache="$lab/cache" -o Dir::State::status=/dev/null -o APT::Sandbox::User=root "$@"
}
apt update
(cd "$lab" && apt download cloud-init)
dpkg-deb --field "$lab"/cloud-init_*.deb Package Version
dpkg-deb --extract "$lab"/cloud-init_*.deb "$lab/tree"
echo 'datasource_list: [ NoCloud, None ]' >"$lab/etc/cloud/cloud.cfg.d/99.cfg"
cat >"$lab/try" <<'EOF'
mount --bind "$1/etc" /etc
mount -t tmpfs tmpfs /run
ask() {
	result=0
	sh "$1/tree/usr/lib/cloud-init/ds-identify" 2>/dev/null || result=$?
	echo "$2: ds-identify ends with $result"
	echo "$result" >>"$1/seen"
}
ask "$1" "at power-on"
touch /etc/cloud/cloud-init.disabled
ask "$1" "with the file, at the reload"
rm -r /run/cloud-init
ask "$1" "with the file, without the result in /run, as at the next boot"
EOF
unshare --mount sh -eu "$lab/try" "$lab"
printf '0\n0\n2\n' >"$lab/wanted"
grep -H After= "$lab/tree/usr/lib/systemd/system/cloud-init-network.service" | sed 's|.*/||'
cmp "$lab/seen" "$lab/wanted" && echo "as observed"
