#!/bin/sh
# Guess: `zstd -d` unpacks everything that `zstd --long=28` packs; only a huge file may need more memory.
#
# Reality: it depends on how zstd gets its input. For a file, whose size is known, the window is as small as the file, and
# every program unpacks it. For a pipe, the same bytes get a window of 256 MiB, and `zstd -d`, like every program that uses the
# library's defaults (limit 128 MiB), refuses 3 MB with "Frame requires too much memory". The archive is not damaged: zstd -d
# unpacks it with --long=28 or more.
#
# Needs: zstd. Observed with zstd 1.5.4.
set -eu
export LC_ALL=C
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
zstd --version

head -c 3000000 /dev/urandom > data
zstd -q --long=28 data -o from-file.zst
zstd -q --long=28 < data > from-pipe.zst

fail() { echo "behaviour changed: $1" >&2; exit 1; }
for name in from-file from-pipe; do
    echo "$name: $(zstd -lv $name.zst 2>/dev/null | grep 'Window Size')"
done
zstd -dc from-file.zst 2>/dev/null | cmp -s - data || fail "the one from a file is refused"
if zstd -dc from-pipe.zst > out 2> said; then fail "the one from a pipe is unpacked without --long"; fi
cat said
grep -q 'too much memory' said || fail "another reason"
zstd -dc --long=31 from-pipe.zst | cmp -s - data || fail "--long=31 does not unpack it"
echo "as expected: the window depends on whether zstd knew the size"
