#!/bin/sh
# Guess: a pass phrase without quotes is a text in YAML, unless it contains a colon or a quote.
#
# What happens: `&` at the beginning makes it the name of an anchor and leaves the value empty, ` #` ends it, and in
# {...} a comma does. All three are valid YAML, so no parser reports anything, and what is left over can become a key.
# A message that quotes the unknown key quotes the pass phrase.
#
# Needs python3 with pip, which installs PyYAML into a temporary folder.
set -eu

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --no-input --root-user-action=ignore --target "$work" \
    'PyYAML==6.0.2'

PYTHONPATH=$work python3 - <<'END'
import sys
import yaml

print("PyYAML", yaml.__version__)
failed = False
for text, expected in [
    ("psk: &abcdefgh", {"psk": None}),
    ("psk: abcdefgh #ij", {"psk": "abcdefgh"}),
    ("psk: abcdefgh#ij", {"psk": "abcdefgh#ij"}),
    ("{psk: abcd,efgh}", {"psk": "abcd", "efgh": None}),
    ("psk: abcd,efgh", {"psk": "abcd,efgh"}),
    ("psk: abcd\n  efgh", {"psk": "abcd efgh"}),
]:
    found = yaml.safe_load(text)
    print(f"{text!r} -> {found}")
    if found != expected:
        print(f"  expected {expected}: the parser behaves differently now")
        failed = True
sys.exit(failed)
END
