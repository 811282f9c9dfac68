//! Ranges of names and addresses: `red[00-04]`, `red[00,02-04]`, `10.1.1.[2-5]`.

use thiserror::Error;

mod fold;

pub use fold::fold;

/// Most texts that one range may stand for.
pub const LIMIT: usize = 1000;

/// Why a range was refused. Reads after the range itself.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RangeError {
    /// A `[` without its `]`.
    #[error("has a [ without its ]")]
    Unclosed,
    /// A `]` without its `[`, or a `[` within brackets.
    #[error("has a bracket too many")]
    Unopened,
    /// `[]`, `[,]` or `[-]`.
    #[error("has nothing between brackets or commas")]
    Empty,
    /// Something that is not a number; the part.
    #[error("has {0:?} between brackets, where only numbers belong")]
    NotNumber(String),
    /// A number that no range needs: more than nine digits.
    #[error("has a number of {0} digits between brackets")]
    LongNumber(usize),
    /// From a larger number to a smaller; both as written.
    #[error("counts down from {0} to {1}")]
    Reversed(String, String),
    /// Zeros in front, and yet of two lengths; both as written.
    #[error("pads {0} and {1} to different lengths")]
    Width(String, String),
    /// More than [`LIMIT`] texts.
    #[error("stands for more than {LIMIT} texts")]
    TooMany,
}

impl RangeError {
    /// What to write instead.
    pub fn advice(&self) -> String {
        match self {
            Self::Reversed(first, last) => format!("write [{last}-{first}]"),
            Self::Width(first, last) => {
                let width = first.len().max(last.len());
                format!("write [{first:0>width$}-{last:0>width$}]")
            }
            Self::TooMany => format!("write at most {LIMIT}"),
            Self::LongNumber(_) => "write numbers of at most nine digits".to_owned(),
            _ => "write ranges like red[00-04] or red[00,02-04]".to_owned(),
        }
    }
}

/// Every text a range stands for, in its order: the last bracket counts fastest. A text without brackets stands
/// for itself. Zeros in front are kept: `[08-10]` is 08, 09, 10.
pub fn expand(text: &str) -> Result<Vec<String>, RangeError> {
    let mut texts = vec![String::new()];
    let mut rest = text;
    while let Some((fixed, tail)) = rest.split_once('[') {
        if fixed.contains(']') {
            return Err(RangeError::Unopened);
        }
        let (inside, tail) = tail.split_once(']').ok_or(RangeError::Unclosed)?;
        if inside.contains('[') {
            return Err(RangeError::Unopened);
        }
        let values = numbers(inside)?;
        if texts.len() * values.len() > LIMIT {
            return Err(RangeError::TooMany);
        }
        texts = texts
            .iter()
            .flat_map(|head| values.iter().map(move |value| format!("{head}{fixed}{value}")))
            .collect();
        rest = tail;
    }
    if rest.contains(']') {
        return Err(RangeError::Unopened);
    }
    texts.iter_mut().for_each(|head| head.push_str(rest));
    Ok(texts)
}

/// What stands between two brackets: numbers and spans of numbers, separated by commas.
fn numbers(inside: &str) -> Result<Vec<String>, RangeError> {
    let mut values = Vec::new();
    for part in inside.split(',').map(str::trim) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (from, to) = (number(first)?, number(last)?);
        if from > to {
            return Err(RangeError::Reversed(first.to_owned(), last.to_owned()));
        }
        let padded = |text: &str| text.len() > 1 && text.starts_with('0');
        if first.len() != last.len() && (padded(first) || padded(last)) {
            return Err(RangeError::Width(first.to_owned(), last.to_owned()));
        }
        // Both are below 10^9, so their difference fits any usize a builder runs with.
        if values.len().saturating_add(usize::try_from(to - from).unwrap_or(usize::MAX)) >= LIMIT {
            return Err(RangeError::TooMany);
        }
        let width = first.len();
        values.extend((from..=to).map(|value| format!("{value:0width$}")));
    }
    Ok(values)
}

fn number(text: &str) -> Result<u32, RangeError> {
    if text.is_empty() {
        return Err(RangeError::Empty);
    }
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(RangeError::NotNumber(text.to_owned()));
    }
    if text.len() > 9 {
        return Err(RangeError::LongNumber(text.len()));
    }
    text.parse().map_err(|_| RangeError::NotNumber(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn expanded(text: &str) -> Vec<String> {
        expand(text).unwrap()
    }

    #[test]
    fn expands_what_the_lesson_uses() {
        assert_eq!(expanded("red[00-04]"), ["red00", "red01", "red02", "red03", "red04"]);
        assert_eq!(expanded("red[00,02-04]"), ["red00", "red02", "red03", "red04"]);
        assert_eq!(expanded("10.1.1.[2-5]"), ["10.1.1.2", "10.1.1.3", "10.1.1.4", "10.1.1.5"]);
        assert_eq!(expanded("red00"), ["red00"]);
    }

    #[test]
    fn keeps_zeros_in_front() {
        assert_eq!(expanded("n[8-11]"), ["n8", "n9", "n10", "n11"]);
        assert_eq!(expanded("n[08-11]"), ["n08", "n09", "n10", "n11"]);
        assert_eq!(expanded("n[0-1,007]"), ["n0", "n1", "n007"]);
    }

    #[test]
    fn the_last_bracket_counts_fastest() {
        assert_eq!(expanded("r[1-2]n[0, 5]x"), ["r1n0x", "r1n5x", "r2n0x", "r2n5x"]);
    }

    #[test]
    fn refuses_what_is_no_range() {
        let refused = |text: &str| expand(text).unwrap_err();
        assert_eq!(refused("red[00-04"), RangeError::Unclosed);
        assert_eq!(refused("red]00-04["), RangeError::Unopened);
        assert_eq!(refused("red[[0-1]]"), RangeError::Unopened);
        assert_eq!(refused("red[0-1]]"), RangeError::Unopened);
        for empty in ["red[]", "red[0,]", "red[-]", "red[0-]", "red[-4]"] {
            assert_eq!(refused(empty), RangeError::Empty, "{empty}");
        }
        assert_eq!(refused("red[a-c]"), RangeError::NotNumber("a".to_owned()));
        assert_eq!(refused("red[1-2-3]"), RangeError::NotNumber("2-3".to_owned()));
        assert_eq!(refused("red[0-99999999999999999999999999]"), RangeError::LongNumber(26));
        assert_eq!(refused("red[0 1]"), RangeError::NotNumber("0 1".to_owned()));
    }

    #[test]
    fn says_how_to_write_it() {
        let advice = |text: &str| expand(text).unwrap_err().advice();
        assert_eq!(advice("red[04-00]"), "write [00-04]");
        assert_eq!(advice("red[00-4]"), "write [00-04]");
        assert_eq!(advice("red[0-999999999]"), "write at most 1000");
    }

    #[test]
    fn is_bounded() {
        assert_eq!(expanded("[1-1000]").len(), LIMIT);
        for bomb in ["[1-1001]", "[0-999999999]", "[1-1000][1-2]", "[0-99][0-99][0-99][0-99][0-99]"] {
            assert_eq!(expand(bomb), Err(RangeError::TooMany), "{bomb}");
        }
        let many = format!("[{}]", vec!["1-900"; 5000].join(","));
        assert_eq!(expand(&many), Err(RangeError::TooMany));
    }

    proptest! {
        #[test]
        fn any_text_ends_well(text in "[a-z0-9\\[\\],\\- ]{0,40}") {
            if let Ok(texts) = expand(&text) {
                prop_assert!((1..=LIMIT).contains(&texts.len()));
                prop_assert!(texts.iter().all(|t| !t.contains(['[', ']'])));
            }
        }

        #[test]
        fn counts_from_first_to_last(first in 0u32..500, more in 0u32..400, width in 1usize..6) {
            let last = first + more;
            let digits = |n: u32| n.to_string().len();
            let width = width.max(if width > digits(first) { digits(last) } else { 1 });
            let texts = expand(&format!("n[{first:0width$}-{last:0width$}]x")).unwrap();
            let wanted: Vec<String> = (first..=last).map(|n| format!("n{n:0width$}x")).collect();
            prop_assert_eq!(texts, wanted);
        }

        #[test]
        fn lists_are_their_parts_in_order(numbers in prop::collection::vec(0u32..10_000, 1..50)) {
            let list = numbers.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
            let wanted: Vec<String> = numbers.iter().map(|n| format!("n{n}")).collect();
            prop_assert_eq!(expand(&format!("n[{list}]")).unwrap(), wanted);
        }
    }
}
