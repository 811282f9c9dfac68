//! The files through which cloud-init sets a card up: Ubuntu Server. It makes name, user and network, each before
//! anything of the boot depends on it, and starts the seed stage at its end. The rest is the seed stage's, as everywhere.
//! Pure.
//!
//! The password's hash is not among it: the seed stage has it from the payload, and so it is never in cloud-init's own
//! copies. The radio's pass phrase has to be, since the network comes first.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use cluster::card::{self, StaticAddress};
use cluster::spec::{Cluster, Node};

use super::change::Showing;
use super::payload::Common;

/// A file for the FAT's root.
pub(super) struct SeedFile {
    pub(super) name: &'static str,
    pub(super) text: String,
    pub(super) showing: Showing,
}

/// What takes the place of the image's own files. An image's `network-config` asks DHCP and stays where that is wanted.
pub(super) fn files(common: Common<'_>, node: &Node) -> Vec<SeedFile> {
    let cluster = common.cluster;
    let file = |name, text, showing| SeedFile { name, text, showing };
    let id = common.identities.cluster_id.as_str();
    let mut files = Vec::new();
    if let Some(text) = network_config(cluster, node) {
        let showing = if cluster.wifi_psk.is_some() { Showing::Secret } else { Showing::Text };
        files.push(file("network-config", text, showing));
    }
    files.push(file("meta-data", meta_data(node, id), Showing::Text));
    files.push(file("user-data", user_data(cluster, node, common.image.release.mount()), Showing::Text));
    files
}

/// The same instance at every boot of this card, and another one than that of any other card: cloud-init does
/// everything anew for an instance it does not know.
fn meta_data(node: &Node, cluster_id: &str) -> String {
    format!("dsmode: local\ninstance-id: {}\n", quoted(&format!("{cluster_id}-{}", node.name)))
}

fn user_data(cluster: &Cluster, node: &Node, mount: &str) -> String {
    let mut text = format!(
        "#cloud-config\n\
         hostname: {}\n\
         manage_etc_hosts: true\n\
         users:\n\
         - name: {}\n  \
           shell: /bin/bash\n",
        quoted(node.name.as_str()),
        quoted(cluster.user.name.as_str())
    );
    let mut say = |line: &str| {
        text.push_str(line);
        text.push('\n');
    };
    if !cluster.user.authorized_keys.is_empty() {
        say("  ssh_authorized_keys:");
        cluster.user.authorized_keys.iter().for_each(|key| say(&format!("  - {}", quoted(key))));
    }
    say(&format!("ssh_pwauth: {}", cluster.user.password_hash.is_some()));
    let run = format!("{mount}/{}/{}", card::FOLDER, card::RUN);
    say("# Starts the set-up.");
    say("runcmd:");
    say(&format!("- [{}]", quoted(&run)));
    say(
        "# Starts it again at the next boot when the power went meanwhile; cloud-init alone would take it for done.",
    );
    say("bootcmd:");
    say(&format!("- [sh, -c, {}]", quoted(&resume(mount, &run))));
    text
}

/// Runs at every boot until the seed stage has switched cloud-init off. That the script was begun is a note of
/// cloud-init's, made before and not after it runs what `runcmd` says.
fn resume(mount: &str, run: &str) -> String {
    let unit = format!("{}.mount", mount.trim_start_matches('/').replace('/', "-"));
    let begun = "/var/lib/cloud/instance/sem/config_scripts_user";
    format!("[ ! -e {begun} ] || {{ systemctl start {unit}; {run}; }}")
}

/// Netplan's format (version 2), where the network is to be other than DHCP on the wire. Nothing is waited for: the
/// agent itself waits for what it needs.
fn network_config(cluster: &Cluster, node: &Node) -> Option<String> {
    if cluster.wifi.is_none() && node.address.is_none() {
        return None;
    }
    let uses_radio =
        cluster.wifi.is_some() && cluster.swarm.interface.as_ref().is_some_and(|name| name.starts_with("wl"));
    let address = |radio: bool| node.address.as_ref().filter(|_| radio == uses_radio);
    // By another release the first wired interface is called eth0, end0 or enu1u1.
    let mut text =
        "network:\n  version: 2\n  ethernets:\n    wired:\n      match: {name: \"e*\"}\n".to_owned();
    interface(&mut text, address(false));
    if let Some(wifi) = &cluster.wifi {
        text.push_str("  wifis:\n    wlan0:\n");
        interface(&mut text, address(true));
        let password = cluster.wifi_psk.as_ref().map(|psk| format!("password: {}", quoted(psk.expose())));
        let hidden = wifi.hidden.then(|| "hidden: true".to_owned());
        let settings = hidden.into_iter().chain(password).collect::<Vec<_>>().join(", ");
        let (country, ssid) = (quoted(&wifi.country), quoted(&wifi.ssid));
        let _infallible = write!(
            text,
            "      regulatory-domain: {country}\n      access-points:\n        {ssid}: {{{settings}}}\n"
        );
    }
    Some(text)
}

fn interface(text: &mut String, address: Option<&StaticAddress>) {
    let mut say = |line: &str| {
        text.push_str("      ");
        text.push_str(line);
        text.push('\n');
    };
    say("optional: true");
    let Some(StaticAddress { ip, prefix, gateway, dns }) = address else {
        return say("dhcp4: true");
    };
    say("dhcp4: false");
    say(&format!("addresses: [{ip}/{prefix}]"));
    if let Some(gateway) = gateway {
        say(&format!("routes: [{{to: default, via: {gateway}}}]"));
    }
    if !dns.is_empty() {
        let servers: Vec<String> = dns.iter().map(Ipv4Addr::to_string).collect();
        say(&format!("nameservers: {{addresses: [{}]}}", servers.join(", ")));
    }
}

/// A text in quotes, whatever is in it: what JSON writes is also YAML's.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
