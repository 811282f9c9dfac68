//! Rules for single texts.

use super::Refusal;
use crate::card::DockerSource;
use crate::name::{ClusterName, Hostname, UserName};

pub(super) fn hostname(text: &str) -> Result<Hostname, Refusal> {
    const ADVICE: &str = "write names like red00";
    if text == "localhost" {
        return Err(Refusal::new("`localhost` is every machine's name for itself", ADVICE));
    }
    Hostname::try_from(text).map_err(|error| {
        let advice = Hostname::like(text).map_or_else(|| ADVICE.to_owned(), |near| format!("write {near}"));
        Refusal::new(format!("the node name `{text}` {error}"), advice)
    })
}

/// Refuses a node name that is a number: inet_aton(3), which ssh and other programs ask first, reads it as an address. `1` is
/// 0.0.0.1.
pub(super) fn number(text: &str) -> Option<Refusal> {
    let digits =
        |text: &str, is_digit: fn(&u8) -> bool| !text.is_empty() && text.bytes().all(|b| is_digit(&b));
    let is_number = digits(text, u8::is_ascii_digit)
        || text.strip_prefix("0x").is_some_and(|rest| digits(rest, u8::is_ascii_hexdigit));
    is_number.then(|| {
        let message = format!("the node name `{text}` is a number, which programs take for an address");
        Refusal::new(message, format!("put a letter before it, like red{text}"))
    })
}

/// Accounts and groups of every Debian system: `passwd.master` and `group.master` of the package base-passwd 3.6.1 (Debian 12).
/// Pi OS renames its first user and that user's group, so neither may be there already. What else an image has is known
/// when it is opened.
const ACCOUNTS: &str =
    "daemon bin sys sync games man lp mail news uucp proxy www-data backup list irc nobody";
const GROUPS: &str = "adm tty disk kmem dialout fax voice cdrom floppy tape sudo audio dip operator src shadow utmp video sasl \
                      plugdev staff users nogroup";

pub(super) fn user_name(text: &str) -> Result<UserName, Refusal> {
    const ADVICE: &str = "write a name like pi";
    let has = |list: &str| list.split_whitespace().any(|name| name == text);
    if has(ACCOUNTS) {
        return Err(Refusal::new(format!("`{text}` is an account of Debian's own"), ADVICE));
    }
    if has(GROUPS) {
        return Err(Refusal::new(format!("`{text}` is a group of Debian's own"), ADVICE));
    }
    UserName::try_from(text).map_err(|error| Refusal::new(format!("the user name `{text}` {error}"), ADVICE))
}

pub(super) fn cluster_name(text: &str) -> Result<ClusterName, Refusal> {
    ClusterName::try_from(text)
        .map_err(|error| Refusal::new(format!("the cluster name `{text}` {error}"), "write a name like red"))
}

/// The way an image is named: catalog name, path or URL.
pub(super) fn image(text: &str) -> Result<String, Refusal> {
    if text.contains("://") || ["http:", "https:", "file:"].iter().any(|scheme| text.starts_with(scheme)) {
        url(text, &["https", "http", "file"])?;
    }
    Ok(text.to_owned())
}

/// Whether an image is fetched rather than found.
pub(super) fn is_url(text: &str) -> bool {
    text.contains("://")
}

/// Base URL of a mirror of Docker's repository.
pub(super) fn mirror(text: &str) -> Result<String, Refusal> {
    url(text, &["https", "http"])
}

fn url(text: &str, schemes: &[&str]) -> Result<String, Refusal> {
    let wanted = || format!("write a URL that begins with {}://", schemes.join(":// or "));
    let (scheme, rest) = text.split_once("://").unwrap_or_default();
    if !schemes.contains(&scheme) {
        return Err(Refusal::new(format!("`{text}` is not a URL that can be fetched"), wanted()));
    }
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    if (scheme == "file") != host.is_empty() || (scheme == "file" && path.is_empty()) {
        let message = if scheme == "file" {
            "a file URL has three slashes and a path"
        } else {
            "the URL names no host"
        };
        let example =
            if scheme == "file" { "file:///home/me/os.img.xz" } else { "https://example.org/os.img.xz" };
        return Err(Refusal::new(message, format!("write a URL like {example}")));
    }
    if host.contains('@') {
        let advice = "remove the part before @: what is written here ends up on every card, readable for all";
        return Err(Refusal::new("the URL holds a user name or password", advice));
    }
    if text.contains(|c: char| c.is_whitespace() || c.is_control() || "\"'<>\\`[]{}".contains(c)) {
        return Err(Refusal::new("the URL holds a space, bracket or quote", "write %20 for a space"));
    }
    Ok(text.to_owned())
}

pub(super) fn sha256(text: &str) -> Result<String, Refusal> {
    if text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Ok(text.to_ascii_lowercase());
    }
    Err(Refusal::new("this is not a SHA-256", "write the 64 hexadecimal digits published with the image"))
}

/// A crypt(5) hash of a kind that every supported Pi OS knows and nobody has broken.
pub(super) fn password_hash(text: &str) -> Result<String, Refusal> {
    const ADVICE: &str = "run `openssl passwd -6` and write what it prints in single quotes";
    if !text.starts_with('$') {
        return Err(Refusal::new("this looks like a password, not like its hash", ADVICE));
    }
    if !["$5$", "$6$", "$y$"].iter().any(|kind| text.starts_with(kind)) {
        return Err(Refusal::new("this kind of hash is weak, or unknown to Pi OS", ADVICE));
    }
    let parts: Vec<&str> = text.split('$').collect();
    let whole = parts.len() >= 4 && parts.last().is_some_and(|hash| hash.len() >= 43);
    let allowed = |c: char| c.is_ascii_alphanumeric() || "./$=,".contains(c);
    if !whole || !text.chars().all(allowed) {
        return Err(Refusal::new("this hash is cut short, or has characters no hash has", ADVICE));
    }
    Ok(text.to_owned())
}

/// IEEE 802.11: at most 32 bytes.
pub(super) fn ssid(text: &str) -> Result<String, Refusal> {
    if text.len() > 32 || text.chars().any(char::is_control) {
        return Err(Refusal::new(
            "this is not the name of a radio network",
            "write at most 32 bytes without control characters",
        ));
    }
    Ok(text.to_owned())
}

/// WPA: 8 to 63 printable ASCII characters, or the 256-bit key itself.
pub(super) fn psk(text: &str) -> Result<String, Refusal> {
    let phrase = (8..=63).contains(&text.len()) && text.bytes().all(|b| (b' '..=b'~').contains(&b));
    let key = text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
    if phrase || key {
        return Ok(text.to_owned());
    }
    Err(Refusal::new(
        "this cannot be a WPA pass phrase",
        "write 8 to 63 ASCII characters, or 64 hexadecimal digits",
    ))
}

/// The form of an IANA name; which names an image has is known when it is opened.
pub(super) fn timezone(text: &str) -> Result<String, Refusal> {
    const ADVICE: &str = "write a name like Europe/Berlin or Etc/UTC";
    /// tzdata's own rule is 14 characters for each part; the longest name has 32.
    const LONGEST: usize = 64;
    if text.len() > LONGEST {
        return Err(Refusal::new("this is too long for the name of a time zone", ADVICE));
    }
    let is_wrong = || Refusal::new(format!("`{text}` is not the name of a time zone"), ADVICE);
    // POSIX counts hours to the west: UTC+2 is Etc/GMT-2.
    let offset = ["UTC", "GMT"].iter().find_map(|name| text.strip_prefix(name));
    if let Some((sign, hours)) = offset.filter(|rest| !["+0", "-0", "0"].contains(rest)).and_then(split_sign)
    {
        let turned = if sign == '+' { '-' } else { '+' };
        return Err(Refusal {
            advice: format!(
                "write a name like Europe/Berlin, or Etc/GMT{turned}{hours}, whose sign is turned round"
            ),
            ..is_wrong()
        });
    }
    let part = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphabetic())
            && part.chars().all(|c| c.is_ascii_alphanumeric() || "_+-".contains(c))
    };
    if text.split('/').all(part) { Ok(text.to_owned()) } else { Err(is_wrong()) }
}

/// The sign and the hours of `+2`.
fn split_sign(text: &str) -> Option<(char, u8)> {
    let sign = text.chars().next().filter(|c| "+-".contains(*c))?;
    Some((sign, text.get(1..)?.parse().ok()?))
}

/// `ll_CC.UTF-8` with an optional `@modifier`, or `C.UTF-8`; which locales an image can make is known when it is opened.
pub(super) fn locale(text: &str) -> Result<String, Refusal> {
    let near = near_locale(text);
    if near.as_deref() == Some(text) {
        return Ok(text.to_owned());
    }
    let advice = near.map_or_else(
        || "write a name like de_DE.UTF-8 or C.UTF-8".to_owned(),
        |near| format!("write {near}"),
    );
    Err(Refusal::new(format!("`{text}` is not a UTF-8 locale"), advice))
}

/// A locale as it has to be written: `en_US.UTF-8` for `en-us`, `en_US` and `en_US.utf8`. A language alone is only one with
/// its encoding: `eo.UTF-8`.
fn near_locale(text: &str) -> Option<String> {
    let (name, modifier) =
        text.split_once('@').map_or((text, None), |(name, modifier)| (name, Some(modifier)));
    if modifier.is_some_and(|m| m.is_empty() || !m.bytes().all(|b| b.is_ascii_alphanumeric())) {
        return None;
    }
    let (language, encoding) =
        name.split_once('.').map_or((name, None), |(name, encoding)| (name, Some(encoding)));
    let encoding = encoding.map(|encoding| encoding.to_ascii_lowercase().replace('-', ""));
    if encoding.as_ref().is_some_and(|encoding| encoding != "utf8") {
        return None;
    }
    let letters = |part: &str, lengths: std::ops::RangeInclusive<usize>| {
        lengths.contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphabetic())
    };
    let language = match language.split_once(['_', '-']) {
        Some((l, c)) if letters(l, 2..=3) && letters(c, 2..=2) => {
            format!("{}_{}", l.to_ascii_lowercase(), c.to_ascii_uppercase())
        }
        Some(_) => return None,
        None if ["C", "POSIX"].contains(&language) => "C".to_owned(),
        None if letters(language, 2..=3) && encoding.is_some() => language.to_ascii_lowercase(),
        None => return None,
    };
    Some(format!("{language}.UTF-8{}", modifier.map(|m| format!("@{m}")).unwrap_or_default()))
}

/// XKB layout.
pub(super) fn keymap(text: &str) -> Result<String, Refusal> {
    if (2..=16).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_lowercase()) {
        return Ok(text.to_owned());
    }
    Err(Refusal::new(format!("`{text}` is not a keyboard layout"), "write a layout like de, gb or us"))
}

pub(super) fn docker_source(text: &str) -> Result<DockerSource, Refusal> {
    match text {
        "docker" => Ok(DockerSource::Docker),
        "debian" => Ok(DockerSource::Debian),
        _ => Err(Refusal::new(format!("Docker does not come from `{text}`"), "write docker or debian")),
    }
}

/// A version of Docker's or Debian's package, or a pattern of one, that apt can match.
///
/// apt compares the whole version with its epoch. A pattern that ends in `*` means all versions that begin with what is
/// before it, letter by letter, so a further `*` in it is no wildcard any more; one that does not end in `*` has to match
/// to the last letter (apt-pkg/versionmatch.cc, 2.6 to 3.3).
pub(super) fn apt_version(text: &str, source: DockerSource) -> Result<String, Refusal> {
    /// The epoch of docker-ce since 18.09; epochs only grow.
    const EPOCH: u32 = 5;
    let allowed = |c: char| c.is_ascii_alphanumeric() || ".+-~:*".contains(c);
    let example = match source {
        DockerSource::Docker => "5:29.*",
        DockerSource::Debian => "26.*",
    };
    if !text.starts_with(|c: char| c.is_ascii_digit()) || !text.chars().all(allowed) {
        let advice = format!("write a version or pattern like \"{example}\"");
        return Err(Refusal::new(format!("`{text}` is not an apt version"), advice));
    }
    let (epoch, version) =
        text.split_once(':').map_or((None, text), |(epoch, version)| (Some(epoch), version));
    let is_prefix = version.ends_with('*');
    let near = || {
        // Half a version gets what is missing.
        let dots = version.matches('.').count();
        let is_number = version.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        let rest = match dots {
            _ if !is_number || version.is_empty() => "",
            0 | 1 => ".*",
            _ => "*",
        };
        match source {
            DockerSource::Docker => format!("write \"{EPOCH}:{version}{rest}\""),
            DockerSource::Debian => format!("write \"{version}{rest}\""),
        }
    };
    match source {
        DockerSource::Docker
            if epoch.and_then(|epoch| epoch.parse().ok()).is_none_or(|epoch: u32| epoch < EPOCH) =>
        {
            let message =
                format!("apt finds no `{text}`: the versions of Docker's packages begin with {EPOCH}:");
            return Err(Refusal::new(message, near()));
        }
        DockerSource::Debian if epoch.is_some() => {
            let message = format!("apt finds no `{text}`: the versions of Debian's docker.io have no epoch");
            return Err(Refusal::new(message, near()));
        }
        _ => {}
    }
    if is_prefix && version.matches('*').count() > 1 {
        let message =
            format!("apt finds no `{text}`: where the last character is *, no other * is a wildcard");
        return Err(Refusal::new(message, format!("write a single * at the end, like \"{example}\"")));
    }
    // Docker's versions end in the release's name, Debian's have at least a revision.
    let is_whole = match source {
        DockerSource::Docker => {
            version.ends_with(|c: char| c.is_ascii_alphabetic()) && version.contains(['-', '*'])
        }
        DockerSource::Debian => version.contains(['-', '*']),
    };
    if !is_prefix && !is_whole {
        let message = format!("apt finds no `{text}`: it is not a whole version, and has no * at its end");
        return Err(Refusal::new(message, near()));
    }
    Ok(text.to_owned())
}

/// Linux: 1 to 15 bytes, neither space nor slash.
pub(super) fn interface(text: &str) -> Result<String, Refusal> {
    let allowed = |b: u8| b.is_ascii_graphic() && !b"/:\"'\\".contains(&b);
    if text.len() <= 15 && text.bytes().all(allowed) && ![".", ".."].contains(&text) {
        return Ok(text.to_owned());
    }
    Err(Refusal::new(format!("`{text}` is not a network interface"), "write a name like eth0 or wlan0"))
}

/// A number and a unit, as seconds.
pub(super) fn duration(text: &str, least: u64) -> Result<u64, Refusal> {
    const CENTURY: u64 = 100 * 365 * 24 * 3600;
    let seconds = text.char_indices().last().and_then(|(at, unit)| {
        let number = text.get(..at).filter(|n| n.bytes().all(|b| b.is_ascii_digit()))?;
        let unit = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 24 * 3600,
            'w' => 7 * 24 * 3600,
            'y' => 365 * 24 * 3600,
            _ => return None,
        };
        number.parse::<u64>().ok()?.checked_mul(unit)
    });
    let Some(seconds) = seconds else {
        return Err(Refusal::new(
            format!("`{text}` is not a stretch of time"),
            "write a number and s, m, h, d, w or y, like 24h",
        ));
    };
    if seconds < least {
        return Err(Refusal::new(
            format!("{text} is too short"),
            format!("write at least {}", if least < 3600 { "1m" } else { "1h" }),
        ));
    }
    if seconds > CENTURY {
        return Err(Refusal::new(format!("{text} is too long"), "write at most 100y"));
    }
    Ok(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which of the texts a rule refuses.
    fn refused<'t, T>(rule: fn(&str) -> Result<T, Refusal>, texts: &[&'t str]) -> Vec<&'t str> {
        texts.iter().copied().filter(|text| rule(text).is_err()).collect()
    }

    #[test]
    fn hashes_are_whole_and_strong() {
        let body = "a".repeat(86);
        let good = [
            format!("$6$salt${body}"),
            format!("$6$rounds=5000$salt${body}"),
            format!("$y$j9T$salt${}", &body[..43]),
        ];
        for hash in good {
            assert_eq!(password_hash(&hash).as_ref(), Ok(&hash));
        }
        let bad = ["hunter2", "$1$salt$aaaaaaaaaaaaaaaaaaaaaa", "$6$salt$aaaa", "$6$salt"].map(str::to_owned);
        for hash in bad.into_iter().chain([format!("$6$salt${body}:0"), format!("$6${body}")]) {
            let refusal = password_hash(&hash).unwrap_err();
            assert!(!format!("{refusal:?}").contains(&hash), "{refusal:?}");
        }
    }

    #[test]
    fn wifi_keeps_the_rules_of_wpa() {
        let (long, key) = ("x".repeat(64), "0123456789abcdefABCDEF0123456789".repeat(2));
        let texts =
            ["1234567", "12345678", &long[..63], &long, &key, &key[..63], "pass phrase", "pässphrase"];
        assert_eq!(refused(psk, &texts), ["1234567", &long, "pässphrase"]);
        assert_eq!(refused(ssid, &["Lab 2", &long[..32], &long[..33], "a\tb"]), [&long[..33], "a\tb"]);
    }

    #[test]
    fn names_of_time_zones_locales_and_keymaps() {
        let zones = [
            "Europe/Berlin",
            "UTC",
            "America/Argentina/Buenos_Aires",
            "Etc/GMT+1",
            "/etc/passwd",
            "../x",
            "a//b",
            "x y",
        ];
        assert_eq!(refused(timezone, &zones), ["/etc/passwd", "../x", "a//b", "x y"]);
        assert_eq!(refused(timezone, &[&"Etc/UTC/".repeat(1 << 17)[..]]).len(), 1);
        for (written, meant) in [("UTC+2", "Etc/GMT-2"), ("GMT-11", "Etc/GMT+11")] {
            assert!(timezone(written).unwrap_err().advice.contains(meant), "{written}");
        }
        assert_eq!(refused(timezone, &["GMT+0", "Etc/GMT-2", "EST5EDT", "UTC0"]), [""; 0]);
        let locales =
            ["de_DE.UTF-8", "C.UTF-8", "ca_ES.UTF-8@valencia", "eo.UTF-8", "en_EN.UTF-8", "de.utf8"];
        assert_eq!(refused(locale, &locales), ["de.utf8"]);
        for (written, meant) in [
            ("en_US", "write en_US.UTF-8"),
            ("en_US.utf8", "write en_US.UTF-8"),
            ("EN-us", "write en_US.UTF-8"),
            ("de_DE@euro", "write de_DE.UTF-8@euro"),
            ("C", "write C.UTF-8"),
            ("POSIX", "write C.UTF-8"),
            ("eo.utf8", "write eo.UTF-8"),
            ("de", "write a name like de_DE.UTF-8 or C.UTF-8"),
            ("de_DE.ISO-8859-1", "write a name like de_DE.UTF-8 or C.UTF-8"),
            ("deutsch_DE.UTF-8", "write a name like de_DE.UTF-8 or C.UTF-8"),
        ] {
            assert_eq!(locale(written).unwrap_err().advice, meant, "{written}");
        }
        assert_eq!(
            refused(keymap, &["de", "gb", "latam", "d", "De", "de nodeadkeys"]),
            ["d", "De", "de nodeadkeys"]
        );
    }

    #[test]
    fn interfaces_are_one_word() {
        let interfaces = ["eth0", "enp1s0.100", "wlan 0", "a/b", "..", "sixteen-letters-"];
        assert_eq!(refused(interface, &interfaces), ["wlan 0", "a/b", "..", "sixteen-letters-"]);
    }

    #[test]
    fn versions_are_such_that_apt_can_match_them() {
        let docker = |text: &str| apt_version(text, DockerSource::Docker);
        for good in ["5:29.*", "5:29*", "5:29.0.1-1~debian.13~trixie", "5:29.*~trixie", "5:*", "6:31.*"] {
            assert_eq!(docker(good).as_deref(), Ok(good));
        }
        for (bad, advice) in [
            ("29.*", "write \"5:29.*\""),
            ("29.0.1-1~debian.13~trixie", "write \"5:29.0.1-1~debian.13~trixie\""),
            ("29", "write \"5:29.*\""),
            ("5:29", "write \"5:29.*\""),
            ("5:29.4", "write \"5:29.4.*\""),
            ("5:29.4.0", "write \"5:29.4.0*\""),
            ("4:29.*", "write \"5:29.*\""),
            ("5:29.*-1", "write \"5:29.*-1\""),
            ("5:*29.*", "write a single * at the end, like \"5:29.*\""),
            ("newest", "write a version or pattern like \"5:29.*\""),
            ("1; rm", "write a version or pattern like \"5:29.*\""),
            ("5:29 ", "write a version or pattern like \"5:29.*\""),
        ] {
            assert_eq!(docker(bad).unwrap_err().advice, advice, "{bad}");
        }
        let debian = |text: &str| apt_version(text, DockerSource::Debian);
        for good in ["26.*", "26.1.5+dfsg1-9+b4", "28.2.2-0ubuntu1"] {
            assert_eq!(debian(good).as_deref(), Ok(good));
        }
        assert_eq!(debian("5:26.*").unwrap_err().advice, "write \"26.*\"");
        assert_eq!(debian("26.1.5").unwrap_err().advice, "write \"26.1.5*\"");
    }

    #[test]
    fn a_node_has_a_name_and_not_a_number() {
        for number in ["1", "007", "0x7f"] {
            assert!(super::number(number).unwrap().message.contains("is a number"), "{number}");
        }
        for good in ["red1", "1a", "0x", "0xyz", "1-2"] {
            assert!(hostname(good).is_ok(), "{good}");
        }
        for (written, near) in [("Kitchen-Pi", "kitchen-pi"), ("red00.local", "red00"), ("red_0", "red-0")] {
            assert_eq!(hostname(written).unwrap_err().advice, format!("write {near}"));
        }
        assert_eq!(hostname("???").unwrap_err().advice, "write names like red00");
    }

    #[test]
    fn debian_has_some_names_itself() {
        for name in ["backup", "daemon", "www-data", "nobody", "users", "sudo", "root", "proxy"] {
            assert!(user_name(name).is_err(), "{name}");
        }
        for name in ["pi", "anna", "backups", "docker"] {
            assert!(user_name(name).is_ok(), "{name}");
        }
    }

    #[test]
    fn durations_have_a_unit_and_bounds() {
        let seconds = |text: &str| duration(text, 60).ok();
        assert_eq!(
            ["60s", "2m", "1h", "1d", "1w", "2y"].map(seconds),
            [60, 120, 3600, 86_400, 604_800, 63_072_000].map(Some)
        );
        let bad =
            ["59s", "24", "h", "1 h", "-1h", "1ä", "101y", "99999999999999999999y", "18446744073709551615y"];
        assert_eq!(bad.map(seconds), [None; 9]);
    }

    #[test]
    fn a_digest_is_lower_case_afterwards() {
        let digest = "0123456789ABCDEF".repeat(4);
        assert_eq!(sha256(&digest), Ok(digest.to_lowercase()));
        assert_eq!(refused(sha256, &[&digest[1..], "sha256:00", &"g".repeat(64)]).len(), 3);
    }
}
