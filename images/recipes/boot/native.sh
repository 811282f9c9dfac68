# Emulation makes every small program slow. Where this machine's own do the same work, its own run in the tree: first
# from a folder of their own, which the search path begins with, and once the tree's are there, in their places. What
# reads or writes something of its architecture (dpkg, uname, perl) stays, and what an initramfs takes along.
root=$1
stage=$2

programs="basename bash cat chgrp chmod chown cmp comm cp cut dash date depmod diff dirname dpkg-deb env expr find grep \
	gzip head id install ln ls mawk mkdir mktemp mv openssl paste readlink realpath rm rmdir sed sort stat tail tar tee \
	touch tr tsort uniq wc xargs xz zstd"

put_loader() {
	# A folder lib64 of its own would be a tree without merged /usr, which systemd refuses.
	mkdir -p "$root/usr/lib64"
	ln -snf usr/lib64 "$root/lib64"
	cp --dereference /lib64/ld-linux-x86-64.so.2 "$root/usr/lib64"
}

if [ "$(dpkg --print-architecture)" = amd64 ] && [ "$stage" = extract ]; then
	mkdir -p "$root/usr/lib/x86_64-linux-gnu" "$root/native"
	put_loader
	for name in $programs; do
		if path=$(command -v "$name"); then
			cp --dereference "$path" "$root/native"
			ldd "$path" | sed -n 's/.* => \(\/[^ ]*\) .*/\1/p' | while read -r library; do
				cp --dereference --no-clobber "$library" "$root/usr/lib/x86_64-linux-gnu"
			done
		fi
	done
fi
if [ "$stage" = essential ] && [ -d "$root/native" ]; then
	# Bookworm's usr-is-merged clears such a folder away.
	put_loader
	for name in $programs; do
		if [ -f "$root/native/$name" ] && [ -f "$root/usr/bin/$name" ] && [ ! -L "$root/usr/bin/$name" ]; then
			mount --bind "$root/native/$name" "$root/usr/bin/$name"
		fi
	done
fi
