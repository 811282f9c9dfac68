#!/bin/sh
# One preferred type of host key, with `HostKeyAlgorithms=^TYPE`.
#
# Guess: `ssh` asks for the types of the keys that known_hosts has for the host first, as always, and `^ecdsa-sha2-nistp256` only moves
# one type within the rest of the list. So a host whose ed25519 key is in known_hosts is still recognised.
#
# Reality (OpenSSH 9.2p1): the order by known_hosts holds for the default list and for one that is changed with `+`, but not for `^`, and
# ssh_config(5) names no difference between the prefixes. The server's key of the moved type is taken, is not in known_hosts, and the
# connection is refused, although the server also has the known key.
#
# Needs root (sshd requires /run/sshd), openssh-server and openssh-client.
set -eu
[ "${1:-}" = inside ] || exec unshare --mount -- sh -c 'mount -t tmpfs tmpfs /run && mkdir -m 0755 /run/sshd && exec sh "$0" inside' "$0"
folder=$(mktemp -d)
server=
trap 'kill $server; rm -rf "$folder"' EXIT
for type in ed25519 ecdsa; do
    ssh-keygen -q -t "$type" -N '' -f "$folder/host-$type"
done
ssh-keygen -q -t ed25519 -N '' -f "$folder/id"
/usr/sbin/sshd -D -f /dev/null -p 40124 -h "$folder/host-ed25519" -h "$folder/host-ecdsa" -o "AuthorizedKeysFile=$folder/id.pub" \
    -o StrictModes=no -o ListenAddress=127.0.0.1 -o PidFile=none -o UsePAM=no -o LogLevel=ERROR &
server=$!
reach() {
    ssh -F /dev/null -p 40124 -i "$folder/id" -o IdentitiesOnly=yes -o IdentityAgent=none -o BatchMode=yes \
        -o "UserKnownHostsFile=$folder/known_hosts" -o GlobalKnownHostsFile=/dev/null -o UpdateHostKeys=no "$@" 127.0.0.1 true
}
ssh -V
tries=0
until reach -o StrictHostKeyChecking=no -o "UserKnownHostsFile=/dev/null" 2>/dev/null; do
    tries=$((tries + 1))
    [ "$tries" -lt 50 ]
    sleep 0.2
done
# One of the two keys is known, and the type of the other is asked for first.
check() {
    known=$1 moved=$2
    printf '[127.0.0.1]:40124 %s\n' "$(cut -d ' ' -f 1,2 "$folder/host-$known.pub")" >"$folder/known_hosts"
    reach
    reach -o "HostKeyAlgorithms=+$moved"
    echo "$known is known: recognised, also with HostKeyAlgorithms=+$moved"
    if reach -o "HostKeyAlgorithms=^$moved" 2>"$folder/said"; then
        echo "recognised with ^$moved, too"
        exit 1
    fi
    echo "$known is known, HostKeyAlgorithms=^$moved: $(tail -n 1 "$folder/said")"
    grep -q '^Host key verification failed' "$folder/said"
}
check ed25519 ecdsa-sha2-nistp256
check ecdsa ssh-ed25519
echo "as observed"
