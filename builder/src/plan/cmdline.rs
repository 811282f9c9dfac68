//! The kernel command line of a card. Pure text.

use cluster::hook;
use thiserror::Error;

/// Longest line in bytes without its end: with the line's end it stays within one sector, so that the seed stage
/// can take our words out by writing a single sector.
const LIMIT: usize = 511;

/// The line would not fit into a sector.
#[derive(Debug, PartialEq, Eq, Error)]
#[error("the kernel command line would have {0} bytes, {LIMIT} fit into a sector")]
pub struct TooLong(usize);

/// The image's line with the memory cgroup on (off by default on every Pi kernel), the radio's country, and last
/// our hook. What is there stays as it is; a word that is there already is not repeated.
pub(super) fn edit(original: &str, mount: &str, country: Option<&str>) -> Result<String, TooLong> {
    let mut line = original.to_owned();
    let regdom = country.map(|country| format!("cfg80211.ieee80211_regdom={country}"));
    for word in std::iter::once("cgroup_enable=memory".to_owned()).chain(regdom).chain(hook::tokens(mount)) {
        if !original.split_whitespace().any(|present| present == word) {
            line.push(' ');
            line.push_str(&word);
        }
    }
    if line.len() > LIMIT {
        return Err(TooLong(line.len()));
    }
    line.push('\n');
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRIXIE: &str =
        "console=tty1 root=PARTUUID=4f2c9ea0-02 rootfstype=ext4 fsck.repair=yes rootwait resize";

    #[test]
    fn appends_and_leaves_the_rest_as_it_was() {
        let line = edit(TRIXIE, "/boot/firmware", Some("DE")).unwrap();
        assert_eq!(
            line,
            format!(
                "{TRIXIE} cgroup_enable=memory cfg80211.ieee80211_regdom=DE systemd.run=/boot/firmware/swarm/run \
                 systemd.run_success_action=none systemd.run_failure_action=reboot \
                 systemd.unit=kernel-command-line.target\n"
            )
        );
        let blanked = String::from_utf8(hook::blank_tokens(line.as_bytes()).unwrap()).unwrap();
        assert_eq!(
            blanked.trim_end(),
            format!("{TRIXIE} cgroup_enable=memory cfg80211.ieee80211_regdom=DE"),
            "the seed stage takes out our hook and nothing else"
        );
    }

    #[test]
    fn repeats_no_word() {
        let line = edit(&format!("{TRIXIE} cgroup_enable=memory"), "/boot", None).unwrap();
        assert_eq!(line.matches("cgroup_enable=memory").count(), 1);
    }

    #[test]
    fn no_word_of_ours_is_one_the_os_looks_for() {
        // Bookworm's initramfs repartitions when it finds "firstboot" anywhere; " resize" and " quiet" are cut as
        // substrings by Trixie and Bookworm.
        let ours = edit("x", "/boot/firmware", Some("DE")).unwrap();
        assert!(!ours.contains("firstboot") && !ours.contains(" resize") && !ours.contains(" quiet"));
    }

    #[test]
    fn refuses_a_line_beyond_one_sector() {
        let ours = edit("", "/boot", None).unwrap().len() - 1;
        assert_eq!(edit(&"x".repeat(LIMIT - ours), "/boot", None).unwrap().len(), 512);
        assert_eq!(edit(&"x".repeat(LIMIT - ours + 1), "/boot", None), Err(TooLong(512)));
    }
}
