//! Text that another machine wrote, on its way to a terminal or into JSON.
//!
//! One set of characters is harmful: those that a terminal obeys or that change the order in which text is read. Every
//! other function here is about that set, so that no place has a rule of its own.

/// Whether a terminal would obey this character or read text in another order because of it: control characters (Unicode
/// category Cc: C0, DEL and C1), the property `Bidi_Control` (Unicode Standard Annex 9), and the separators of lines and
/// paragraphs (U+2028, U+2029).
pub const fn is_harmful(c: char) -> bool {
    matches!(
        c,
        '\0'..='\u{1f}'
            | '\u{7f}'..='\u{9f}'
            | '\u{61c}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}'
    )
}

/// Returns the text as one line for a terminal, with U+FFFD in place of every harmful character.
///
/// Nothing is left out: a text with a harmful character must not become equal to one without it.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if is_harmful(c) { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// As [`printable`], for text of several lines: line ends and tabs stay.
pub fn printable_lines(text: &str) -> String {
    let shown = |c| if is_harmful(c) && !matches!(c, '\n' | '\t') { char::REPLACEMENT_CHARACTER } else { c };
    text.chars().map(shown).collect()
}

/// Returns JSON text with the same value in which harmful characters stand as `\u` escapes (RFC 8259, section 7).
///
/// `serde_json` escapes C0 only. Outside of strings JSON has no harmful characters but line ends and tabs, which stay.
pub fn escape_json(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        if is_harmful(c) && !c.is_ascii_whitespace() {
            text.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            text.push(c);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// C0, DEL, C1, every character of the property `Bidi_Control`, and the two separators.
    const HARMFUL: &str = "\u{1b}\u{7f}\u{85}\u{9b}\u{61c}\u{200e}\u{200f}\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}\
                           \u{2066}\u{2067}\u{2068}\u{2069}\u{2028}\u{2029}";

    #[test]
    fn replaces_whatever_a_terminal_obeys() {
        assert_eq!(printable("installing docker-ce: 40 %, größer"), "installing docker-ce: 40 %, größer");
        assert_eq!(printable(HARMFUL), "\u{fffd}".repeat(HARMFUL.chars().count()));
        assert_eq!(printable("a\nb\tc"), "a\u{fffd}b\u{fffd}c");
        assert_eq!(printable_lines("a\nb\tc\rd\u{9b}"), "a\nb\tc\u{fffd}d\u{fffd}");
    }

    #[test]
    fn no_text_becomes_equal_to_a_harmless_one() {
        assert_ne!(printable("red\u{9b}03"), "red03");
    }

    #[test]
    fn escaped_json_has_the_same_value() {
        let value = serde_json::json!({ "said \u{202e}": [HARMFUL, "\"\\ \n\t größer 🥧"] });
        for json in [serde_json::to_string(&value).unwrap(), serde_json::to_string_pretty(&value).unwrap()] {
            assert!(json.contains('\u{9b}'), "serde_json leaves C1 as it is");
            let escaped = escape_json(&json);
            assert!(!escaped.contains(|c| is_harmful(c) && c != '\n'), "{escaped}");
            assert_eq!(serde_json::from_str::<serde_json::Value>(&escaped).unwrap(), value);
        }
        assert_eq!(escape_json("[1,\n \"a\"]"), "[1,\n \"a\"]");
    }
}
