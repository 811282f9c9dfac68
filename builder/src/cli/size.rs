//! Sizes on the command line.

use std::str::FromStr;

use thiserror::Error;

const MIB: u64 = 1 << 20;

/// A number of bytes, whole mebibytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size(u64);

/// A text that is no [`Size`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("give a number and its unit, such as 512MiB or 8GiB")]
pub(crate) struct SizeError;

impl Size {
    pub(crate) const fn bytes(self) -> u64 {
        self.0
    }

    pub(crate) fn mebibytes(self) -> u32 {
        u32::try_from(self.0 / MIB).unwrap_or(u32::MAX)
    }
}

impl FromStr for Size {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, SizeError> {
        let digits = text.chars().take_while(char::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let unit = match unit.trim().to_ascii_lowercase().as_str() {
            "m" | "mib" => MIB,
            "g" | "gib" => 1 << 30,
            _ => return Err(SizeError),
        };
        let bytes = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
        bytes.filter(|bytes| (MIB..=1 << 50).contains(bytes)).map(Self).ok_or(SizeError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_sizes_with_their_unit_only() {
        for (text, mebibytes) in [("8GiB", 8192), ("8g", 8192), ("768 MiB", 768), ("1M", 1)] {
            assert_eq!(text.parse::<Size>().unwrap().mebibytes(), mebibytes, "{text}");
        }
        for text in
            ["", "8", "GiB", "0GiB", "-1GiB", "8GB", "1.5GiB", "99999999999GiB", "99999999999999999999M"]
        {
            assert_eq!(text.parse::<Size>(), Err(SizeError), "{text}");
        }
    }
}
