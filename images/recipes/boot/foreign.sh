# This machine's own programs leave the tree, and what held their libraries.
libraries=/usr/lib/x86_64-linux-gnu
sed -n "s|^[^ ]* [^ ]* [^ ]* [^ ]* \($root/[^ ]*\) .*|\1|p" /proc/self/mountinfo | sort -r | while read -r mounted; do
	case $mounted in "$root/usr/bin/"* | "$root/lib64" | "$root$libraries") umount "$mounted" ;; esac
done
if [ -d "$root$libraries" ]; then rmdir "$root/lib64" "$root$libraries"; fi
