//! The HTTP proxy for apt and Docker.
//!
//! Its URL may hold a password, so the files with it are for root only. Docker gets it from an environment file and not from
//! `Environment=` in a unit: systemd shows units to every user. apt reads neither `/etc/environment` nor upper-case variables,
//! so it gets a configuration file. Nothing of ours ever uses the proxy: the agent talks to its manager and to the local engine
//! directly.

use std::path::Path;

use cluster::card::Card;
use cluster::proxy::{FILE, Proxy};
use cluster::secret::Secret;

use super::install::failed;
use crate::agent::Pi;
use crate::host::{Host, HostError, Program};
use crate::seed::STATE;
use crate::steps::StepError;
use crate::steps::network::Local;

/// apt's configuration.
pub const APT: &str = "/etc/apt/apt.conf.d/80builder-proxy";
/// The environment of Docker's daemon, which pulls images itself.
pub const ENVIRONMENT: &str = "/etc/docker/builder-proxy.env";
/// Names [`ENVIRONMENT`] to systemd.
pub const DROP_IN: &str = "/etc/systemd/system/docker.service.d/20-builder-proxy.conf";

const DROP_IN_TEXT: &str = "[Service]\nEnvironmentFile=-/etc/docker/builder-proxy.env\n";

/// A file of ours: path, mode, and the text that it is to have; no text removes it.
type File = (&'static str, u32, Option<String>);

/// Writes the settings, or removes those of a proxy that is not wanted any more. A Docker that runs uses them from its next
/// start on: restarting it would end the node's tasks.
///
/// Power lost here: each file is old or new, and a second run writes the rest.
pub(super) fn settle(pi: &Pi, local: Local) -> Result<(), StepError> {
    let host = pi.host.as_ref();
    let pending = pending(host, &pi.card, local)?;
    for (path, mode, text) in &pending {
        place(host, path, *mode, text.as_deref()).map_err(|source| failed("set the proxy", source))?;
    }
    if pending.iter().any(|(path, ..)| *path == DROP_IN) {
        let reload = Program::new("systemctl", ["daemon-reload"]);
        host.run(&reload).map_err(|source| failed("have systemd read the proxy's settings", source))?;
    }
    Ok(())
}

/// Whether there is nothing left to write.
pub(super) fn is_settled(pi: &Pi, local: Local) -> Result<bool, StepError> {
    Ok(pending(pi.host.as_ref(), &pi.card, local)?.is_empty())
}

/// Removes the settings. A Docker that stays needs them.
pub(crate) fn remove(host: &dyn Host) -> Result<(), HostError> {
    [APT, DROP_IN, ENVIRONMENT].into_iter().try_for_each(|path| host.remove(Path::new(path)))
}

/// The files that are not yet as they are to be.
fn pending(host: &dyn Host, card: &Card, local: Local) -> Result<Vec<File>, StepError> {
    let read = |path: &Path| host.read(path).map_err(|source| failed("read the proxy's settings", source));
    let proxy = match read(&Path::new(STATE).join(FILE))? {
        Some(json) => Some(serde_json::from_slice(&json).map_err(|_| {
            // Without the parser's words: they may quote the URL.
            StepError::Never(format!("{FILE} is damaged: write the card again, or run builder config again"))
        })?),
        None => None,
    };
    let mut pending = Vec::new();
    for (path, mode, text) in files(proxy.as_ref(), card, local) {
        if read(Path::new(path))?.as_deref() != text.as_ref().map(String::as_bytes) {
            pending.push((path, mode, text));
        }
    }
    Ok(pending)
}

fn place(host: &dyn Host, path: &str, mode: u32, text: Option<&str>) -> Result<(), HostError> {
    let path = Path::new(path);
    let Some(text) = text else { return host.remove(path) };
    if let Some(folder) = path.parent() {
        host.make_folder(folder, 0o755, None)?;
    }
    host.write(path, text.as_bytes(), mode, None)
}

fn files(proxy: Option<&Proxy>, card: &Card, local: Local) -> [File; 3] {
    [
        (APT, 0o600, proxy.map(|proxy| apt(proxy, card))),
        (ENVIRONMENT, 0o600, proxy.map(|proxy| environment(proxy, card, local))),
        (DROP_IN, 0o644, proxy.map(|_| DROP_IN_TEXT.to_owned())),
    ]
}

/// apt's settings: apt.conf(5). A host without a proxy is `DIRECT` (apt-transport-http(1)); domains and networks cannot be written there.
pub fn apt(proxy: &Proxy, card: &Card) -> String {
    let mut text = String::from("// Written by firstboot from `proxy` in the cluster file.\n");
    for (method, url) in [("http", &proxy.http), ("https", &proxy.https)] {
        let url = url.as_ref().map_or("DIRECT", |url| url.expose());
        text += &format!("Acquire::{method}::Proxy \"{url}\";\n");
        let is_name = |host: &&String| {
            let allowed = |c: char| c.is_ascii_alphanumeric() || ".-".contains(c);
            !host.starts_with('.') && host.chars().all(allowed)
        };
        let own = card.nodes.iter().flat_map(|node| [node.name.to_string(), format!("{}.local", node.name)]);
        let hosts: Vec<_> = own.chain(proxy.no_proxy.iter().filter(is_name).cloned()).collect();
        for host in hosts {
            text += &format!("Acquire::{method}::Proxy::{host} \"DIRECT\";\n");
        }
    }
    text
}

/// The variables that Go's net/http knows, in the form of systemd's environment files. No character of a checked URL means
/// anything in double quotes.
fn environment(proxy: &Proxy, card: &Card, local: Local) -> String {
    let url = |name: &str, url: &Option<Secret<String>>| {
        url.as_ref().map(|url| format!("{name}=\"{}\"\n", url.expose())).unwrap_or_default()
    };
    let mut direct = vec!["localhost".to_owned(), "127.0.0.0/8".to_owned(), ".local".to_owned()];
    // Nodes with addresses from DHCP are in the node's own network.
    direct.push(format!("{}/{}", local.ip, local.prefix));
    for node in &card.nodes {
        direct.push(node.name.to_string());
        direct.extend(node.address.map(|address| address.to_string()));
    }
    direct.extend(proxy.no_proxy.iter().cloned());
    let (http, https) = (url("HTTP_PROXY", &proxy.http), url("HTTPS_PROXY", &proxy.https));
    format!("{http}{https}NO_PROXY=\"{}\"\n", direct.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card() -> Card {
        Card::from_json(include_bytes!("../../../../cluster/tests/corpus/card/plain.json")).unwrap()
    }

    fn local() -> Local {
        Local { ip: [10, 1, 1, 3].into(), prefix: 24 }
    }

    fn proxy() -> Proxy {
        let url = |text: &str| Some(Secret::new(text.to_owned()));
        Proxy {
            http: url("http://ada:p%40ss@proxy.example:3128"),
            https: url("http://proxy.example:3129"),
            no_proxy: vec![
                "mirror.example".to_owned(),
                ".lab.example".to_owned(),
                "192.168.0.0/16".to_owned(),
            ],
        }
    }

    #[test]
    fn files_with_the_url_are_for_root_only() {
        for (path, mode, text) in files(Some(&proxy()), &card(), local()) {
            let text = text.unwrap();
            assert_eq!(text.contains("proxy.example"), mode == 0o600, "{path}: {text}");
            assert!(mode == 0o600 || mode == 0o644);
        }
    }

    #[test]
    fn apt_reaches_nodes_and_named_hosts_directly() {
        let text = apt(&proxy(), &card());
        assert!(text.contains("Acquire::http::Proxy \"http://ada:p%40ss@proxy.example:3128\";\n"), "{text}");
        assert!(text.contains("Acquire::https::Proxy \"http://proxy.example:3129\";\n"));
        assert!(text.contains("Acquire::http::Proxy::red00 \"DIRECT\";\n"));
        assert!(text.contains("Acquire::https::Proxy::red00.local \"DIRECT\";\n"));
        assert!(text.contains("Acquire::http::Proxy::mirror.example \"DIRECT\";\n"));
        assert!(!text.contains("lab.example") && !text.contains("192.168"));
    }

    #[test]
    fn docker_pulls_through_the_proxy_and_reaches_the_cluster_directly() {
        let text = environment(&proxy(), &card(), local());
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "HTTP_PROXY=\"http://ada:p%40ss@proxy.example:3128\"");
        assert_eq!(lines[1], "HTTPS_PROXY=\"http://proxy.example:3129\"");
        let direct: Vec<_> =
            lines[2].trim_start_matches("NO_PROXY=\"").trim_end_matches('"').split(',').collect();
        for host in [
            "localhost",
            ".local",
            "10.1.1.3/24",
            "red00",
            "mirror.example",
            ".lab.example",
            "192.168.0.0/16",
        ] {
            assert!(direct.contains(&host), "{host}: {direct:?}");
        }
        let https_only = Proxy { http: None, ..proxy() };
        assert!(!environment(&https_only, &card(), local()).contains("HTTP_PROXY="));
    }

    #[test]
    fn nothing_is_wanted_without_a_proxy() {
        assert!(files(None, &card(), local()).iter().all(|(.., text)| text.is_none()));
    }
}
