//! Rules for single texts.

use super::Refusal;
use crate::card::DockerSource;
use crate::name::{ClusterName, Hostname, UserName};

pub(super) fn hostname(text: &str) -> Result<Hostname, Refusal> {
    const ADVICE: &str = "write names like red00";
    if text == "localhost" {
        return Err(Refusal::new("`localhost` is every machine's name for itself", ADVICE));
    }
    Hostname::try_from(text).map_err(|error| Refusal::new(format!("the node name `{text}` {error}"), ADVICE))
}

pub(super) fn user_name(text: &str) -> Result<UserName, Refusal> {
    UserName::try_from(text)
        .map_err(|error| Refusal::new(format!("the user name `{text}` {error}"), "write a name like pi"))
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

/// ISO 3166-1: the radio's rules depend on the country.
pub(super) fn country(text: &str) -> Result<String, Refusal> {
    if text.len() == 2 && text.bytes().all(|b| b.is_ascii_uppercase()) {
        return Ok(text.to_owned());
    }
    let advice = if text.len() == 2 && text.is_ascii() {
        format!("write {}", text.to_ascii_uppercase())
    } else {
        "write two capital letters, like DE, GB or US".to_owned()
    };
    Err(Refusal::new(format!("`{text}` is not a country code"), advice))
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

pub(super) fn timezone(text: &str) -> Result<String, Refusal> {
    let part = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphabetic())
            && part.chars().all(|c| c.is_ascii_alphanumeric() || "_+-".contains(c))
    };
    if text.split('/').all(part) {
        return Ok(text.to_owned());
    }
    Err(Refusal::new(
        format!("`{text}` is not the name of a time zone"),
        "write a name like Europe/Berlin or Etc/UTC",
    ))
}

/// `ll_CC.UTF-8` with an optional `@modifier`, or `C.UTF-8`.
pub(super) fn locale(text: &str) -> Result<String, Refusal> {
    let (name, modifier) =
        text.split_once('@').map_or((text, None), |(name, modifier)| (name, Some(modifier)));
    let language = name.strip_suffix(".UTF-8");
    let known = language.is_some_and(|language| {
        let lower =
            |part: &str| (2..=3).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_lowercase());
        let upper = |part: &str| part.len() == 2 && part.bytes().all(|b| b.is_ascii_uppercase());
        language == "C"
            || language.split_once('_').map_or_else(|| lower(language), |(l, c)| lower(l) && upper(c))
    });
    if known && modifier.is_none_or(|m| !m.is_empty() && m.bytes().all(|b| b.is_ascii_alphanumeric())) {
        return Ok(text.to_owned());
    }
    Err(Refusal::new(format!("`{text}` is not a UTF-8 locale"), "write a name like de_DE.UTF-8 or C.UTF-8"))
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

/// An apt version, or a pattern of one (apt-get(8): `package=version`).
pub(super) fn apt_version(text: &str) -> Result<String, Refusal> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || ".+-~:*".contains(c);
    if text.starts_with(|c: char| c.is_ascii_digit()) && text.chars().all(allowed) {
        return Ok(text.to_owned());
    }
    Err(Refusal::new(format!("`{text}` is not an apt version"), "write a version or pattern like \"5:29.*\""))
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
        assert_eq!(refused(country, &["DE", "de", "DEU", "D1", "Ö"]), ["de", "DEU", "D1", "Ö"]);
        assert_eq!(country("gb").unwrap_err().advice, "write GB");
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
        let locales = [
            "de_DE.UTF-8",
            "C.UTF-8",
            "ca_ES.UTF-8@valencia",
            "eo.UTF-8",
            "de_DE",
            "de_DE.utf8",
            "DE_de.UTF-8",
        ];
        assert_eq!(refused(locale, &locales), ["de_DE", "de_DE.utf8", "DE_de.UTF-8"]);
        assert_eq!(
            refused(keymap, &["de", "gb", "latam", "d", "De", "de nodeadkeys"]),
            ["d", "De", "de nodeadkeys"]
        );
    }

    #[test]
    fn versions_and_interfaces_are_one_word() {
        let versions = ["5:29.*", "29.0.1-1~debian.13~trixie", "newest", "1; rm", "5:29 "];
        assert_eq!(refused(apt_version, &versions), ["newest", "1; rm", "5:29 "]);
        let interfaces = ["eth0", "enp1s0.100", "wlan 0", "a/b", "..", "sixteen-letters-"];
        assert_eq!(refused(interface, &interfaces), ["wlan 0", "a/b", "..", "sixteen-letters-"]);
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
