//! Time zone, keyboard and language, as the files that Debian's own tools would write.

use std::path::Path;

use super::{Seed, SeedError};
use crate::host::Program;

const KEYBOARD: &str = "/etc/default/keyboard";
const LOCALE: &str = "/etc/default/locale";
/// systemd's name for the same. From Trixie on this is the file, and Debian's older name a link to it.
const LOCALE_CONF: &str = "/etc/locale.conf";
const LOCALE_GEN: &str = "/etc/locale.gen";

/// Power lost here: the two files may disagree until a second run; the link is the one that counts.
pub(super) fn set_timezone(seed: &Seed<'_>) -> Result<(), SeedError> {
    let Some(zone) = &seed.card.timezone else { return Ok(()) };
    let file = format!("/usr/share/zoneinfo/{}", fit("time zone", zone)?);
    if !seed.has(&file)? {
        return Err(SeedError::NotInImage(format!("time zone {zone}")));
    }
    seed.root.link(Path::new(&file), Path::new("/etc/localtime"))?;
    seed.write_text("/etc/timezone", &format!("{zone}\n"), 0o644)
}

/// Power lost here: the file is old or new.
pub(super) fn set_keymap(seed: &Seed<'_>) -> Result<(), SeedError> {
    let Some(layout) = &seed.card.keymap else { return Ok(()) };
    let text =
        set_variable(&seed.read_text(KEYBOARD)?, "XKBLAYOUT", &format!("\"{}\"", fit("keyboard", layout)?));
    seed.write_text(KEYBOARD, &text, 0o644)
}

/// Power lost here: the default is named last, once the locale has been made, so a second run makes it again.
pub(super) fn set_locale(seed: &Seed<'_>) -> Result<(), SeedError> {
    let Some(locale) = &seed.card.locale else { return Ok(()) };
    let locale = fit("locale", locale)?;
    let file = if seed.has(LOCALE_CONF)? { LOCALE_CONF } else { LOCALE };
    let present = seed.read_text(file)?;
    let wanted = set_variable(&present, "LANG", locale);
    if present == wanted {
        return Ok(());
    }
    // C, POSIX and C.UTF-8 are part of the C library.
    if !matches!(locale, "C" | "POSIX" | "C.UTF-8") {
        let list = list_locale(&seed.read_text(LOCALE_GEN)?, locale);
        seed.write_text(LOCALE_GEN, &list, 0o644)?;
        seed.root.run(&Program::new("locale-gen", []))?;
    }
    if file == LOCALE_CONF {
        seed.root.link(Path::new("../locale.conf"), Path::new(LOCALE))?;
    }
    seed.write_text(file, &wanted, 0o644)
}

/// Names that mean themselves in a path and in a shell's variable.
fn fit<'a>(what: &'static str, value: &'a str) -> Result<&'a str, SeedError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "/_+-.@,".contains(c);
    if value.is_empty() || value.starts_with('/') || value.contains("..") || !value.chars().all(allowed) {
        return Err(SeedError::Unfit { what, value: value.to_owned() });
    }
    Ok(value)
}

/// A file of shell variables with this one set, where it stood or at the end.
fn set_variable(text: &str, name: &str, value: &str) -> String {
    let ours = format!("{name}={value}");
    let is_it = |line: &&str| line.split_once('=').is_some_and(|(key, _)| key.trim() == name);
    let mut lines: Vec<&str> = text.lines().collect();
    let place = lines.iter().position(&is_it).unwrap_or(lines.len());
    lines.retain(|line| !is_it(line));
    lines.insert(place, &ours);
    lines.join("\n") + "\n"
}

/// `/etc/locale.gen` with this locale among those to make: its own comment mark removed, or a line at the end.
fn list_locale(text: &str, locale: &str) -> String {
    let charset = locale.split_once('.').map_or("ISO-8859-1", |(_, charset)| charset);
    let charset = charset.split('@').next().unwrap_or(charset);
    let ours = format!("{locale} {charset}");
    let bare = |line: &str| line.trim_start_matches(['#', ' ']).trim_end().to_owned();
    let mut lines: Vec<&str> = text.lines().collect();
    let place = lines.iter().position(|line| bare(line) == ours).unwrap_or(lines.len());
    lines.retain(|line| bare(line) != ours);
    lines.insert(place.min(lines.len()), &ours);
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_is_set_in_its_place() {
        let shipped = "# KEYBOARD\nXKBMODEL=\"pc105\"\nXKBLAYOUT=\"gb\"\nXKBVARIANT=\"\"\n";
        let edited = set_variable(shipped, "XKBLAYOUT", "\"de\"");
        assert_eq!(edited, "# KEYBOARD\nXKBMODEL=\"pc105\"\nXKBLAYOUT=\"de\"\nXKBVARIANT=\"\"\n");
        assert_eq!(set_variable(&edited, "XKBLAYOUT", "\"de\""), edited);
        assert_eq!(set_variable("", "LANG", "de_DE.UTF-8"), "LANG=de_DE.UTF-8\n");
    }

    #[test]
    fn a_locale_loses_its_comment_mark_or_is_added() {
        let shipped = "# de_DE ISO-8859-1\n# de_DE.UTF-8 UTF-8\nen_GB.UTF-8 UTF-8\n";
        let edited = list_locale(shipped, "de_DE.UTF-8");
        assert_eq!(edited, "# de_DE ISO-8859-1\nde_DE.UTF-8 UTF-8\nen_GB.UTF-8 UTF-8\n");
        assert_eq!(list_locale(&edited, "de_DE.UTF-8"), edited);
        assert_eq!(list_locale("", "fr_FR.UTF-8"), "fr_FR.UTF-8 UTF-8\n");
    }

    #[test]
    fn names_that_would_leave_their_file_are_refused() {
        for bad in ["", "../../etc/shadow", "/etc/shadow", "a b", "de\"; reboot", "x\ny"] {
            assert!(fit("time zone", bad).is_err(), "{bad:?}");
        }
        for good in ["Europe/Berlin", "Etc/GMT+5", "de_DE.UTF-8", "de,us", "ca_ES@valencia"] {
            assert!(fit("time zone", good).is_ok(), "{good:?}");
        }
    }
}
