#!/bin/sh
# The lesson's loop, corrected where it does not do what it means to: $1 is the ssh configuration, then come the
# manager's address and the workers'. The same packages as builder takes with --docker debian.
set -eu
conf=$1
shift
manager=$1
on() { # ADDRESS LINE
	ssh -F "$conf" -o BatchMode=yes "pi@$1" "$2"
}
packages='docker.io docker-cli iptables'
for host in "$@"; do
	on "$host" "sudo apt-get -q update && sudo DEBIAN_FRONTEND=noninteractive apt-get -q -y install --no-install-recommends $packages"
done
shift
on "$manager" "sudo docker swarm init --availability drain --advertise-addr $manager:2377"
token=$(on "$manager" 'sudo docker swarm join-token -q worker')
for host in "$@"; do
	on "$host" "sudo docker swarm join --token $token $manager:2377"
done
until [ "$(on "$manager" "sudo docker node ls --format '{{.Status}}'" | grep -c '^Ready$')" = $(($# + 1)) ]; do sleep 1; done
