//! Jump hosts: how many connections through one may be logging in at the same time.
//!
//! An SSH server drops some of the connections that are not logged in yet when there are more than ten (sshd_config(5),
//! `MaxStartups 10:30:100`). On a computer that is busy a login takes seconds, and repeated attempts meet the others' attempts. So
//! no more connections than that are begun: each waits until one before it has passed the jump host.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Ssh;

/// Most connections that log in at one jump host at the same time. Two fewer than a server takes by default: others may log in, too,
/// and a server notices the end of a failed login late.
const MOST: usize = 8;

/// What `ssh` writes to its log, at `LogLevel DEBUG1`, once a jump host no longer counts the connection: the machine behind it has
/// answered, or the connection goes through another `ssh` that is logged in already.
const PASSED: [&str; 3] = ["Authenticated to ", "debug1: Remote protocol version ", "debug1: mux_client_"];

/// The jump hosts of a run.
#[derive(Debug)]
pub(super) struct JumpHosts {
    /// `None` where there are too few machines for a limit to matter.
    places: Option<Mutex<BTreeMap<String, Arc<Semaphore>>>>,
}

/// A place among the connections that log in at a jump host. Dropped, it is free for the next.
pub(super) type Place = OwnedSemaphorePermit;

impl JumpHosts {
    /// For a run on so many machines.
    pub(super) fn new(machines: usize) -> Self {
        Self { places: (machines > MOST).then(Mutex::default) }
    }

    /// Waits for a place at the first jump host on the way to a machine; `None` where there is none.
    pub(super) async fn enter(&self, ssh: &Ssh, index: usize) -> Option<Place> {
        let places = self.places.as_ref()?;
        let first = first_hop(&ssh.settings(index).await?)?;
        let places = {
            let mut places = places.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(places.entry(first).or_insert_with(|| Arc::new(Semaphore::new(MOST))))
        };
        // Nobody closes it.
        places.acquire_owned().await.ok()
    }
}

/// What a connection goes through first, from what `ssh -G` prints (ssh(1)).
fn first_hop(settings: &str) -> Option<String> {
    let setting = |name: &str| settings.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let jump = setting("proxyjump").map(|hops| hops.split(',').next().unwrap_or(hops));
    jump.or_else(|| setting("proxycommand")).filter(|way| *way != "none").map(str::to_owned)
}

/// Whether a connection no longer counts at its jump host, from the log of its `ssh`.
pub(super) fn has_passed(log: &str) -> bool {
    log.lines().any(|line| PASSED.iter().any(|start| line.starts_with(start)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_jump_host_counts() {
        let hop = |settings: &str| first_hop(&format!("host x\nuser pi\n{settings}\nport 22\n"));
        assert_eq!(hop("proxyjump ada@gate:2200,inner").as_deref(), Some("ada@gate:2200"));
        assert_eq!(hop("proxycommand ssh -W %h:%p gate").as_deref(), Some("ssh -W %h:%p gate"));
        for none in ["proxyjump none", "proxycommand none", "proxyusefdpass no"] {
            assert_eq!(hop(none), None, "{none}");
        }
    }

    /// The words of OpenSSH 9.2.
    #[test]
    fn a_connection_that_reached_the_machine_has_passed() {
        let begun = "debug1: Executing proxy command: exec ssh -W '[127.0.0.2]:22' 127.0.0.1\n\
                     debug1: Local version string SSH-2.0-OpenSSH_9.2p1 Debian-2\n";
        assert!(!has_passed(begun));
        for line in [
            "debug1: Remote protocol version 2.0, remote software version OpenSSH_9.2p1 Debian-2",
            "debug1: mux_client_request_session: master session id: 2",
            "Authenticated to 127.0.0.2 (via proxy) using \"publickey\".",
        ] {
            assert!(has_passed(&format!("{begun}{line}\n")), "{line}");
        }
    }
}
