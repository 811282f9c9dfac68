//! Rules for single texts.

use super::Refusal;
use crate::card::DockerSource;

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
