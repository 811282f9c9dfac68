#!/bin/sh
# What a person would put on a card instead of an agent: apt, Docker, swarm init.
set -e
say() { echo "script: $1"; }
say begun
export DEBIAN_FRONTEND=noninteractive
until apt-get update -q -o APT::Update::Error-Mode=any >/dev/null 2>&1; do sleep 1; done
say "package lists read"
apt-get install -y -q --no-install-recommends docker.io docker-cli iptables >/dev/null 2>&1
until docker info >/dev/null 2>&1; do sleep 1; done
say "Docker answers"
docker swarm init --availability drain --advertise-addr eth0 >/dev/null
until docker node ls | grep -q Ready; do sleep 1; done
say "swarm formed"
