# Emulation makes every small program slow. Where this machine's own do the same work, its own run in the tree, through
# mounts that end with the build; what reads or writes something of its architecture (dpkg, uname, perl) stays.
root=$1
libraries=/usr/lib/x86_64-linux-gnu
if [ "$(dpkg --print-architecture)" = amd64 ] && [ ! -e "$root/lib64" ]; then
	for folder in /lib64 "$libraries"; do
		mkdir -p "$root$folder"
		mount --bind "$folder" "$root$folder"
	done
	for name in basename bash cat chgrp chmod chown cmp comm cp cpio cut dash date diff dirname dpkg-deb env expr find \
		grep gzip head id install kmod ln ls mawk mkdir mktemp mv openssl paste readlink realpath rm rmdir sed \
		sort stat tail tar tee touch tr tsort uniq wc xargs xz zstd; do
		file=usr/bin/$name
		if [ -f "/$file" ] && [ -f "$root/$file" ] && [ ! -L "/$file" ] && [ ! -L "$root/$file" ]; then
			mount --bind "/$file" "$root/$file"
		fi
	done
fi
