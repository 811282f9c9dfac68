//! The way back: names as ranges, for messages about many.

/// Writes names as ranges: `red00`, `red01`, `red02`, `red04` become `red[00-02,04]`. What does not fit one is
/// separated by commas. The order of the first names is kept, within a range the numbers ascend.
pub fn fold(names: &[String]) -> String {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for name in names {
        let part = Part::new(name);
        match groups.iter_mut().find(|group| group.takes(&part)) {
            Some(group) => group.numbers.push(part.number),
            None => groups.push(Group {
                head: part.head,
                tail: part.tail,
                numbers: vec![part.number],
                has_number: part.has_number,
            }),
        }
    }
    groups.into_iter().map(Group::text).collect::<Vec<_>>().join(",")
}

/// A name, cut at its last number.
struct Part<'a> {
    head: &'a str,
    number: &'a str,
    tail: &'a str,
    has_number: bool,
}

impl<'a> Part<'a> {
    fn new(name: &'a str) -> Self {
        let whole = Self { head: name, number: "", tail: "", has_number: false };
        let Some(last) = name.rfind(|c: char| c.is_ascii_digit()) else { return whole };
        let (before, tail) = name.split_at(last + 1);
        let head = before.trim_end_matches(|c: char| c.is_ascii_digit());
        let number = before.get(head.len()..).unwrap_or_default();
        // Longer ones no range takes, and brackets are no part of a name.
        if number.len() > 9 || name.contains(['[', ']']) {
            return whole;
        }
        Self { head, number, tail, has_number: true }
    }
}

struct Group<'a> {
    head: &'a str,
    tail: &'a str,
    numbers: Vec<&'a str>,
    has_number: bool,
}

impl Group<'_> {
    fn takes(&self, part: &Part<'_>) -> bool {
        self.has_number && part.has_number && self.head == part.head && self.tail == part.tail
    }

    fn text(mut self) -> String {
        let (head, tail) = (self.head, self.tail);
        // Of one value, such as 1 and 01, the shorter comes first; each stands for itself.
        self.numbers.sort_by_key(|number| (value(number), number.len()));
        self.numbers.dedup();
        if let [only] = self.numbers.as_slice() {
            return format!("{head}{only}{tail}");
        }
        let mut spans: Vec<(&str, &str)> = Vec::new();
        for number in self.numbers {
            match spans.last_mut() {
                Some((_, last)) if follows(last, number) => *last = number,
                _ => spans.push((number, number)),
            }
        }
        let spans: Vec<_> = spans
            .iter()
            .map(|(first, last)| if first == last { (*first).to_owned() } else { format!("{first}-{last}") })
            .collect();
        format!("{head}[{}]{tail}", spans.join(","))
    }
}

fn value(number: &str) -> u32 {
    // At most nine digits.
    number.parse().unwrap_or(u32::MAX)
}

/// Whether the second number comes right after the first, written the same way.
fn follows(first: &str, second: &str) -> bool {
    let padded = |text: &str| text.len() > 1 && text.starts_with('0');
    value(second) == value(first) + 1 && (first.len() == second.len() || !(padded(first) || padded(second)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::super::expand;
    use super::*;

    fn folded(names: &[&str]) -> String {
        fold(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn writes_names_as_a_person_would() {
        assert_eq!(folded(&["red00", "red01", "red02", "red04"]), "red[00-02,04]");
        assert_eq!(folded(&["10.1.1.9", "10.1.1.10", "10.1.1.12"]), "10.1.1.[9-10,12]");
        assert_eq!(folded(&["red03"]), "red03");
        assert_eq!(folded(&["desk", "red01", "lamp", "red00"]), "desk,red[00-01],lamp");
        assert_eq!(folded(&["pi@red1.local", "pi@red2.local"]), "pi@red[1-2].local");
        assert_eq!(folded(&["n9", "n09", "n10"]), "n[9,09-10]");
        assert_eq!(folded(&[]), "");
    }

    proptest! {
        #[test]
        fn nothing_is_lost_or_made_up(names in prop::collection::vec("[a-b.]{0,2}[0-9]{0,3}[a-b]{0,1}", 1..30)) {
            let names: Vec<String> = names.into_iter().filter(|name| !name.is_empty()).collect();
            let text = fold(&names);
            let mut inside = false;
            let parts = text.split(|c| {
                inside = match c { '[' => true, ']' => false, _ => inside };
                c == ',' && !inside
            });
            let back: BTreeSet<String> =
                parts.filter(|part| !part.is_empty()).flat_map(|part| expand(part).unwrap()).collect();
            prop_assert_eq!(back, names.into_iter().collect::<BTreeSet<_>>());
        }
    }
}
