//! Names in the cluster file that only the image can judge: its time zones, locales, keyboard layouts, and the user names that
//! it has given away. Where the image has no list there is no problem. Pure.

use cluster::spec::{Cluster, Problem};

use crate::image::root::names::Names;

/// The first user's id, and that of the user's own group, on every Debian.
const FIRST: u32 = 1000;
/// Names offered at most.
const OFFERED: usize = 6;

/// Layouts that have the code of a country, and what people write for them (ISO 639 codes, and UK for GB).
const LAYOUT_CODES: [(&str, &[&str]); 16] = [
    ("uk", &["gb"]),
    ("en", &["us", "gb"]),
    ("da", &["dk"]),
    ("sv", &["se"]),
    ("cs", &["cz"]),
    ("el", &["gr"]),
    ("ja", &["jp"]),
    ("ko", &["kr"]),
    ("zh", &["cn"]),
    ("et", &["ee"]),
    ("sl", &["si"]),
    ("he", &["il"]),
    ("fa", &["ir"]),
    ("vi", &["vn"]),
    ("hi", &["in"]),
    ("sr", &["rs"]),
];

/// Everything in the cluster file that the image does not know, in no particular order.
pub(super) fn problems(cluster: &Cluster, names: &Names) -> Vec<Problem> {
    let found = [
        ("timezone", cluster.timezone.as_deref().and_then(|zone| zone_problem(zone, names))),
        ("locale", cluster.locale.as_deref().and_then(|locale| locale_problem(locale, names))),
        ("keymap", cluster.keymap.as_deref().and_then(|layout| layout_problem(layout, names))),
        ("user.name", user_problem(cluster.user.name.as_str(), names)),
    ];
    let problem = |(key, found): (&str, Option<(String, String)>)| {
        let (message, advice) = found?;
        Some(cluster.marks.get(key)?.problem(message, advice))
    };
    found.into_iter().filter_map(problem).collect()
}

fn zone_problem(zone: &str, names: &Names) -> Option<(String, String)> {
    let knows = |name: &str| names.zones.iter().any(|known| known == name);
    if names.zones.is_empty() || knows(zone) {
        return None;
    }
    let message = format!("this image does not know the time zone `{zone}`");
    let alias =
        names.zone_aliases.iter().find(|(alias, target)| alias.eq_ignore_ascii_case(zone) && knows(target));
    let advice = match (alias, offset(zone)) {
        (Some((_, today)), _) => format!("write {today}, its name today"),
        // POSIX counts westwards.
        (None, Some((sign, hours))) if knows(&format!("Etc/GMT{sign}{hours}")) => format!(
            "write a place like Europe/Berlin, which knows summer time, or Etc/GMT{sign}{hours}, whose sign is the other way round"
        ),
        _ => offer(&near_zones(zone, &names.zones), "a name like Europe/Berlin or Etc/UTC"),
    };
    Some((message, advice))
}

/// `UTC+2` or `GMT-3`: the sign of the zone in Etc that means it, and the hours.
fn offset(zone: &str) -> Option<(char, u8)> {
    let text = zone.to_ascii_uppercase();
    let rest = text.strip_prefix("UTC").or_else(|| text.strip_prefix("GMT"))?;
    let (sign, hours) = match rest.strip_prefix('+') {
        Some(hours) => ('-', hours),
        None => ('+', rest.strip_prefix('-')?),
    };
    Some((sign, hours.parse().ok()?))
}

/// The zones that were probably meant: the same in another case, the same place without its continent, or the nearest ones.
fn near_zones<'n>(zone: &str, zones: &'n [String]) -> Vec<&'n str> {
    let zones = || {
        zones
            .iter()
            .map(String::as_str)
            .filter(|zone| !zone.starts_with("posix/") && !zone.starts_with("right/"))
    };
    let place = |zone: &'n str| zone.rsplit('/').next().unwrap_or(zone);
    let wanted = zone.rsplit('/').next().unwrap_or(zone);
    let same: Vec<_> = zones().filter(|known| known.eq_ignore_ascii_case(zone)).collect();
    if !same.is_empty() {
        return same;
    }
    let same: Vec<_> = zones().filter(|known| place(known).eq_ignore_ascii_case(wanted)).collect();
    if !same.is_empty() {
        return same;
    }
    let whole = nearest(zone, zones().map(|zone| (zone, zone)));
    if whole.is_empty() { nearest(wanted, zones().map(|zone| (place(zone), zone))) } else { whole }
}

/// The values whose keys are nearest to a word, if they are near enough for a slip of the finger.
fn nearest<'n>(word: &str, known: impl Iterator<Item = (&'n str, &'n str)>) -> Vec<&'n str> {
    let word = word.to_lowercase();
    let far = |key: &str| strsim::damerau_levenshtein(&word, &key.to_lowercase());
    let mut near: Vec<_> = known.map(|(key, value)| (far(key), key.len(), value)).collect();
    near.retain(|(far, length, _)| *far <= 1 + length / 5);
    let least = near.iter().map(|(far, ..)| *far).min();
    near.into_iter().filter(|(far, ..)| Some(*far) == least).map(|(.., value)| value).collect()
}

fn locale_problem(locale: &str, names: &Names) -> Option<(String, String)> {
    let bare = locale.replacen(".UTF-8", "", 1);
    // Part of the C library.
    let is_built_in = matches!(bare.as_str(), "C" | "POSIX");
    if names.locales.is_empty() || is_built_in || names.locales.contains(&bare) {
        return None;
    }
    let (language, territory) = parts(&bare);
    let of = |fits: &dyn Fn((&str, &str)) -> bool| -> Vec<&str> {
        names.locales.iter().map(String::as_str).filter(|known| fits(parts(known))).collect()
    };
    let mut near = of(&|(known, _)| known == language);
    if near.is_empty() && !territory.is_empty() {
        near = of(&|(_, known)| known == territory);
    }
    // A language's own country first; English has none of that name.
    let own = language.to_uppercase();
    let rank = |known: &&str| {
        let (_, territory) = parts(known);
        let is_usual = territory == own || (language == "en" && matches!(territory, "GB" | "US"));
        (!is_usual, strsim::damerau_levenshtein(&bare, known))
    };
    near.sort_by_key(rank);
    let near: Vec<_> = near.into_iter().map(with_charset).collect();
    let near: Vec<_> = near.iter().map(String::as_str).collect();
    Some((
        format!("this image does not know the locale `{locale}`"),
        offer(&near, "a name like de_DE.UTF-8 or en_GB.UTF-8"),
    ))
}

/// Language and territory of `de_DE` or `ca_ES@valencia`.
fn parts(locale: &str) -> (&str, &str) {
    let bare = locale.split('@').next().unwrap_or(locale);
    bare.split_once('_').unwrap_or((bare, ""))
}

fn with_charset(locale: &str) -> String {
    match locale.split_once('@') {
        Some((name, modifier)) => format!("{name}.UTF-8@{modifier}"),
        None => format!("{locale}.UTF-8"),
    }
}

fn layout_problem(layout: &str, names: &Names) -> Option<(String, String)> {
    let title =
        |name: &str| names.layouts.iter().find(|(known, _)| known == name).map(|(_, title)| title.as_str());
    if names.layouts.is_empty() || title(layout).is_some() {
        return None;
    }
    let meant = LAYOUT_CODES.iter().find(|(code, _)| *code == layout).map_or(&[][..], |(_, meant)| meant);
    let mut near: Vec<&str> = meant.iter().copied().filter(|name| title(name).is_some()).collect();
    if near.is_empty() {
        // `german`, `polish`.
        let titled = names.layouts.iter().filter(|(_, title)| title.to_lowercase().starts_with(layout));
        near = titled.map(|(name, _)| name.as_str()).collect();
    }
    let near: Vec<_> =
        near.iter().map(|name| format!("{name} for {}", title(name).unwrap_or_default())).collect();
    let near: Vec<_> = near.iter().map(String::as_str).collect();
    Some((
        format!("this image does not know the keyboard layout `{layout}`"),
        offer(&near, "the code of a country, like de, gb or us"),
    ))
}

fn user_problem(user: &str, names: &Names) -> Option<(String, String)> {
    let given = |list: &[(String, u32)]| list.iter().any(|(name, id)| name == user && *id != FIRST);
    let what = if given(&names.accounts) {
        "an account"
    } else if given(&names.groups) {
        "a group"
    } else {
        return None;
    };
    Some((
        format!("this image has {what} `{user}` already, which belongs to the system"),
        "write another name, like pi".to_owned(),
    ))
}

/// What to write instead; without a guess, what such names look like.
fn offer(near: &[&str], form: &str) -> String {
    match near {
        [] => format!("write {form}"),
        [only] => format!("write {only}"),
        many => {
            format!("write one of: {}", many.iter().take(OFFERED).copied().collect::<Vec<_>>().join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Some of what Debian 13 has: tzdata 2026f, locales 2.41, xkb-data 2.42.
    fn trixie() -> Names {
        let zones = "Africa/Cairo America/New_York America/Argentina/Buenos_Aires Asia/Kolkata Etc/GMT+3 Etc/GMT-1 \
                     Etc/UTC Europe/Berlin Europe/London GMT UTC";
        let list = |text: &str| text.split_whitespace().map(str::to_owned).collect();
        let pair = |(a, b): (&str, &str)| (a.to_owned(), b.to_owned());
        let id = |(name, id): (&str, u32)| (name.to_owned(), id);
        Names {
            zones: list(zones),
            zone_aliases: [
                ("US/Eastern", "America/New_York"),
                ("Asia/Calcutta", "Asia/Kolkata"),
                ("CET", "Europe/Brussels"),
            ]
            .map(pair)
            .into(),
            locales: list(
                "aa_ER ca_ES@valencia da_DK de_AT de_DE de_DE@euro en_AG en_DK en_GB en_IN en_US ja_JP uk_UA",
            ),
            layouts: [
                ("de", "German"),
                ("gb", "English (UK)"),
                ("us", "English (US)"),
                ("dk", "Danish"),
                ("ua", "Ukrainian"),
            ]
            .map(pair)
            .into(),
            accounts: [("root", 0), ("daemon", 1), ("backup", 34), ("pi", 1000)].map(id).into(),
            groups: [("daemon", 1), ("gpio", 986), ("pi", 1000)].map(id).into(),
        }
    }

    fn advice(problem: Option<(String, String)>) -> String {
        problem.map_or_else(|| "fine".to_owned(), |(_, advice)| advice)
    }

    #[test]
    fn offers_the_zone_that_was_meant() {
        let cases = [
            ("Europe/Berlin", "fine"),
            ("America/Argentina/Buenos_Aires", "fine"),
            ("UTC", "fine"),
            ("US/Eastern", "write America/New_York, its name today"),
            ("us/eastern", "write America/New_York, its name today"),
            ("Asia/Kolkatta", "write Asia/Kolkata"),
            ("europe/berlin", "write Europe/Berlin"),
            ("Berlin", "write Europe/Berlin"),
            ("Berln", "write Europe/Berlin"),
            ("Europe/Berln", "write Europe/Berlin"),
            ("America/London", "write Europe/London"),
            ("Mars/Olympus_Mons", "write a name like Europe/Berlin or Etc/UTC"),
            // Its target is not in the image.
            ("CET", "write a name like Europe/Berlin or Etc/UTC"),
        ];
        for (zone, wanted) in cases {
            assert_eq!(advice(zone_problem(zone, &trixie())), wanted, "{zone}");
        }
        assert!(advice(zone_problem("UTC+1", &trixie())).contains("or Etc/GMT-1, whose sign"));
        assert!(advice(zone_problem("gmt-3", &trixie())).contains("or Etc/GMT+3, whose sign"));
    }

    #[test]
    fn offers_locales_of_the_language_or_the_country() {
        let cases = [
            ("de_DE.UTF-8", "fine"),
            ("C.UTF-8", "fine"),
            ("aa_ER.UTF-8", "fine"),
            ("ca_ES.UTF-8@valencia", "fine"),
            ("en_EN.UTF-8", "write one of: en_GB.UTF-8, en_US.UTF-8, en_IN.UTF-8, en_AG.UTF-8, en_DK.UTF-8"),
            ("ja_JA.UTF-8", "write ja_JP.UTF-8"),
            ("dk_DK.UTF-8", "write one of: da_DK.UTF-8, en_DK.UTF-8"),
            ("ca_ES.UTF-8", "write ca_ES.UTF-8@valencia"),
            ("xx_YY.UTF-8", "write a name like de_DE.UTF-8 or en_GB.UTF-8"),
        ];
        for (locale, wanted) in cases {
            assert_eq!(advice(locale_problem(locale, &trixie())), wanted, "{locale}");
        }
    }

    #[test]
    fn offers_layouts_by_what_people_call_them() {
        let cases = [
            ("de", "fine"),
            ("uk", "write gb for English (UK)"),
            ("en", "write one of: us for English (US), gb for English (UK)"),
            ("da", "write dk for Danish"),
            ("german", "write de for German"),
            ("zz", "write the code of a country, like de, gb or us"),
        ];
        for (layout, wanted) in cases {
            assert_eq!(advice(layout_problem(layout, &trixie())), wanted, "{layout}");
        }
    }

    #[test]
    fn accounts_and_groups_of_the_system_are_not_the_users() {
        for name in ["backup", "daemon", "root", "gpio"] {
            assert!(user_problem(name, &trixie()).is_some(), "{name}");
        }
        for name in ["pi", "ada"] {
            assert_eq!(user_problem(name, &trixie()), None, "{name}");
        }
    }

    #[test]
    fn an_image_without_lists_judges_nothing() {
        let empty = Names::default();
        assert_eq!(zone_problem("Berln", &empty), None);
        assert_eq!(locale_problem("xx_YY.UTF-8", &empty), None);
        assert_eq!(layout_problem("zz", &empty), None);
        assert_eq!(user_problem("backup", &empty), None);
    }
}
