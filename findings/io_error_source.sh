#!/bin/sh
# Guess: a program that walks an error's chain with `source()` and downcasts each link finds the error that an `io::Error`
# was made of, such as the `rustls::Error` behind a failed HTTPS request.
#
# Reality: `io::Error::source()` returns the *source of* the inner error, so the walk skips the inner error itself, although
# its text is printed. `get_ref()` returns it. If an `io::Error` is wrapped in another one, as TLS clients do, the walk skips
# both.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat >"$folder/main.rs" <<'RUST'
use std::error::Error;
use std::{fmt, io};

#[derive(Debug)]
struct Inner;

impl fmt::Display for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the certificate is not trusted")
    }
}

impl Error for Inner {}

/// Follows `source()`, and with `unwrap` also the error that an I/O error was made of.
fn finds_inner(error: &(dyn Error + 'static), unwrap: bool) -> bool {
    let mut link = Some(error);
    while let Some(error) = link {
        if error.is::<Inner>() {
            return true;
        }
        let made_of = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        link = match made_of.filter(|_| unwrap) {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    false
}

fn main() {
    let error = io::Error::other(io::Error::other(Inner));
    println!("printed as: {error}");
    println!("found by source(): {}", finds_inner(&error, false));
    println!("found by get_ref(): {}", finds_inner(&error, true));
}
RUST
rustc --version
rustc --edition 2024 -o "$folder/main" "$folder/main.rs"
seen=$("$folder/main")
echo "$seen"
[ "$seen" = "printed as: the certificate is not trusted
found by source(): false
found by get_ref(): true" ]
