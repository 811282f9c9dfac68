//! Whether overlay networks can work on this node: Docker needs port 7946 for them, does not retry when another program
//! has it, and tells nobody but its log. The node is ready all the same (seen with 26.1.5).

use std::time::Duration;

use cluster::wire::{Cause, ProblemCode};
use tokio::time::Instant;

use super::Pi;
use crate::host::Program;

/// Port of the gossip between the members' overlay networks, TCP and UDP (moby, daemon/libnetwork/networkdb).
const PORT: &str = "7946";
/// The engine's name in the kernel.
const DOCKERD: &str = "dockerd";
/// Between two looks.
const PAUSE: Duration = Duration::from_secs(60);

/// Who listens on the port.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Listener {
    /// Docker.
    Docker,
    /// Nobody.
    Nobody,
    /// Another program, by its name.
    Other(String),
}

/// Looks at the port every minute, and reports a problem for as long as Docker does not have it.
#[derive(Debug, Default)]
pub(super) struct Watch {
    last: Option<Instant>,
}

impl Watch {
    /// Looks, if it is time to. A look that fails says nothing.
    pub(super) async fn look(&mut self, pi: &Pi) {
        if self.last.is_some_and(|last| last.elapsed() < PAUSE) {
            return;
        }
        self.last = Some(Instant::now());
        let sockets = Program::new("ss", ["-H", "-lntup", "sport", "=", ":7946"]);
        let Ok(output) = pi.run("look who listens on Docker's ports", sockets).await else { return };
        match listener(&String::from_utf8_lossy(&output)) {
            Listener::Other(program) => {
                let cause = Cause::new(ProblemCode::OverlayPortTaken).about(PORT);
                let message = format!(
                    "{program} listens on port {PORT}, which Docker needs: overlay networks do not work on this node. Stop it, \
                     then type: sudo systemctl restart docker"
                );
                if !is_reported(pi) {
                    pi.status.fail(message, Some(cause), false);
                    pi.status.news.notify_one();
                }
            }
            Listener::Docker if is_reported(pi) => {
                pi.status.change(|report| report.error = None);
                pi.status.news.notify_one();
            }
            // With nobody, the other program was stopped, and Docker does not notice.
            Listener::Docker | Listener::Nobody => {}
        }
    }
}

fn is_reported(pi: &Pi) -> bool {
    let cause = pi.status.report().error.and_then(|error| error.cause);
    cause.is_some_and(|cause| cause.code() == ProblemCode::OverlayPortTaken)
}

/// Reads what `ss -H -lntup` prints: a line for each socket, with `users:(("dockerd",pid=412,fd=31))` at its end.
fn listener(sockets: &str) -> Listener {
    let mut others = sockets.lines().filter_map(|line| {
        let (_, users) = line.split_once("users:((\"")?;
        users.split('"').next().filter(|program| *program != DOCKERD)
    });
    match others.next() {
        Some(program) => Listener::Other(program.to_owned()),
        None if sockets.contains(DOCKERD) => Listener::Docker,
        None => Listener::Nobody,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Printed by iproute2 6.1.0.
    #[test]
    fn reads_who_listens() {
        let udp = r#"udp UNCONN 0      0      127.0.0.1:7946 0.0.0.0:* users:(("python3",pid=17787,fd=4))"#;
        let docker = r#"tcp LISTEN 0      4096   *:7946 *:* users:(("dockerd",pid=412,fd=31))"#;
        assert_eq!(listener(docker), Listener::Docker);
        assert_eq!(listener(udp), Listener::Other("python3".to_owned()));
        // Docker gives both up if one is taken, but may be about to.
        assert_eq!(listener(&format!("{docker}\n{udp}\n")), Listener::Other("python3".to_owned()));
        assert_eq!(listener(""), Listener::Nobody);
        // Without the right to see whose socket it is.
        assert_eq!(listener("tcp LISTEN 0 128 127.0.0.1:7946 0.0.0.0:*"), Listener::Nobody);
    }
}
