//! The words on the kernel command line that start the seed stage, and their removal.
//!
//! All four are needed: without `systemd.unit=` systemd's run-generator loses to an existing default target, and
//! without the actions the end of the command powers the Pi off (systemd 247, 252 and 257, tried). After a seed stage
//! that ended well nothing is left to systemd: it goes on to the normal boot by itself. After any other a reboot does.

/// The words the builder appends, last on the line; `mount` is where the OS mounts the FAT partition.
pub fn tokens(mount: &str) -> [String; 4] {
    [
        format!("systemd.run={mount}/{}/{}", crate::card::FOLDER, crate::card::RUN),
        "systemd.run_success_action=none".to_owned(),
        "systemd.run_failure_action=reboot".to_owned(),
        "systemd.unit=kernel-command-line.target".to_owned(),
    ]
}

/// Whether a word of the command line belongs to a hook of this kind, ours or another tool's.
pub fn is_hook_token(word: &str) -> bool {
    word.starts_with("systemd.run=")
        || word.starts_with("systemd.run_success_action=")
        || word.starts_with("systemd.run_failure_action=")
        || word == "systemd.unit=kernel-command-line.target"
}

/// Overwrites every hook token with spaces, keeping length and line end, so that a single sector changes and
/// neither directory nor allocation table does. `None` when there is none.
pub fn blank_tokens(cmdline: &[u8]) -> Option<Vec<u8>> {
    let mut out = cmdline.to_vec();
    let mut found = false;
    let mut start = 0;
    while start < out.len() {
        let rest = out.get(start..).unwrap_or_default();
        let skip = rest.iter().take_while(|b| b.is_ascii_whitespace()).count();
        let word = rest.get(skip..).unwrap_or_default();
        let length = word.iter().take_while(|b| !b.is_ascii_whitespace()).count();
        let range = start + skip..start + skip + length;
        start = range.end.max(start + 1);
        if let Some(word) = out.get_mut(range)
            && std::str::from_utf8(word).is_ok_and(is_hook_token)
        {
            word.fill(b' ');
            found = true;
        }
    }
    found.then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_only_the_hook_and_keeps_the_length() {
        let line = format!(
            "root=PARTUUID=1-02 resize cgroup_enable=memory {}\n",
            tokens("/boot/firmware").join(" ")
        );
        let blanked = blank_tokens(line.as_bytes()).unwrap();
        assert_eq!(blanked.len(), line.len());
        assert_eq!(blanked.last(), Some(&b'\n'));
        let text = String::from_utf8(blanked.clone()).unwrap();
        assert_eq!(
            text.split_whitespace().collect::<Vec<_>>(),
            ["root=PARTUUID=1-02", "resize", "cgroup_enable=memory"]
        );
        assert_eq!(blank_tokens(&blanked), None);
    }

    #[test]
    fn no_token_holds_words_the_os_itself_looks_for() {
        // Bookworm's initramfs greps for "firstboot"; " resize" and " quiet" are cut as substrings.
        for token in tokens("/boot") {
            assert!(
                !token.contains("firstboot") && !token.starts_with("resize") && !token.starts_with("quiet")
            );
        }
    }

    #[test]
    fn survives_any_bytes() {
        assert_eq!(blank_tokens(b""), None);
        assert_eq!(blank_tokens(b"\xff\xfe  \n"), None);
    }
}
