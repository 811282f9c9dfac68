#!/bin/sh
# Many connections at once through one jump host.
#
# Guess: fifty simultaneous `ssh -J jump host true` all succeed, or the last ones wait, because the jump host allows fifty
# sessions.
#
# Reality (OpenSSH 9.2p1, defaults): from the 11th connection that is not logged in yet, sshd drops connections at random
# (MaxStartups 10:30:100). So some of the fifty fail immediately with "kex_exchange_identification: Connection closed by remote
# host", and the client never retries. No message on the client mentions an overload.
#
# Needs root (sshd requires /run/sshd), openssh-server and openssh-client.
set -eu
[ "${1:-}" = inside ] || exec unshare --mount -- sh -c 'mount -t tmpfs tmpfs /run && mkdir -m 0755 /run/sshd && exec sh "$0" inside' "$0"
folder=$(mktemp -d)
servers=
trap 'kill $servers; rm -rf "$folder"' EXIT
ssh-keygen -q -t ed25519 -N '' -f "$folder/host"
ssh-keygen -q -t ed25519 -N '' -f "$folder/id"
# The jump host has the defaults; the host behind it accepts all connections.
for server in "jump 40122" "host 40123 MaxStartups=500"; do
    set -- $server
    /usr/sbin/sshd -D -f /dev/null -p "$2" -h "$folder/host" -o "AuthorizedKeysFile=$folder/id.pub" -o StrictModes=no \
        -o ListenAddress=127.0.0.1 -o PidFile=none -o UsePAM=no -o LogLevel=ERROR ${3:+-o $3} &
    servers="$servers $!"
done
cat >"$folder/config" <<EOF
Host jump host
    HostName 127.0.0.1
    IdentityFile $folder/id
    IdentitiesOnly yes
    IdentityAgent none
    StrictHostKeyChecking no
    UserKnownHostsFile /dev/null
    GlobalKnownHostsFile /dev/null
    BatchMode yes
    LogLevel ERROR
Host jump
    Port 40122
Host host
    Port 40123
    ProxyJump jump
EOF
ssh -V
tries=0
until ssh -F "$folder/config" host true 2>/dev/null; do
    tries=$((tries + 1))
    [ "$tries" -lt 50 ]
    sleep 0.2
done
ids=
for number in $(seq 50); do
    ssh -F "$folder/config" host true 2>"$folder/$number" </dev/null &
    ids="$ids $!"
done
failed=0
for id in $ids; do
    wait "$id" || failed=$((failed + 1))
done
echo "$failed of 50 failed; the most frequent messages:"
cat "$folder"/[0-9]* | sort | uniq -c | sort -rn | sed 's/port [0-9]*/port N/' | head -n 3
[ "$failed" -gt 0 ]
grep -q 'kex_exchange_identification' "$folder"/[0-9]*
echo "as observed"
