//! The names that a root partition knows and a cluster file may use: time zones, locales, keyboard layouts, accounts, groups.
//!
//! What an image does not have, or what cannot be read, is empty: of that nothing can be said.

use std::fs::File;

use ext4_view::{Ext4, Ext4Error};

use super::guard::{load, read_file, resolve};
use super::{Reader, RootError};
use crate::image::overlay::Window;

/// The zones of tzdata, compiled, one file each.
const ZONES: &str = "/usr/share/zoneinfo";
/// The same as text, with the older names of zones (tzdata's `version.sh` and zishrink.awk: `L TARGET NAME`). It has those
/// that Debian 13 moved to tzdata-legacy, too.
const ZONE_TEXT: &str = "/usr/share/zoneinfo/tzdata.zi";
/// Every locale that the package `locales` can make: name and charset.
const LOCALES: &str = "/usr/share/i18n/SUPPORTED";
/// XKB's list of layouts, from which console-setup makes the console's keymap.
const LAYOUTS: &str = "/usr/share/X11/xkb/rules/base.lst";

/// Folders below [`ZONES`], and names in it, that are looked at: real trees have 2 and 1800.
const DEPTH: usize = 3;
const ZONE_LIMIT: usize = 8192;

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    /// Time zones, such as `Europe/Berlin`.
    pub zones: Vec<String>,
    /// Older names of zones, and those that stand for them today.
    pub zone_aliases: Vec<(String, String)>,
    /// UTF-8 locales without their charset, such as `de_DE` and `ca_ES@valencia`.
    pub locales: Vec<String>,
    /// Keyboard layouts and what they are called, such as `gb` and `English (UK)`.
    pub layouts: Vec<(String, String)>,
    /// Accounts and their ids.
    pub accounts: Vec<(String, u32)>,
    /// Groups and their ids.
    pub groups: Vec<(String, u32)>,
}

/// Reads the names of an image's root partition.
///
/// # Errors
/// When it is not a file system that can be read.
pub fn read(image: &File, window: Window) -> Result<Names, RootError> {
    let file = image.try_clone().map_err(RootError::Reopen)?;
    let fs = load(Reader { file, window, superblock: None })?;
    let text = |path| String::from_utf8_lossy(&read_file(&fs, path).unwrap_or_default()).into_owned();
    Ok(Names {
        zones: zones(&fs).unwrap_or_default(),
        zone_aliases: zone_aliases(&text(ZONE_TEXT)),
        locales: locales(&text(LOCALES)),
        layouts: layouts(&text(LAYOUTS)),
        accounts: ids(&text("/etc/passwd")),
        groups: ids(&text("/etc/group")),
    })
}

fn zones(fs: &Ext4) -> Result<Vec<String>, Ext4Error> {
    let root = resolve(fs, ZONES)?;
    let mut zones = Vec::new();
    let mut folders = vec![(String::new(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        for entry in fs.read_dir(format!("{root}/{folder}").as_str())? {
            let entry = entry?;
            let Ok(name) = entry.file_name().as_str().map(str::to_owned) else { continue };
            let kind = entry.file_type()?;
            let path = if folder.is_empty() { name.clone() } else { format!("{folder}/{name}") };
            if kind.is_dir() && depth < DEPTH && !name.starts_with('.') {
                folders.push((path, depth + 1));
            } else if (kind.is_regular_file() || kind.is_symlink()) && is_zone(&name) {
                zones.push(path);
            }
            if zones.len() > ZONE_LIMIT || folders.len() > ZONE_LIMIT {
                return Ok(Vec::new());
            }
        }
    }
    zones.sort();
    Ok(zones)
}

/// Beside zones there are tables, and names for the system's own use: `zone.tab`, `localtime`, `Factory`.
fn is_zone(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_uppercase()) && !name.contains('.') && name != "Factory"
}

fn zone_aliases(text: &str) -> Vec<(String, String)> {
    let link = |line: &str| {
        let mut words = line.strip_prefix("L ")?.split_whitespace();
        let (target, name) = (words.next()?, words.next()?);
        Some((name.to_owned(), target.to_owned()))
    };
    text.lines().filter_map(link).collect()
}

fn locales(text: &str) -> Vec<String> {
    let locale = |line: &str| {
        let (name, charset) = line.split_once(char::is_whitespace)?;
        (charset.trim() == "UTF-8").then(|| name.replacen(".UTF-8", "", 1))
    };
    text.lines().filter_map(locale).collect()
}

/// The section `! layout`; `custom` is for what a user writes there.
fn layouts(text: &str) -> Vec<(String, String)> {
    let section = text.lines().skip_while(|line| line.trim() != "! layout").skip(1);
    let lines = section.take_while(|line| !line.starts_with('!'));
    let layout = |line: &str| {
        let (name, title) = line.trim().split_once(char::is_whitespace)?;
        (name != "custom").then(|| (name.to_owned(), title.trim().to_owned()))
    };
    lines.filter_map(layout).collect()
}

/// First and third field of a line of passwd(5) or group(5).
fn ids(text: &str) -> Vec<(String, u32)> {
    let line = |line: &str| {
        let mut fields = line.split(':');
        Some((fields.next()?.to_owned(), fields.nth(1)?.parse().ok()?))
    };
    text.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_older_names_of_zones() {
        let text = "# version 2026f\nR d 1916 o - Jun 14 23s 1 S\nZ Europe/Berlin 0:53:28 - LMT 1893 Ap\nL America/New_York US/Eastern\n";
        assert_eq!(zone_aliases(text), [("US/Eastern".to_owned(), "America/New_York".to_owned())]);
    }

    #[test]
    fn lists_utf8_locales_only() {
        let text = "de_DE.UTF-8 UTF-8\nde_DE ISO-8859-1\nde_DE@euro ISO-8859-15\naa_ER UTF-8\nca_ES@valencia UTF-8\n";
        assert_eq!(locales(text), ["de_DE", "aa_ER", "ca_ES@valencia"]);
    }

    #[test]
    fn lists_layouts_and_not_models() {
        let text = "! model\n  pc105  Generic\n\n! layout\n  gb              English (UK)\n  us  English (US)\n  custom  A user-defined layout\n\n! variant\n  chr us: x\n";
        let layout = |name: &str, title: &str| (name.to_owned(), title.to_owned());
        assert_eq!(layouts(text), [layout("gb", "English (UK)"), layout("us", "English (US)")]);
        assert_eq!(layouts(""), []);
    }

    #[test]
    fn reads_ids_past_broken_lines() {
        assert_eq!(
            ids("root:x:0:0::/root:/bin/sh\nbroken\npi:x:1000:\n"),
            [("root".to_owned(), 0), ("pi".to_owned(), 1000)]
        );
    }

    #[test]
    fn tables_are_no_zones() {
        for name in ["zone.tab", "tzdata.zi", "localtime", "posixrules", "leapseconds", "Factory"] {
            assert!(!is_zone(name), "{name}");
        }
        assert!(is_zone("Berlin") && is_zone("UTC") && is_zone("GMT+1"));
    }
}
