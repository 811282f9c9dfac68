//! A Docker that was there before us: what in it keeps a swarm from working. It is read, and never changed.

use std::net::Ipv4Addr;

use cluster::card::DockerSource;
use serde::Deserialize;

use crate::error::{Hint, again, hint};

/// Where Swarm takes its first networks from unless it is told otherwise: it has 10.0.0.0/8 and hands out one /24 after the
/// other from its beginning. The rest of it is not reached.
const FIRST_NETWORKS: &str = "10.0.0.0/16";
/// What the agent gives Swarm instead where the LAN is in 10.0.0.0/8 (firstboot's `steps::docker::settings::overlay_pool`).
const BESIDE_LAN: &str = "10.201.0.0/16";

/// A Docker as it was found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Engine {
    /// Its own word for being in a swarm; `None` where it does not answer.
    pub swarm: Option<String>,
    /// Whether containers outlive it, which a swarm refuses.
    live_restore: bool,
    /// Networks from which it takes those of its bridges, where it was told some.
    pools: Vec<String>,
    /// A socket of a Docker that a user runs without root.
    rootless: bool,
    /// Whether it is a snap.
    snap: bool,
    /// Those of containerd, containerd.io and runc that are installed.
    packages: Vec<String>,
}

/// `docker info --format '{{json .}}'` (Engine API, `GET /info`). All of it is absent where the daemon does not answer.
#[derive(Debug, Deserialize, Default)]
#[serde(default, rename_all = "PascalCase")]
struct Info {
    swarm: Option<Swarm>,
    live_restore_enabled: Option<bool>,
    default_address_pools: Option<Vec<Pool>>,
}

#[derive(Debug, Deserialize, Default)]
#[serde(default, rename_all = "PascalCase")]
struct Swarm {
    local_node_state: String,
}

#[derive(Debug, Deserialize)]
struct Pool {
    #[serde(alias = "Base")]
    base: String,
}

/// The keys of `/etc/docker/daemon.json` that matter here; whatever else is in there may be secret, and is not kept.
#[derive(Debug, Deserialize, Default)]
#[serde(default, rename_all = "kebab-case")]
struct Daemon {
    live_restore: bool,
    default_address_pools: Vec<Pool>,
}

/// What a swarm needs of Docker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Where Docker would come from.
    pub source: DockerSource,
    /// Where the swarm's networks come from, where the cluster file says so.
    pub pool: Option<String>,
}

/// What keeps a swarm from working with the Docker that is there. Reads after "its".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Clash {
    /// `live-restore`.
    #[error("Docker keeps containers running over its own restarts (live-restore), which Swarm refuses")]
    LiveRestore,
    /// Overlapping pools.
    #[error("Docker takes networks from {theirs}, which overlaps {ours} of the swarm")]
    Pools {
        /// Docker's.
        theirs: String,
        /// The swarm's.
        ours: String,
    },
    /// Rootless.
    #[error("Docker runs without root (rootless), where Swarm has no networks")]
    Rootless,
    /// A snap.
    #[error("Docker is a snap, which has no docker.service for the agent")]
    Snap,
    /// Another packager's containerd would be removed.
    #[error(
        "{} {} would be removed for {wanted}, which comes with the Docker that is to be installed",
        if there.len() == 1 { "package" } else { "packages" }, there.join(", ")
    )]
    Packages {
        /// What is installed.
        there: Vec<String>,
        /// What conflicts with it.
        wanted: &'static str,
    },
}

impl Clash {
    /// What to do about it; `ssh` is what leads there, such as `ssh pi@10.1.1.3`.
    pub fn advice(&self, ssh: &str) -> Hint {
        match self {
            Self::LiveRestore => format!(
                "take \"live-restore\" out of /etc/docker/daemon.json there (or --live-restore out of its service), then: {ssh} \
                 sudo systemctl restart docker"
            )
            .into(),
            Self::Pools { .. } => format!(
                "change \"default-address-pools\" in /etc/docker/daemon.json there, then: {ssh} sudo systemctl restart docker; \
                 or give the swarm others: swarm.address_pool in a cluster file"
            )
            .into(),
            Self::Rootless => format!(
                "if nothing there needs it any more, end it: {ssh} dockerd-rootless-setuptool.sh uninstall; and start the \
                 system's: {ssh} sudo systemctl enable --now docker"
            )
            .into(),
            Self::Snap => format!("save what its containers keep, then: {ssh} sudo snap remove docker").into(),
            Self::Packages { there, wanted } => {
                let (whose, source) = match *wanted {
                    "containerd.io" => ("Debian's Docker, which uses it: ", "debian"),
                    _ => ("Docker's own packages, which use it: ", "docker"),
                };
                let config = again(["config"]).with_value("--docker", source);
                hint![
                    "take ",
                    whose,
                    config,
                    format!("; or remove what is there: {ssh} sudo apt-get remove {}", there.join(" "))
                ]
            }
        }
    }
}

impl Engine {
    /// Reads what the probe's script said.
    pub(super) fn read<'a>(value: &dyn Fn(&str) -> Option<&'a str>) -> Self {
        let info: Info = value("info").and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default();
        let daemon: Daemon =
            value("daemon").and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default();
        let is_said = |key: &str| value(key).is_some_and(|path| !path.is_empty());
        let pools = info.default_address_pools.unwrap_or(daemon.default_address_pools);
        let packages = value("packages").unwrap_or_default().split_whitespace();
        Self {
            swarm: info.swarm.map(|swarm| swarm.local_node_state).filter(|state| !state.is_empty()),
            live_restore: info.live_restore_enabled.unwrap_or(daemon.live_restore),
            pools: pools.into_iter().map(|pool| pool.base).collect(),
            rootless: is_said("rootless"),
            snap: is_said("snap"),
            packages: packages
                .filter_map(|word| word.strip_suffix("=installed"))
                .map(str::to_owned)
                .collect(),
        }
    }

    /// The first thing that keeps a swarm from working with it. `is_installed`: whether there is a Docker that the agent uses;
    /// `lan` is the machine's address.
    pub fn clash(&self, wanted: &Wanted, is_installed: bool, lan: Option<Ipv4Addr>) -> Option<Clash> {
        if self.snap {
            return Some(Clash::Snap);
        }
        // Beside a Docker of the system it disturbs nobody.
        if self.rootless && self.swarm.is_none() {
            return Some(Clash::Rootless);
        }
        if self.live_restore {
            return Some(Clash::LiveRestore);
        }
        let is_beside = lan.is_some_and(|lan| lan.octets().first() == Some(&10));
        let ours = wanted.pool.as_deref().unwrap_or(if is_beside { BESIDE_LAN } else { FIRST_NETWORKS });
        if let Some(theirs) = self.pools.iter().find(|theirs| overlap(theirs, ours)) {
            return Some(Clash::Pools { theirs: theirs.clone(), ours: ours.to_owned() });
        }
        if is_installed {
            return None;
        }
        let (wanted, others): (_, &[&str]) = match wanted.source {
            DockerSource::Docker => ("containerd.io", &["containerd", "runc"]),
            DockerSource::Debian => ("containerd", &["containerd.io"]),
        };
        let there = self.packages.iter().filter(|package| others.contains(&package.as_str()));
        let there: Vec<_> = there.cloned().collect();
        (!there.is_empty()).then_some(Clash::Packages { there, wanted })
    }
}

/// Whether two networks, such as `10.0.0.0/8`, have an address in common. What is none overlaps nothing.
fn overlap(one: &str, other: &str) -> bool {
    let network = |text: &str| {
        let (address, prefix) = text.split_once('/')?;
        let prefix = prefix.parse::<u32>().ok().filter(|prefix| *prefix <= 32)?;
        Some((u32::from(address.parse::<Ipv4Addr>().ok()?), prefix))
    };
    let (Some((one, a)), Some((other, b))) = (network(one), network(other)) else { return false };
    let mask = u32::MAX.checked_shl(32 - a.min(b)).unwrap_or(0);
    one & mask == other & mask
}

#[cfg(test)]
mod tests {
    use super::*;

    fn engine(answers: &[(&str, &'static str)]) -> Engine {
        Engine::read(&|key| answers.iter().find(|(name, _)| *name == key).map(|(_, value)| *value))
    }

    fn clash(answers: &[(&str, &'static str)], pool: Option<&str>, is_installed: bool) -> Option<String> {
        let wanted = Wanted { source: DockerSource::Docker, pool: pool.map(str::to_owned) };
        engine(answers).clash(&wanted, is_installed, None).map(|clash| clash.to_string())
    }

    /// The keys are those of Docker 26.1.5, the rest of its answer is left out.
    #[test]
    fn names_what_a_swarm_cannot_live_with() {
        let quiet = r#"{"Swarm":{"LocalNodeState":"inactive"},"LiveRestoreEnabled":false,"DefaultAddressPools":null}"#;
        assert_eq!(clash(&[("info", quiet)], None, true), None);
        assert_eq!(engine(&[("info", quiet)]).swarm.as_deref(), Some("inactive"));
        let live = r#"{"Swarm":{"LocalNodeState":"inactive"},"LiveRestoreEnabled":true}"#;
        assert!(clash(&[("info", live)], None, true).unwrap().contains("live-restore"));
        let off = [("info", r#"{"Swarm":{"LocalNodeState":""},"ServerErrors":["Cannot connect"]}"#)];
        assert_eq!(engine(&off).swarm, None);
        let stopped =
            [off[0], ("daemon", r#"{ "live-restore": true, "proxies": {"http-proxy": "http://a:b@c"} }"#)];
        assert!(clash(&stopped, None, true).unwrap().contains("live-restore"));
        assert!(!format!("{:?}", engine(&stopped)).contains("a:b@c"));
        assert!(
            clash(&[off[0], ("rootless", "/run/user/1000/docker.sock")], None, false)
                .unwrap()
                .contains("rootless")
        );
        assert_eq!(clash(&[("info", quiet), ("rootless", "/run/user/1000/docker.sock")], None, true), None);
        assert!(clash(&[("snap", "/snap/docker/current")], None, false).unwrap().contains("snap"));
    }

    #[test]
    fn pools_clash_where_they_overlap() {
        let info = r#"{"Swarm":{"LocalNodeState":"inactive"},"DefaultAddressPools":[{"Base":"10.10.0.0/16","Size":24}]}"#;
        assert_eq!(clash(&[("info", info)], None, true), None, "Swarm does not come that far by itself");
        assert_eq!(
            clash(&[("info", info)], Some("10.10.128.0/17"), true).as_deref(),
            Some("Docker takes networks from 10.10.0.0/16, which overlaps 10.10.128.0/17 of the swarm")
        );
        let daemon = r#"{"default-address-pools":[{"base":"10.0.0.0/8","size":24}]}"#;
        assert!(clash(&[("daemon", daemon)], None, true).unwrap().contains("10.0.0.0/16"));
        let lan = |address: [u8; 4]| {
            let wanted = Wanted { source: DockerSource::Docker, pool: None };
            engine(&[("daemon", daemon)]).clash(&wanted, true, Some(address.into())).unwrap().to_string()
        };
        assert!(
            lan([10, 1, 1, 3]).contains("10.201.0.0/16") && lan([192, 168, 1, 3]).contains("10.0.0.0/16")
        );
        for (one, other, wanted) in [
            ("0.0.0.0/0", "10.0.0.0/8", true),
            ("10.0.0.0/32", "10.0.0.1/32", false),
            ("172.17.0.0/16", "172.16.0.0/12", true),
            ("fd00::/8", "10.0.0.0/8", false),
            ("10.0.0.0/33", "10.0.0.0/8", false),
        ] {
            assert_eq!((overlap(one, other), overlap(other, one)), (wanted, wanted), "{one} {other}");
        }
    }

    #[test]
    fn another_packagers_containerd_is_not_replaced_without_a_word() {
        let packages = [("packages", "containerd=installed containerd.io=not-installed runc=config-files ")];
        assert!(clash(&packages, None, false).unwrap().starts_with("package containerd would be removed"));
        assert_eq!(clash(&packages, None, true), None, "the Docker that is there stays");
        let both = [("packages", "containerd=installed runc=installed ")];
        assert!(clash(&both, None, false).unwrap().starts_with("packages containerd, runc would be removed"));
        let wanted = Wanted { source: DockerSource::Docker, pool: None };
        let advice =
            engine(&both).clash(&wanted, false, None).unwrap().advice("ssh pi@red03").show(None).text;
        assert!(
            advice.contains("--docker debian") && advice.ends_with("apt-get remove containerd runc"),
            "{advice}"
        );
        let debian = Wanted { source: DockerSource::Debian, pool: None };
        assert_eq!(engine(&packages).clash(&debian, false, None), None);
        assert_eq!(clash(&[("packages", "containerd.io=installed")], None, false), None);
        let clash = engine(&[("packages", "containerd.io=installed")]).clash(&debian, false, None).unwrap();
        assert!(clash.advice("ssh pi@red03").show(None).text.contains("builder config --docker docker"));
    }
}
