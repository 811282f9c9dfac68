//! The HTTP proxy through which the nodes reach the internet.

use serde::{Deserialize, Serialize};

use crate::secret::Secret;

/// Proxies by the scheme of what is fetched. The URLs may hold a password, so none of them is ever shown.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proxy {
    /// For `http:` URLs, such as `http://proxy.example:3128`.
    pub http: Option<Secret<String>>,
    /// For `https:` URLs.
    pub https: Option<Secret<String>>,
    /// Hosts that are reached directly, besides the cluster's own: names, `.domains`, addresses and networks.
    pub no_proxy: Vec<String>,
}

impl Proxy {
    /// The content of the file in which a node keeps it ([`FILE`]). The same proxy gives the same bytes.
    pub fn to_json(&self) -> Secret<Vec<u8>> {
        // Strings and lists of them always serialise.
        Secret::new(serde_json::to_vec(self).unwrap_or_default())
    }
}

/// The file in which a node keeps its [`Proxy`] as JSON, in the agent's folder, readable by root only.
pub const FILE: &str = "proxy.json";

/// Why a text is not the URL of a proxy. Says nothing of the text: it may hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UrlError {
    /// No `http://` or `https://`. apt reads a proxy without one as an address of its own kind and finds no release files.
    Scheme,
    /// Nothing between `://` (or `@`) and the port.
    Host,
    /// No port, or not one from 1 to 65535.
    Port,
    /// A path, a query or a fragment.
    Path,
    /// A character that a user name, password or host must not hold as it is (RFC 3986, 3.2).
    Character,
}

/// Checks the URL of a proxy: `http://[user:password@]host:port`.
pub fn check_url(text: &str) -> Result<(), UrlError> {
    let (scheme, rest) = text.split_once("://").ok_or(UrlError::Scheme)?;
    if !matches!(scheme, "http" | "https") {
        return Err(UrlError::Scheme);
    }
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if rest.contains(['/', '?', '#']) {
        return Err(UrlError::Path);
    }
    let (login, place) = rest.rsplit_once('@').map_or((None, rest), |(login, place)| (Some(login), place));
    if login.is_some_and(|login| !is_login(login)) {
        return Err(UrlError::Character);
    }
    let (host, port) = match place.strip_prefix('[').and_then(|place| place.split_once(']')) {
        Some((address, port)) => {
            address.parse::<std::net::Ipv6Addr>().map_err(|_| UrlError::Host)?;
            (address, port.strip_prefix(':'))
        }
        None => place.split_once(':').map_or((place, None), |(host, port)| (host, Some(port))),
    };
    let allowed = |c: char| c.is_ascii_alphanumeric() || ".-_:".contains(c);
    if host.is_empty() {
        return Err(UrlError::Host);
    }
    if !host.chars().all(allowed) {
        return Err(UrlError::Character);
    }
    let port = port.filter(|port| port.bytes().all(|byte| byte.is_ascii_digit()));
    match port.and_then(|port| port.parse::<u16>().ok()) {
        Some(1..) => Ok(()),
        _ => Err(UrlError::Port),
    }
}

/// RFC 3986, `userinfo`, without the quote: unreserved and reserved characters, and `%` with two hexadecimal digits.
fn is_login(login: &str) -> bool {
    let mut chars = login.chars();
    let hex = |chars: &mut std::str::Chars<'_>| chars.next().is_some_and(|c| c.is_ascii_hexdigit());
    while let Some(c) = chars.next() {
        let fits = match c {
            '%' => hex(&mut chars) && hex(&mut chars),
            c => c.is_ascii_alphanumeric() || "-._~!$&()*+,;=:".contains(c),
        };
        if !fits {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_proxies_with_and_without_a_login() {
        for good in [
            "http://proxy.example:3128",
            "http://proxy:8080/",
            "https://10.0.0.1:443",
            "http://ada:p%40ss%23word@proxy.example:3128",
            "http://[fd00::1]:3128",
        ] {
            assert_eq!(check_url(good), Ok(()), "{good}");
        }
    }

    #[test]
    fn says_what_is_wrong_with_a_url() {
        let cases = [
            ("proxy.example:3128", UrlError::Scheme),
            ("socks5://proxy.example:1080", UrlError::Scheme),
            ("http://:3128", UrlError::Host),
            ("http://ada:secret@:3128", UrlError::Host),
            ("http://[fd00::x]:3128", UrlError::Host),
            ("http://proxy.example", UrlError::Port),
            ("http://proxy.example:0", UrlError::Port),
            ("http://proxy.example:+80", UrlError::Port),
            ("http://proxy.example:70000", UrlError::Port),
            ("http://proxy.example:3128/wpad.dat", UrlError::Path),
            ("http://ada:p@ss@proxy.example:3128", UrlError::Character),
            ("http://ada:p ss@proxy.example:3128", UrlError::Character),
            ("http://ada:100%@proxy.example:3128", UrlError::Character),
            ("http://ada:\"@proxy.example:3128", UrlError::Character),
            ("http://pro\"xy:3128", UrlError::Character),
        ];
        for (text, error) in cases {
            assert_eq!(check_url(text), Err(error), "{text}");
        }
    }

    #[test]
    fn debug_shows_no_url() {
        let url = || Some(Secret::new("http://ada:hunter2@proxy:3128".to_owned()));
        let proxy = Proxy { http: url(), https: url(), no_proxy: Vec::new() };
        assert!(!format!("{proxy:?}").contains("hunter2"));
    }
}
