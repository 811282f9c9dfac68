#!/bin/sh
# Turns the Debian tree $1 into what a card's root partition holds. $FILES holds the recipe's files, $DISK is the disk
# identifier, $SOURCES the image's apt sources. The recipe's scripts follow, one after the other.
set -eu
root=$1

put() { # MODE FILE PATH: installs one of the recipe's files.
	mkdir -p "$root/$(dirname "$3")"
	sed "s/@DISK@/$DISK/g" "$FILES/$2" >"$root/$3"
	chmod "$1" "$root/$3"
}
