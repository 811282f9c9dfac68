//! The engine's settings and address pools: Docker's and Swarm's defaults lie where many a LAN does.

use std::net::Ipv4Addr;

use serde_json::{Value, json};

use crate::steps::network::Local;

/// Docker's settings.
pub const DAEMON: &str = "/etc/docker/daemon.json";
/// Additions to Docker's unit.
pub const DROP_IN: &str = "/etc/systemd/system/docker.service.d/10-builder.conf";

/// The unit gives up after three starts within a minute; a worker that boots before its network needs more.
pub const DROP_IN_TEXT: &str = "[Unit]\nStartLimitIntervalSec=0\n\n[Service]\nRestartSec=5\n";

/// A network by its first address and prefix length.
type Net = (Ipv4Addr, u8);

/// Docker's bridges: 172.17.0.0/16 to 172.31.0.0/16 by default.
const BRIDGES: Net = (Ipv4Addr::new(172, 16, 0, 0), 12);
/// Swarm's overlays by default; the first is 10.0.0.0/24.
const OVERLAYS: Net = (Ipv4Addr::new(10, 0, 0, 0), 8);

/// `daemon.json`. Neither live-restore nor the nftables backend may be set: Swarm refuses to start with them.
pub fn daemon_json(local: Local) -> String {
    let mut settings = logs();
    if let (true, Some(pool), Some(fields)) =
        (overlaps((local.ip, local.prefix), BRIDGES), free_pool(local, 202), settings.as_object_mut())
    {
        fields.insert("default-address-pools".to_owned(), json!([{ "base": pool, "size": 24 }]));
    }
    format!("{settings:#}\n")
}

/// Whether settings are what [`daemon_json`] has written on some network, and nobody has changed since.
pub fn is_ours(settings: &[u8]) -> bool {
    let Ok(Value::Object(mut fields)) = serde_json::from_slice(settings) else { return false };
    fields.remove("default-address-pools");
    Value::Object(fields) == logs()
}

fn logs() -> Value {
    json!({ "log-driver": "local", "log-opts": { "max-size": "10m", "max-file": "3" } })
}

/// The pool for overlay networks: the wanted one, or one beside the LAN if that lies in Swarm's own.
pub fn overlay_pool(local: Local, wanted: Option<&str>) -> Option<String> {
    match wanted {
        Some(pool) => Some(pool.to_owned()),
        None if overlaps((local.ip, local.prefix), OVERLAYS) => free_pool(local, 201),
        None => None,
    }
}

/// A /16 that the LAN does not touch.
fn free_pool(local: Local, preferred: u8) -> Option<String> {
    let lan = (local.ip, local.prefix);
    [
        Ipv4Addr::new(10, preferred, 0, 0),
        Ipv4Addr::new(10, preferred + 10, 0, 0),
        Ipv4Addr::new(172, preferred - 178, 0, 0),
    ]
    .into_iter()
    .find(|base| !overlaps(lan, (*base, 16)))
    .map(|base| format!("{base}/16"))
}

fn overlaps(a: Net, b: Net) -> bool {
    let bits = u32::from(a.1.min(b.1)).min(32);
    let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
    a.0.to_bits() & mask == b.0.to_bits() & mask
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lan(ip: [u8; 4], prefix: u8) -> Local {
        Local { ip: ip.into(), prefix }
    }

    #[test]
    fn an_ordinary_home_keeps_the_defaults() {
        let home = lan([192, 168, 1, 20], 24);
        assert_eq!(overlay_pool(home, None), None);
        assert!(!daemon_json(home).contains("default-address-pools"));
        assert!(daemon_json(home).contains("\"log-driver\": \"local\""));
    }

    #[test]
    fn a_lan_inside_the_defaults_gets_pools_beside_it() {
        assert_eq!(overlay_pool(lan([10, 0, 0, 7], 24), None).as_deref(), Some("10.201.0.0/16"));
        assert_eq!(overlay_pool(lan([10, 201, 3, 7], 24), None).as_deref(), Some("10.211.0.0/16"));
        assert_eq!(overlay_pool(lan([10, 1, 2, 3], 8), None).as_deref(), Some("172.23.0.0/16"));
        assert!(daemon_json(lan([172, 18, 0, 9], 16)).contains("10.202.0.0/16"));
    }

    #[test]
    fn what_somebody_wrote_or_changed_is_not_ours() {
        for own in [lan([192, 168, 1, 20], 24), lan([172, 18, 0, 9], 16)] {
            assert!(is_ours(daemon_json(own).as_bytes()));
        }
        let changed = daemon_json(lan([192, 168, 1, 20], 24)).replace("10m", "100m");
        for other in [changed.as_str(), r#"{"insecure-registries": []}"#, "{}", "[]", ""] {
            assert!(!is_ours(other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn the_cluster_file_decides() {
        assert_eq!(
            overlay_pool(lan([192, 168, 1, 1], 24), Some("10.9.0.0/16")).as_deref(),
            Some("10.9.0.0/16")
        );
    }

    #[test]
    fn nothing_is_set_that_swarm_refuses() {
        let text = daemon_json(lan([172, 18, 0, 9], 16));
        assert!(!text.contains("live-restore") && !text.contains("firewall-backend"));
    }
}
