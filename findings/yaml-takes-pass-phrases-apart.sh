#!/bin/sh
# Guess: YAML reads an unquoted pass phrase as text, unless it contains a colon or a quote.
#
# Reality: `&` at the beginning makes the text the name of an anchor and leaves the value empty. ` #` ends the value, and so
# does a comma in {...}. All three are valid YAML, so no parser reports a problem, and the rest of the pass phrase can become a
# key. A message that quotes the unknown key then quotes the pass phrase.
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
