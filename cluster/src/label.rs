//! Labels of Swarm's nodes. Docker takes any text; what a shell or a placement constraint could not carry is refused, as
//! in the cluster file.

use thiserror::Error;

/// Most bytes of a label's name. Docker knows no limit; names are domains turned round, with a word behind.
pub const NAME_LIMIT: usize = 128;
/// Most bytes of a label's value. Docker knows no limit.
pub const VALUE_LIMIT: usize = 256;
/// Most labels that one change may set, and most that it may take away.
pub const COUNT_LIMIT: usize = 64;

/// Why a label was refused. Reads after the label itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum LabelError {
    /// The name is empty or has other characters.
    #[error("is not the name of a label: use letters, digits and . _ - /")]
    Name,
    /// The name is too long.
    #[error("has more than {NAME_LIMIT} characters")]
    LongName,
    /// The value has a control character or an equals sign.
    #[error("has a value with a line break, a tab or =")]
    Value,
    /// The value is too long.
    #[error("has a value of more than {VALUE_LIMIT} bytes")]
    LongValue,
}

/// Checks a label's name.
///
/// # Errors
/// What is wrong with it.
pub fn check_name(name: &str) -> Result<(), LabelError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
    if name.is_empty() || !name.chars().all(allowed) {
        return Err(LabelError::Name);
    }
    if name.len() > NAME_LIMIT { Err(LabelError::LongName) } else { Ok(()) }
}

/// Checks a label's value, which may be empty.
///
/// # Errors
/// What is wrong with it.
pub fn check_value(value: &str) -> Result<(), LabelError> {
    if value.contains(|c: char| c.is_control() || c == '=') {
        return Err(LabelError::Value);
    }
    if value.len() > VALUE_LIMIT { Err(LabelError::LongValue) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_what_a_constraint_can_carry() {
        assert_eq!(check_name("org.example/rack_1-a"), Ok(()));
        for name in ["", "a b", "a=b", "größe", "a\n"] {
            assert_eq!(check_name(name), Err(LabelError::Name), "{name:?}");
        }
        assert_eq!(check_name(&"a".repeat(NAME_LIMIT)), Ok(()));
        assert_eq!(check_name(&"a".repeat(NAME_LIMIT + 1)), Err(LabelError::LongName));
        assert_eq!(check_value(""), Ok(()));
        assert_eq!(check_value("shelf 3, left"), Ok(()));
        for value in ["a\tb", "a\u{1b}[2J", "a=b"] {
            assert_eq!(check_value(value), Err(LabelError::Value), "{value:?}");
        }
        assert_eq!(check_value(&"a".repeat(VALUE_LIMIT + 1)), Err(LabelError::LongValue));
    }
}
