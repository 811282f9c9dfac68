#!/bin/sh
# Guess: apt's pattern `?architecture(native)` selects packages of the machine's own architecture, as `:native` does in
# dependencies and `apt-cache` output.
#
# Reality: `native` matches no package, and apt reports no error for a pattern that matches nothing, so the mistake is
# silent. The name of the architecture (`?architecture(amd64)`) works.
#
# Needs apt and dpkg (Debian 12: apt 2.6, Debian 13: 3.0). Simulates only.
set -eu

apt-get --version | head -n 1
own=$(dpkg --print-architecture)
matches() { # whether the pattern selects the installed package dpkg
	apt-get -q --simulate install "?and(?exact-name(dpkg),?architecture($1))" 2>&1 | grep -q '^dpkg is already\|^Inst dpkg '
}
for name in "$own" native; do
	if matches "$name"; then answer=yes; else answer=no; fi
	echo "?architecture($name) selects dpkg: $answer"
	case $name-$answer in native-no | "$own-yes") ;; *) echo "the behaviour has changed"; exit 1 ;; esac
done
