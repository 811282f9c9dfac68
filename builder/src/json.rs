//! JSON for programs. All of it is written here: `serde_json` leaves C1 and bidirectional controls as they are, and what a
//! machine said may be on a terminal in the end.

use std::ops::RangeInclusive;

use cluster::text::escape_json;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Why a file with a version was not read.
#[derive(Debug)]
pub(crate) enum Unread {
    /// It has another version than those that are known.
    Version(u32),
    /// It is damaged.
    Damaged(serde_json::Error),
}

/// Reads a file whose `version` is one of those that are known. The version is read alone first: files of another version may
/// have other fields.
///
/// # Errors
/// See [`Unread`].
pub(crate) fn read_versioned<T: DeserializeOwned>(
    text: &[u8],
    known: RangeInclusive<u32>,
) -> Result<T, Unread> {
    #[derive(Deserialize)]
    struct Head {
        version: u32,
    }
    let Head { version } = serde_json::from_slice(text).map_err(Unread::Damaged)?;
    if !known.contains(&version) {
        return Err(Unread::Version(version));
    }
    serde_json::from_slice(text).map_err(Unread::Damaged)
}

/// Returns a value as one line of JSON, without the line end.
///
/// # Errors
/// When the value has a map whose keys are not strings.
pub(crate) fn line(value: &impl Serialize) -> Result<String, serde_json::Error> {
    Ok(escape_json(&serde_json::to_string(value)?))
}

/// Returns a value as JSON of several lines with a line end after the last.
///
/// # Errors
/// As [`line`].
pub(crate) fn pretty(value: &impl Serialize) -> Result<String, serde_json::Error> {
    Ok(escape_json(&serde_json::to_string_pretty(value)?) + "\n")
}

/// As [`line`], for a value that is JSON already, which always serialises.
pub(crate) fn value_line(value: &serde_json::Value) -> String {
    escape_json(&value.to_string())
}

/// As [`pretty`], for a value that is JSON already, which always serialises.
pub(crate) fn value_pretty(value: &serde_json::Value) -> String {
    escape_json(&format!("{value:#}")) + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_harmless_and_has_the_same_value() {
        let value = serde_json::json!({ "host": "red00", "stdout": "a\u{9b}2Jb\u{202e}c\n" });
        for json in [line(&value).unwrap(), pretty(&value).unwrap(), value_line(&value), value_pretty(&value)]
        {
            assert!(json.contains(r"a\u009b2Jb\u202ec\n"), "{json}");
            assert_eq!(serde_json::from_str::<serde_json::Value>(&json).unwrap(), value);
        }
    }
}
