//! `proxy`: one URL for everything, or a mapping.

use super::Refusal;
use super::fields::{self, Fields, Keys};
use super::problem::Collector;
use super::settings;
use super::tree::Content;
use crate::proxy::{Proxy, UrlError, check_url};
use crate::secret::Secret;

pub(super) static PROXY: Keys = Keys { of: "proxy", names: &["http", "https", "no_proxy"] };

/// Reads the proxy of a cluster file or of a `hostnames.yaml`.
pub(super) fn read(root: &Fields<'_>, problems: &mut Collector<'_>) -> Option<Proxy> {
    let node = root.get("proxy", problems)?;
    if !matches!(node.content, Content::Mapping(_)) {
        let (text, place) = fields::text(node, "proxy", problems)?;
        let url = settings::report(url(text), place, problems)?;
        return Some(Proxy { http: Some(url.clone()), https: Some(url), no_proxy: Vec::new() });
    }
    let fields = Fields::open(&PROXY, node, problems)?;
    let http = settings::checked(&fields, "http", url, problems);
    let https = settings::checked(&fields, "https", url, problems);
    let mut direct = Vec::new();
    for (text, place) in fields.texts("no_proxy", problems) {
        // In the environment variable of that name the hosts stand in one text.
        for host in text.split([',', ' ']).filter(|host| !host.is_empty()) {
            direct.extend(settings::report(no_proxy(host), place, problems));
        }
    }
    if !["http", "https"].iter().any(|key| fields.has(key) || fields.misspells(key)) {
        problems.add(fields.place, "`proxy` names no proxy", "write `proxy: http://host:port`");
    }
    Some(Proxy { http, https, no_proxy: direct })
}

fn url(text: &str) -> Result<Secret<String>, Refusal> {
    let (message, advice) = match check_url(text) {
        Ok(()) => return Ok(Secret::new(text.strip_suffix('/').unwrap_or(text).to_owned())),
        Err(UrlError::Scheme) => {
            ("the proxy's URL does not begin with http:// or https://", "write it as http://host:port")
        }
        Err(UrlError::Host) => ("the proxy's URL names no host", "write it as http://host:port"),
        Err(UrlError::Port) => ("the proxy's URL names no port", "write it as http://host:3128"),
        Err(UrlError::Path) => (
            "the proxy's URL goes on after the port",
            "write it as http://host:port, and # in a password as %23",
        ),
        Err(UrlError::Character) => (
            "the proxy's URL holds a character that must be written as % and two digits",
            "write @ as %40, a blank as %20, a quote as %22 and % as %25",
        ),
    };
    Err(Refusal::new(message, advice))
}

fn no_proxy(host: &str) -> Result<String, Refusal> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || ".-_:/*".contains(c);
    if host.len() <= 255 && host.chars().all(allowed) {
        return Ok(host.to_owned());
    }
    let advice = "write names, .domains, addresses or networks, like mirror.example or 10.0.0.0/8";
    Err(Refusal::new("this is not a host that can be reached without a proxy", advice))
}
