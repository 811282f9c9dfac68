#!/bin/sh
# Guess: an indicatif progress bar draws nothing until it makes progress. So a program can set its style and prefix first and add
# it to a MultiProgress afterwards.
#
# Reality (indicatif 0.18.6): on a terminal, set_prefix draws immediately, on a line of its own. MultiProgress::add then gives
# the bar another line, and finish_and_clear clears only that line: the first stays on the screen. A bar that starts with a
# hidden draw target leaves no line.
#
# Needs: cargo, script (util-linux). Builds a small program in a temporary folder.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
mkdir src
cat >Cargo.toml <<'TOML'
[package]
name = "bars"
version = "0.0.0"
edition = "2024"
[dependencies]
indicatif = "=0.18.6"
TOML
cat >src/main.rs <<'RUST'
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget};

fn main() {
    let bar = match std::env::args().nth(1).as_deref() {
        Some("hidden") => ProgressBar::with_draw_target(Some(10), ProgressDrawTarget::hidden()),
        _ => ProgressBar::new(10),
    };
    bar.set_style(indicatif::ProgressStyle::with_template("{prefix} {pos}").unwrap());
    bar.set_prefix("first");
    let bars = MultiProgress::new();
    let bar = bars.add(bar);
    bar.set_prefix("second");
    bar.finish_and_clear();
}
RUST
CARGO_TARGET_DIR="$folder/target" cargo build --quiet
drawn() { script --quiet --return --command "target/debug/bars $1" /dev/null </dev/null | grep -c "first 0" || true; }
plain=$(drawn plain) hidden=$(drawn hidden)
echo "indicatif 0.18.6: a new bar draws $plain time(s) before it is added, a hidden one $hidden time(s)"
[ "$plain" -ge 1 ] && [ "$hidden" -eq 0 ]
