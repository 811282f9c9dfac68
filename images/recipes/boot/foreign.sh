# This machine's own programs leave the tree, and what held their libraries.
if [ -d "$root/native" ]; then
	sed -n "s|^[^ ]* [^ ]* [^ ]* [^ ]* \($root/[^ ]*\) .*|\1|p" /proc/self/mountinfo | sort -r | while read -r mounted; do
		case $mounted in
		"$root/usr/bin/"* | "$root/usr/lib64" | "$root/usr/lib/x86_64-linux-gnu") umount "$mounted" ;;
		esac
	done
	rm -r "$root/native"
	rm "$root/lib64"
	rmdir "$root/usr/lib64" "$root/usr/lib/x86_64-linux-gnu"
fi
