#!/bin/sh
# Passing a password to sudo over standard input.
#
# Guess: `printf 'password\ndata' | sudo -S cat` prints the data: sudo reads one line, and the command gets the rest. A wrong
# password followed by the end of input is one failed login. sudo-rs behaves in the same way.
#
# Reality (Debian 13: sudo 1.9.16p2, sudo-rs 0.2.5): the guess is right for sudo. sudo-rs reads ahead and drops the input after
# the password, so the command gets nothing. It also treats the end of input as an empty password, twice, so one wrong password
# counts as three failed logins, after which pam_faillock locks an account by default.
#
# Needs root, mmdebstrap and a Debian mirror (DEBIAN_MIRROR, otherwise the first one of this machine).
set -eu
mirror=${DEBIAN_MIRROR:-$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep '/debian/$' | head -n 1)}
tree=$(mktemp -d /var/tmp/sudo-rs-stdin.XXXXXX)
trap 'rm -rf --one-file-system "$tree"' EXIT
mmdebstrap --quiet --variant=minbase --include=sudo,sudo-rs trixie "$tree" "$mirror" 2>/dev/null
chroot "$tree" useradd --create-home --groups sudo ada
echo 'ada:correct horse' | chroot "$tree" chpasswd
cat >"$tree/try" <<'EOF'
as_ada() { setpriv --reuid=ada --regid=ada --init-groups "$@"; }
for sudo in sudo sudo-rs; do
    echo "$sudo $(dpkg-query -W -f '${Version}' $sudo)"
    data=$(printf 'correct horse\ndata' | as_ada $sudo -S -p '' cat 2>/dev/null)
    as_ada $sudo -k 2>/dev/null
    refused=$(echo wrong | as_ada env LC_ALL=C $sudo -S -p '' true 2>&1 | grep -c 'try again') || true
    said=$(echo wrong | as_ada env LC_ALL=C $sudo -S -p '' true 2>&1 | tail -n 1)
    echo "  the command got: '$data'"
    echo "  asked again $refused times; last line: $said"
    echo "$sudo '$data' $refused" >>/seen
done
EOF
# The shell gets its own session and mounts, so that sudo finds no terminal and no mount remains.
unshare --mount --pid --fork sh -c "
    mount -t proc proc '$tree/proc' && mount --rbind /dev '$tree/dev' && exec setsid --wait chroot '$tree' sh /try"
cat >"$tree/wanted" <<'EOF'
sudo 'data' 1
sudo-rs '' 2
EOF
cmp "$tree/seen" "$tree/wanted" && echo "as observed"
