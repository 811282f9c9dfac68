# Emulation makes every small program slow. Where this machine's own do the same work, its own run in the tree: first
# from a folder of their own, which the search path begins with, and once the tree's are there, in their places. What
# reads or writes something of its architecture (dpkg, uname, perl) stays, and what an initramfs takes along.
root=$1
stage=$2
libraries=usr/lib/x86_64-linux-gnu
if [ "$(dpkg --print-architecture)" = amd64 ] && [ "$stage" = extract ]; then
	# A folder lib64 of its own would be a tree without merged /usr, which systemd refuses.
	mkdir -p "$root/usr/lib64" "$root/$libraries" "$root/native"
	ln -s usr/lib64 "$root/lib64"
	mount --bind /lib64 "$root/usr/lib64"
	mount --bind "/$libraries" "$root/$libraries"
	if [ -x /usr/sbin/depmod ]; then cp /usr/sbin/depmod "$root/native"; fi
fi
for name in basename bash cat chgrp chmod chown cmp comm cp cut dash date diff dirname dpkg-deb env expr find grep gzip \
	head id install ln ls mawk mkdir mktemp mv openssl paste readlink realpath rm rmdir sed sort stat tail tar tee \
	touch tr tsort uniq wc xargs xz zstd; do
	file=usr/bin/$name
	if [ ! -d "$root/native" ] || [ ! -f "/$file" ] || [ -L "/$file" ]; then continue; fi
	if [ "$stage" = extract ]; then
		cp "/$file" "$root/native"
	elif [ -f "$root/$file" ] && [ ! -L "$root/$file" ]; then
		mount --bind "/$file" "$root/$file"
	fi
done
