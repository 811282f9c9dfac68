//! User, radio network, language, Docker and Swarm.

use super::fields::{Fields, Keys, text};
use super::problem::{Collector, Place};
use super::{Outside, Refusal, User, address, checks};
use crate::card::{CardDocker, CardSwarm, CardWifi, DockerSource};
use crate::secret::Secret;

pub(super) static USER: Keys = Keys { of: "user", names: &["name", "authorized_keys", "password_hash"] };
pub(super) static WIFI: Keys = Keys { of: "wifi", names: &["country", "ssid", "psk", "hidden"] };
pub(super) static DOCKER: Keys = Keys { of: "docker", names: &["source", "version", "url", "key"] };
pub(super) static SWARM: Keys =
    Keys { of: "swarm", names: &["interface", "address_pool", "cert_expiry", "join_window"] };

/// A key's text that passes a check; refusals are reported.
pub(super) fn checked<T>(
    fields: &Fields<'_>,
    key: &'static str,
    check: impl FnOnce(&str) -> Result<T, Refusal>,
    problems: &mut Collector<'_>,
) -> Option<T> {
    let (text, place) = fields.text(key, problems)?;
    report(check(text), place, problems)
}

/// As [`checked`], for a key that must be there; `example` is what might be written.
pub(super) fn needed<T>(
    fields: &Fields<'_>,
    key: &'static str,
    example: &str,
    check: impl FnOnce(&str) -> Result<T, Refusal>,
    problems: &mut Collector<'_>,
) -> Option<T> {
    let node = fields.need(key, example, problems)?;
    let (text, place) = text(node, key, problems)?;
    report(check(text), place, problems)
}

pub(super) fn report<T>(result: Result<T, Refusal>, place: Place, problems: &mut Collector<'_>) -> Option<T> {
    result.map_err(|refusal| problems.add(place, refusal.message, refusal.advice)).ok()
}

/// `user`.
pub(super) fn user(root: &Fields<'_>, outside: &dyn Outside, problems: &mut Collector<'_>) -> Option<User> {
    let node = root.need("user", "{name: pi, authorized_keys: [~/.ssh/id_ed25519.pub]}", problems)?;
    let fields = Fields::open(&USER, node, problems)?;
    let name = needed(&fields, "name", "pi", checks::user_name, problems);
    let mut authorized_keys = Vec::new();
    for (text, place) in fields.texts("authorized_keys", problems) {
        authorized_keys.extend(report(outside.authorized_keys(text), place, problems).into_iter().flatten());
    }
    let password_hash = checked(&fields, "password_hash", checks::password_hash, problems).map(Secret::new);
    if !["authorized_keys", "password_hash"].iter().any(|key| fields.has(key) || fields.misspells(key)) {
        problems.add(
            fields.key_place("name"),
            "nobody could log in: the user has neither a key nor a password",
            "write `authorized_keys: [~/.ssh/id_ed25519.pub]`",
        );
    }
    Some(User { name: name?, authorized_keys, password_hash })
}

/// `wifi`, and its pass phrase; an open network has none.
pub(super) fn wifi(
    root: &Fields<'_>,
    problems: &mut Collector<'_>,
) -> Option<(CardWifi, Option<Secret<String>>)> {
    let fields = Fields::open(&WIFI, root.get("wifi", problems)?, problems)?;
    let country = needed(&fields, "country", "DE", checks::country, problems);
    let ssid = needed(&fields, "ssid", "\"the network's name\"", checks::ssid, problems);
    let psk = checked(&fields, "psk", checks::psk, problems).map(Secret::new);
    let hidden = fields.flag("hidden", problems).unwrap_or(false);
    Some((CardWifi { country: country?, ssid: ssid?, hidden }, psk))
}

/// Docker's newest from a source.
pub(super) const fn docker_from(source: DockerSource) -> CardDocker {
    CardDocker { source, version: None, url: None, key: None }
}

/// `docker`.
pub(super) fn docker(root: &Fields<'_>, outside: &dyn Outside, problems: &mut Collector<'_>) -> CardDocker {
    let mut docker = docker_from(DockerSource::Docker);
    let Some(fields) = root.get("docker", problems).and_then(|node| Fields::open(&DOCKER, node, problems))
    else {
        return docker;
    };
    docker.source = checked(&fields, "source", checks::docker_source, problems).unwrap_or(docker.source);
    docker.version = checked(&fields, "version", checks::apt_version, problems);
    docker.url = checked(&fields, "url", checks::mirror, problems);
    docker.key = checked(&fields, "key", |path| outside.armored_key(path), problems);
    for key in ["url", "key"] {
        if docker.source == DockerSource::Debian && fields.has(key) {
            let message =
                format!("`{key}` is about Docker's own repository, and `source: debian` does not use it");
            problems.add(
                fields.key_place(key),
                message,
                format!("remove `{key}`, or write `source: docker`"),
            );
        }
    }
    if docker.source == DockerSource::Docker && fields.has("key") && !fields.has("url") {
        let advice = "write the `url` of the mirror this key signs, or remove `key`";
        problems.add(
            fields.key_place("key"),
            "Docker's own repository is not signed with another key",
            advice,
        );
    }
    docker
}

/// Two years: certificates of Swarm's default, 90 days, expire on Pis that stand unpowered over a summer.
const CERT_EXPIRY_SECONDS: u64 = 2 * 365 * 24 * 3600;
const JOIN_WINDOW_SECONDS: u64 = 24 * 3600;

/// How a swarm is formed where nothing is said of it.
pub(super) const fn plain_swarm() -> CardSwarm {
    CardSwarm {
        interface: None,
        address_pool: None,
        cert_expiry_seconds: CERT_EXPIRY_SECONDS,
        join_window_seconds: JOIN_WINDOW_SECONDS,
        managers_run_tasks: false,
    }
}

/// `swarm` and `managers_run_tasks`.
pub(super) fn swarm(root: &Fields<'_>, nodes: &[super::Node], problems: &mut Collector<'_>) -> CardSwarm {
    let mut swarm = plain_swarm();
    swarm.managers_run_tasks = root.flag("managers_run_tasks", problems).unwrap_or(false);
    let Some(fields) = root.get("swarm", problems).and_then(|node| Fields::open(&SWARM, node, problems))
    else {
        return swarm;
    };
    swarm.interface = checked(&fields, "interface", checks::interface, problems);
    // Swarm itself takes nothing under an hour.
    let expiry = checked(&fields, "cert_expiry", |text| checks::duration(text, 3600), problems);
    swarm.cert_expiry_seconds = expiry.unwrap_or(swarm.cert_expiry_seconds);
    let window = checked(&fields, "join_window", |text| checks::duration(text, 60), problems);
    swarm.join_window_seconds = window.unwrap_or(swarm.join_window_seconds);
    if let Some((text, place)) = fields.text("address_pool", problems)
        && let Some(pool) = report(address::pool(text), place, problems)
    {
        let clash = nodes.iter().find(|node| {
            node.address
                .as_ref()
                .is_some_and(|own| pool.overlaps(address::Subnet { ip: own.ip, prefix: own.prefix }))
        });
        if let Some(node) = clash {
            let message = format!("the pool {text} overlaps the network of {}", node.name);
            problems.add(place, message, "write a private network your own does not use, like 10.201.0.0/16");
        }
        swarm.address_pool = Some(text.to_owned());
    }
    swarm
}
