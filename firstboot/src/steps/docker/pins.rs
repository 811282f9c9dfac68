//! Preferences of the owner that keep packages away (apt_preferences(5)).

use std::path::Path;

use super::plan::PREFERENCES;
use crate::host::{Host, HostError};

const SINGLE: &str = "/etc/apt/preferences";
const PARTS: &str = "/etc/apt/preferences.d";

/// A sentence for each file that gives one of these packages a negative priority, which forbids its installation.
pub(super) fn against(host: &dyn Host, packages: &[&str]) -> Result<Vec<String>, HostError> {
    let parts = host.list(Path::new(PARTS))?;
    let files = parts.iter().map(|name| format!("{PARTS}/{name}")).filter(|path| {
        path != PREFERENCES && Path::new(path).extension().is_none_or(|extension| extension == "pref")
    });
    let mut sentences = Vec::new();
    for path in files.chain([SINGLE.to_owned()]) {
        let Some(bytes) = host.read(Path::new(&path))? else { continue };
        let text = String::from_utf8_lossy(&bytes);
        let forbidden = text.split("\n\n").filter(|stanza| is_negative(stanza)).flat_map(names);
        let forbidden: Vec<_> = forbidden.collect();
        let hit = packages.iter().find(|package| forbidden.iter().any(|pattern| matches(pattern, package)));
        if let Some(package) = hit {
            sentences.push(format!("{path} forbids {package} by a negative Pin-Priority: remove that entry"));
        }
    }
    Ok(sentences)
}

fn field<'a>(stanza: &'a str, name: &str) -> Option<&'a str> {
    stanza.lines().find_map(|line| {
        let (field, value) = line.split_once(':')?;
        field.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

fn is_negative(stanza: &str) -> bool {
    field(stanza, "Pin-Priority").is_some_and(|priority| priority.starts_with('-'))
}

fn names(stanza: &str) -> impl Iterator<Item = &str> {
    field(stanza, "Package").unwrap_or_default().split_whitespace()
}

/// A name, perhaps with `*` in it.
fn matches(pattern: &str, package: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == package };
    let Some(mut left) = package.strip_prefix(start) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        let Some(at) = left.find(part) else { return false };
        left = &left[at + part.len()..];
    }
    left.ends_with(last)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::SystemTime;

    use super::*;
    use crate::host::fake::{FakeHost, Files, Node};

    #[test]
    fn names_the_file_that_forbids_a_package() {
        let found = |text: &str| {
            let file = Node::File { bytes: text.as_bytes().to_vec(), mode: 0o644, owner: None };
            let folder = Node::Folder { mode: 0o755, owner: None };
            let path = format!("{PARTS}/no-docker");
            let files = Files::from([(PARTS.into(), folder), (path.into(), file)]);
            let host = FakeHost::new(Arc::default(), files, SystemTime::UNIX_EPOCH);
            against(&host, &["docker-ce", "containerd.io"]).unwrap().concat()
        };
        let keep = "Package: docker-ce\nPin: version 5:28.*\nPin-Priority: 990\n";
        assert_eq!(found(keep), "");
        for names in ["docker-ce", "vim docker*", "*", "*-c*", "containerd.io"] {
            let text = format!(
                "{keep}\nExplanation: not here\nPackage: {names}\nPin: release *\nPin-Priority: -1\n"
            );
            assert!(found(&text).starts_with("/etc/apt/preferences.d/no-docker forbids "), "{names}");
        }
        for names in ["docker.io", "dock*.io", "*-cd"] {
            assert_eq!(
                found(&format!("Package: {names}\nPin: release *\nPin-Priority: -1\n")),
                "",
                "{names}"
            );
        }
    }
}
