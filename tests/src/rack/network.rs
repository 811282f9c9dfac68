//! The rack's network: a bridge, DHCP and DNS on it, and a way out through the host.

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::wait;

/// A rack's own /24 of a private range that neither Docker nor usual home routers take.
pub(super) fn gateway(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 213, number, 1)
}

pub(super) fn bridge(number: u8) -> String {
    format!("rack{number}")
}

/// iptables rules of a rack, without the action: table, chain and the rest.
pub(super) fn rules(number: u8) -> [(&'static str, &'static str, Vec<String>); 3] {
    let bridge = bridge(number);
    let subnet = format!("10.213.{number}.0/24");
    let words = |text: String| text.split(' ').map(str::to_owned).collect();
    [
        ("nat", "POSTROUTING", words(format!("-s {subnet} ! -d {subnet} -j MASQUERADE"))),
        ("filter", "FORWARD", words(format!("-i {bridge} -j ACCEPT"))),
        ("filter", "FORWARD", words(format!("-o {bridge} -j ACCEPT"))),
    ]
}

#[derive(Debug)]
pub(super) struct Network {
    number: u8,
    log: PathBuf,
    /// Hardware addresses with the address that each is to have, for dnsmasq.
    reservations: PathBuf,
    dnsmasq: Child,
}

impl Network {
    pub(super) fn new(number: u8, folder: &Path) -> Result<Self> {
        let bridge = bridge(number);
        let gateway = gateway(number);
        images::run("ip", ["link", "add", &bridge, "type", "bridge", "forward_delay", "0"])?;
        images::run("ip", ["address", "add", &format!("{gateway}/24"), "dev", &bridge])?;
        images::run("ip", ["link", "set", &bridge, "up"])?;
        for (table, chain, rule) in rules(number) {
            let words = ["-w", "-t", table, "-I", chain].map(str::to_owned).into_iter().chain(rule);
            images::run("iptables", words)?;
        }

        let (log, reservations) = (folder.join("dnsmasq.log"), folder.join("reservations"));
        fs::write(&reservations, "").context("cannot write dnsmasq's reservations")?;
        let range = format!("10.213.{number}.50,10.213.{number}.250,255.255.255.0,1h");
        let mut dnsmasq = Command::new("dnsmasq")
            .args(["--keep-in-foreground", "--conf-file=/dev/null", "--user=root", "--no-hosts"])
            // Only this bridge: the host may run a name server of its own.
            .args([&format!("--interface={bridge}"), "--except-interface=lo", "--bind-interfaces"])
            .args(["--dhcp-authoritative", "--no-ping", "--log-dhcp", "--domain=lan", "--pid-file="])
            .arg(format!("--dhcp-range={range}"))
            .arg(format!("--dhcp-leasefile={}", folder.join("leases").display()))
            .arg(format!("--dhcp-hostsfile={}", reservations.display()))
            .arg(format!("--log-facility={}", log.display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .context("cannot start dnsmasq")?;
        fs::write(folder.join("dnsmasq.pid"), dnsmasq.id().to_string())
            .context("cannot write dnsmasq's pid")?;
        wait::until("dnsmasq answers", Duration::from_secs(10), || {
            if let Some(status) = dnsmasq.try_wait().context("cannot wait for dnsmasq")? {
                bail!("dnsmasq ended: {status}");
            }
            let text = fs::read_to_string(&log).unwrap_or_default();
            Ok(text.contains("DHCP, sockets bound").then_some(()))
        })?;
        Ok(Self { number, log, reservations, dnsmasq })
    }

    /// Gives a client another address with its next request: one that was never given before.
    pub(super) fn reserve(&self, mac: &str) -> Result<()> {
        let before = fs::read_to_string(&self.reservations).context("cannot read dnsmasq's reservations")?;
        let others: String =
            before.lines().filter(|line| !line.starts_with(mac)).map(|line| format!("{line}\n")).collect();
        let given = |last: &u8| !before.contains(&format!(".{last}\n"));
        let last = (200..=250).find(given).context("no address is left")?;
        let lines = format!("{others}{mac},10.213.{}.{last}\n", self.number);
        fs::write(&self.reservations, lines).context("cannot write dnsmasq's reservations")?;
        images::run("kill", ["-HUP".to_owned(), self.dnsmasq.id().to_string()])
    }

    pub(super) fn dhcp_names(&self, mac: &str) -> Result<Vec<String>> {
        let log =
            fs::read_to_string(&self.log).with_context(|| format!("cannot read {}", self.log.display()))?;
        Ok(names_given(&log, mac))
    }

    pub(super) fn stop(&mut self) {
        // It is killed or was dead already; either way it is to be reaped.
        drop(self.dnsmasq.kill());
        drop(self.dnsmasq.wait());
    }
}

/// Names that the client with this hardware address gave, in dnsmasq's log: lines of one transaction share a number
/// in front, a name is followed by the request it belongs to.
fn names_given(log: &str, mac: &str) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    let mut pending: Option<(&str, &str)> = None;
    for line in log.lines() {
        let Some((_, rest)) = line.split_once("]: ") else { continue };
        let Some((transaction, event)) = rest.split_once(' ') else { continue };
        if let Some(name) = event.strip_prefix("client provides name: ") {
            pending = Some((transaction, name.trim()));
        } else if (event.starts_with("DHCPDISCOVER(") || event.starts_with("DHCPREQUEST("))
            && let Some((of, name)) = pending.take()
            && of == transaction
            && event.split_whitespace().any(|word| word == mac)
            && !names.iter().any(|known| known == name)
        {
            names.push(name.to_owned());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_belongs_to_the_request_of_the_same_transaction() {
        let log = "\
            Nov 22 dnsmasq-dhcp[1]: 11 available DHCP range: 10.213.1.50 -- 10.213.1.250\n\
            Nov 22 dnsmasq-dhcp[1]: 11 client provides name: red00\n\
            Nov 22 dnsmasq-dhcp[1]: 11 DHCPDISCOVER(rack1) b8:27:eb:00:00:01 \n\
            Nov 22 dnsmasq-dhcp[1]: 12 client provides name: red01\n\
            Nov 22 dnsmasq-dhcp[1]: 12 DHCPREQUEST(rack1) 10.213.1.60 b8:27:eb:00:00:02 \n\
            Nov 22 dnsmasq-dhcp[1]: 11 client provides name: red00\n\
            Nov 22 dnsmasq-dhcp[1]: 11 DHCPREQUEST(rack1) 10.213.1.50 b8:27:eb:00:00:01 \n\
            Nov 22 dnsmasq-dhcp[1]: 13 DHCPREQUEST(rack1) 10.213.1.50 b8:27:eb:00:00:01 \n";
        assert_eq!(names_given(log, "b8:27:eb:00:00:01"), ["red00"]);
        assert_eq!(names_given(log, "b8:27:eb:00:00:02"), ["red01"]);
        assert!(names_given(log, "b8:27:eb:00:00:03").is_empty());
    }
}
