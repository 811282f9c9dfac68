//! Ranges of names and addresses: `red[00-04]`, `red[00,02-04]`, `10.1.1.[2-5]`.
