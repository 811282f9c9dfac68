# Byte code for all of Python, so that the first boot does not compile it.
for name in py3compile py3clean; do
	rm "$root/usr/bin/$name"
	chroot "$root" dpkg-divert --quiet --local --rename --remove "/usr/bin/$name"
done
chroot "$root" python3 -m compileall -q -j 0 /usr/lib/python3/dist-packages
