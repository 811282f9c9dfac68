//! A value that must not be printed.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Holds a key, token, hash or pass phrase. Its `Debug` prints nothing of it and it has no `Display`.
///
/// It does serialise, because secrets do travel: to a card's own file, and over mutual TLS.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret<T>(T);

impl<T> Secret<T> {
    /// Wraps a value.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// Lends the value to code that has to use it.
    pub const fn expose(&self) -> &T {
        &self.0
    }
}

impl<T> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_prints_nothing_of_the_value() {
        assert_eq!(format!("{:?}", Some(Secret::new("SWMTKN-1-abc"))), "Some((secret))");
    }
}
