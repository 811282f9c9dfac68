//! The node's name, before any DHCP request or mDNS announcement could carry another one.

use super::{Seed, SeedError};

const HOSTS: &str = "/etc/hosts";
/// Debian's address for the machine's own name.
const OWN: &str = "127.0.1.1";

/// Power lost here: each of the two files is old or new, and a second run makes both new.
pub(super) fn apply(seed: &Seed<'_>) -> Result<(), SeedError> {
    let name = seed.card.node.as_str();
    seed.write_text("/etc/hostname", &format!("{name}\n"), 0o644)?;
    let hosts = edit_hosts(&seed.read_text(HOSTS)?, name);
    seed.write_text(HOSTS, &hosts, 0o644)
}

/// One line for our own name, where the old one stood or at the end. sudo and Docker look it up.
fn edit_hosts(text: &str, name: &str) -> String {
    let ours = format!("{OWN}\t{name}");
    let is_own = |line: &&str| line.split_whitespace().next() == Some(OWN);
    let mut lines: Vec<&str> = text.lines().collect();
    let place = lines.iter().position(&is_own).unwrap_or(lines.len());
    lines.retain(|line| !is_own(line));
    lines.insert(place, &ours);
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::edit_hosts;

    #[test]
    fn replaces_the_name_of_the_image() {
        let shipped = "127.0.0.1\tlocalhost\n::1\t\tlocalhost\n\n127.0.1.1\t\traspberrypi\n";
        let edited = edit_hosts(shipped, "red03");
        assert_eq!(edited, "127.0.0.1\tlocalhost\n::1\t\tlocalhost\n\n127.0.1.1\tred03\n");
        assert_eq!(edit_hosts(&edited, "red03"), edited);
    }

    #[test]
    fn adds_the_line_where_there_is_none_and_keeps_one_of_two() {
        assert_eq!(edit_hosts("", "red03"), "127.0.1.1\tred03\n");
        assert_eq!(edit_hosts("127.0.0.1 localhost", "red03"), "127.0.0.1 localhost\n127.0.1.1\tred03\n");
        assert_eq!(edit_hosts("127.0.1.1 a\n127.0.1.1 b\n# end\n", "red03"), "127.0.1.1\tred03\n# end\n");
    }
}
