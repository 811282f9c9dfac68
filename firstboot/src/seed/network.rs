//! A fixed address, where the cluster file gives one. Without it the image's own DHCP stands. And no wait for a network that
//! nobody manages.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::path::Path;

use cluster::card::StaticAddress;

use super::{Seed, SeedError, units};

/// NetworkManager reads only files of mode 0600 that root owns here.
pub(super) const PROFILES: &str = "/etc/NetworkManager/system-connections";
const PROFILE: &str = "/etc/NetworkManager/system-connections/firstboot-ethernet.nmconnection";
pub(super) const DHCPCD: &str = "/etc/dhcpcd.conf";
const BEGIN: &str = "# firstboot: begin";
const END: &str = "# firstboot: end";

/// Who manages the network: NetworkManager from Bookworm on, dhcpcd before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stack {
    NetworkManager,
    Dhcpcd,
}

/// Finds out; an image with neither is an error.
pub(super) fn stack(seed: &Seed<'_>) -> Result<Stack, SeedError> {
    if units::find(seed, "NetworkManager.service")?.is_some() {
        return Ok(Stack::NetworkManager);
    }
    if seed.has(DHCPCD)? {
        return Ok(Stack::Dhcpcd);
    }
    Err(SeedError::NotInImage("NetworkManager or dhcpcd".to_owned()))
}

/// The address that belongs to the radio: only where the swarm is to use a radio's interface.
pub(super) fn radio_address<'a>(seed: &'a Seed<'_>) -> Option<&'a StaticAddress> {
    seed.card.address.as_ref().filter(|_| uses_radio(seed))
}

fn uses_radio(seed: &Seed<'_>) -> bool {
    seed.card.wifi.is_some() && seed.card.swarm.interface.as_ref().is_some_and(|name| name.starts_with("wl"))
}

/// Power lost here: the file is old or new.
pub(super) fn apply(seed: &Seed<'_>) -> Result<(), SeedError> {
    let is_ours = !uses_radio(seed) && !seed.leaves_network_to_cloud_init();
    let Some(address) = seed.card.address.as_ref().filter(|_| is_ours) else { return Ok(()) };
    match stack(seed)? {
        Stack::NetworkManager => {
            seed.root.make_folder(Path::new(PROFILES), 0o700, None)?;
            seed.write_text(PROFILE, &profile(address), 0o600)
        }
        Stack::Dhcpcd => {
            let text = edit_dhcpcd(&seed.read_text(DHCPCD)?, "eth0", address);
            seed.write_text(DHCPCD, &text, 0o644)
        }
    }
}

/// Waits for a link that networkd manages, up to two minutes at every boot (systemd-networkd-wait-online.service(8)).
const NETWORKD_WAIT: &str = "systemd-networkd-wait-online.service";
/// Where an administrator, netplan or the kernel command line tell networkd what to manage (systemd.network(5)). What packages
/// bring applies to containers and tunnels.
const NETWORKD: [&str; 2] = ["/etc/systemd/network", "/run/systemd/network"];
const NETPLAN: &str = "/etc/netplan";

/// Masks networkd's wait where NetworkManager runs the network and networkd manages nothing: it would end by its timeout and hold
/// up everything that comes after network-online.target. systemd enables networkd and this wait at the first boot, unless the
/// image has a preset of its own (Debian's `90-systemd.preset`).
///
/// Power lost here: done again.
pub(super) fn skip_networkd_wait(seed: &Seed<'_>) -> Result<(), SeedError> {
    if seed.leaves_network_to_cloud_init()
        || units::find(seed, "NetworkManager.service")?.is_none()
        || units::find(seed, NETWORKD_WAIT)?.is_none()
        || manages_with_networkd(seed)?
    {
        return Ok(());
    }
    units::mask(seed, NETWORKD_WAIT)
}

fn manages_with_networkd(seed: &Seed<'_>) -> Result<bool, SeedError> {
    for folder in NETWORKD {
        if seed.root.list(Path::new(folder))?.iter().any(|name| name.ends_with(".network")) {
            return Ok(true);
        }
    }
    // netplan's default renderer is networkd; its files on an image with NetworkManager name that one.
    for name in seed.root.list(Path::new(NETPLAN))?.iter().filter(|name| name.ends_with(".yaml")) {
        if !seed.read_text(&format!("{NETPLAN}/{name}"))?.contains("NetworkManager") {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Matches any wired device; the priority lets it win over the profile NetworkManager makes up (-999).
fn profile(address: &StaticAddress) -> String {
    format!(
        "[connection]\nid=firstboot-ethernet\ntype=ethernet\nautoconnect-priority=100\n\n{}",
        ip_sections(Some(address))
    )
}

/// The `ipv4` and `ipv6` sections of a keyfile (nm-settings-keyfile(5)).
pub(super) fn ip_sections(address: Option<&StaticAddress>) -> String {
    let mut text = String::from("[ipv4]\n");
    match address {
        None => text += "method=auto\n",
        Some(StaticAddress { ip, prefix, gateway, dns }) => {
            let gateway = gateway.map(|gateway| format!(",{gateway}")).unwrap_or_default();
            let servers: String = dns.iter().map(|server| format!("{server};")).collect();
            text += &format!("method=manual\naddress1={ip}/{prefix}{gateway}\n");
            if !servers.is_empty() {
                text += &format!("dns={servers}\n");
            }
        }
    }
    text + "\n[ipv6]\nmethod=auto\n"
}

/// dhcpcd's configuration with our block at the end, once.
pub(super) fn edit_dhcpcd(text: &str, interface: &str, address: &StaticAddress) -> String {
    let mut inside = false;
    let mut edited = String::new();
    for line in text.lines() {
        inside |= line == BEGIN;
        if !inside {
            edited.push_str(line);
            edited.push('\n');
        }
        inside &= line != END;
    }
    let mut say = |line: String| writeln!(edited, "{line}").unwrap_or_default();
    say(BEGIN.to_owned());
    say(format!("interface {interface}"));
    say(format!("static ip_address={}/{}", address.ip, address.prefix));
    if let Some(gateway) = address.gateway {
        say(format!("static routers={gateway}"));
    }
    if !address.dns.is_empty() {
        let servers: Vec<String> = address.dns.iter().map(Ipv4Addr::to_string).collect();
        say(format!("static domain_name_servers={}", servers.join(" ")));
    }
    say(END.to_owned());
    edited
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address() -> StaticAddress {
        let ip = |last| Ipv4Addr::new(192, 168, 50, last);
        StaticAddress {
            ip: ip(10),
            prefix: 24,
            gateway: Some(ip(1)),
            dns: vec![ip(1), Ipv4Addr::new(9, 9, 9, 9)],
        }
    }

    #[test]
    fn a_keyfile_with_address_gateway_and_name_servers() {
        let text = profile(&address());
        assert!(text.contains("type=ethernet\nautoconnect-priority=100\n"));
        assert!(
            text.contains(
                "method=manual\naddress1=192.168.50.10/24,192.168.50.1\ndns=192.168.50.1;9.9.9.9;\n"
            )
        );
    }

    #[test]
    fn an_isolated_node_gets_neither_gateway_nor_name_servers() {
        let text = ip_sections(Some(&StaticAddress { gateway: None, dns: vec![], ..address() }));
        assert!(text.contains("address1=192.168.50.10/24\n") && !text.contains("dns"));
    }

    #[test]
    fn the_block_for_dhcpcd_is_replaced_not_repeated() {
        let once = edit_dhcpcd("hostname\nclientid\n", "eth0", &address());
        assert!(once.starts_with("hostname\nclientid\n# firstboot: begin\ninterface eth0\n"));
        assert!(once.contains("static domain_name_servers=192.168.50.1 9.9.9.9\n"));
        assert_eq!(edit_dhcpcd(&once, "eth0", &address()), once);
    }
}
