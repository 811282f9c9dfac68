//! Values that are checked only once the image is open, and how a problem with one is shown then.

use std::collections::BTreeMap;

use super::problem::{Collector, Place, Problem};
use super::tree::{Content, Node};

/// The keys that have a mark, as [`super::keys`] writes them.
const KEYS: [&str; 4] = ["user.name", "timezone", "locale", "keymap"];

/// Where a value stands in the cluster file, and its line with secrets hidden.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    line: usize,
    column: usize,
    shown: String,
    marked: (usize, usize),
}

impl Mark {
    /// A problem with the value. `message`: what is wrong; `advice`: what to write instead.
    pub fn problem(&self, message: impl Into<String>, advice: impl Into<String>) -> Problem {
        Problem {
            line: self.line,
            column: self.column,
            message: message.into(),
            advice: advice.into(),
            shown: self.shown.clone(),
            marked: self.marked,
        }
    }
}

/// The marks of a file, by key (`user.name`, `timezone`, `locale`, `keymap`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Marks(BTreeMap<&'static str, Mark>);

impl Marks {
    /// The mark of a key's value; `None` where the file does not have the key.
    pub fn get(&self, key: &str) -> Option<&Mark> {
        self.0.get(key)
    }
}

pub(super) fn marks(root: &Node, problems: &Collector<'_>) -> Marks {
    let place = |key: &'static str| {
        let place = key.split('.').try_fold(root, |node, name| value(node, name))?.place;
        Some((key, place))
    };
    let (keys, places): (Vec<_>, Vec<Place>) = KEYS.into_iter().filter_map(place).unzip();
    let mark = |(key, (place, (shown, marked))): (_, (&Place, _))| {
        (key, Mark { line: place.line, column: place.column, shown, marked })
    };
    Marks(keys.into_iter().zip(places.iter().zip(problems.shown(&places))).map(mark).collect())
}

fn value<'n>(node: &'n Node, key: &str) -> Option<&'n Node> {
    let Content::Mapping(entries) = &node.content else { return None };
    entries.iter().find(|entry| entry.key == key).map(|entry| &entry.value)
}

#[cfg(test)]
mod tests {
    use crate::spec::{Problems, read};

    #[test]
    fn marks_values_and_hides_secrets_beside_them() {
        let hash = format!("$6$salt${}", "a".repeat(86));
        let text = format!(
            "version: 1\ncluster: red\nimage: os.img\nnodes: red00\n\
             user: {{password_hash: '{hash}', name: ada}}\ntimezone: Berln\n"
        );
        let cluster = read(&text, "cluster.yaml").unwrap();
        let problem = |key| cluster.marks.get(key).unwrap().problem("is wrong", "write it right");
        let problems = Problems::new("cluster.yaml", vec![problem("timezone"), problem("user.name")]);
        insta::assert_snapshot!(problems, @r"
        2 problems in cluster.yaml

        cluster.yaml:5:127: is wrong
          | user: {password_hash: (hidden), name: ada}
          |                                       ^^^
          = write it right

        cluster.yaml:6:11: is wrong
          | timezone: Berln
          |           ^^^^^
          = write it right
        ");
        assert_eq!(cluster.marks.get("locale"), None);
    }
}
