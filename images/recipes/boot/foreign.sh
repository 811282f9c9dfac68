# This machine's own programs leave the tree, and their libraries with them.
if [ -d "$root/native" ]; then
	sed -n "s|^[^ ]* [^ ]* [^ ]* [^ ]* \($root/usr/bin/[^ ]*\) .*|\1|p" /proc/self/mountinfo | xargs --no-run-if-empty umount
	rm -r "$root/native" "$root/lib64" "$root/usr/lib64" "$root/usr/lib/x86_64-linux-gnu"
fi
