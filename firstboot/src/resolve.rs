//! Finding the manager's address. Any answer may be wrong or forged: TLS verifies the certificate's name, so a lie
//! costs an attempt and nothing more.
//!
//! The binary is static and has no name service switch, so names are never looked up in-process.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cluster::name::Hostname;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::host::{Host, Program};

/// Where an address may come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The cluster file.
    Given,
    /// The journal.
    LastGood,
    /// Multicast DNS, through avahi.
    Avahi,
    /// The machine's resolver.
    Dns,
}

impl Source {
    /// Cheapest and surest first.
    pub const ORDER: [Self; 4] = [Self::Given, Self::LastGood, Self::Avahi, Self::Dns];
}

const AVAHI_SOCKET: &str = "/run/avahi-daemon/socket";
/// How long an answer may take. avahi gives up on a name after five seconds, a resolver without a server after ten:
/// too long for somebody who asks again soon anyway.
const PATIENCE: Duration = Duration::from_secs(2);

/// Asks avahi for `<name>.local` the way nss-mdns does: one line each way on its simple socket.
pub async fn avahi(name: &Hostname) -> Option<Ipv4Addr> {
    avahi_at(Path::new(AVAHI_SOCKET), name).await
}

async fn avahi_at(socket: &Path, name: &Hostname) -> Option<Ipv4Addr> {
    let ask = async {
        let mut stream = UnixStream::connect(socket).await.ok()?;
        stream.write_all(format!("RESOLVE-HOSTNAME-IPV4 {name}.local\n").as_bytes()).await.ok()?;
        let mut answer = Vec::new();
        let mut part = [0; 256];
        while !answer.contains(&b'\n') && answer.len() < 1024 {
            match stream.read(&mut part).await.ok()? {
                0 => break,
                n => answer.extend_from_slice(part.get(..n)?),
            }
        }
        avahi_answer(std::str::from_utf8(&answer).ok()?)
    };
    timeout(PATIENCE, ask).await.ok().flatten()
}

/// Reads `+ <interface> <protocol> <name> <address>`; anything else is no answer.
fn avahi_answer(line: &str) -> Option<Ipv4Addr> {
    let mut words = line.lines().next()?.split_whitespace();
    (words.next()? == "+").then(|| words.nth(3)?.parse().ok()).flatten()
}

/// Asks the machine's resolver, in a process that has one.
pub async fn dns(host: &Arc<dyn Host>, name: &Hostname) -> Option<Ipv4Addr> {
    let host = Arc::clone(host);
    let program = Program::new("getent", ["ahostsv4", name.as_str()]);
    let asked = tokio::task::spawn_blocking(move || host.run(&program));
    let output = timeout(PATIENCE, asked).await.ok()?.ok()?.ok()?;
    dns_answer(std::str::from_utf8(&output).ok()?)
}

/// The first address that is not this machine's own: Debian's `/etc/hosts` gives a machine's name 127.0.1.1.
fn dns_answer(output: &str) -> Option<Ipv4Addr> {
    output
        .lines()
        .filter_map(|line| line.split_whitespace().next()?.parse::<Ipv4Addr>().ok())
        .find(|address| !address.is_loopback())
}

#[cfg(test)]
mod tests {
    use tokio::net::UnixListener;

    use super::*;

    #[test]
    fn reads_the_answers_of_avahi() {
        assert_eq!(avahi_answer("+ 2 0 red00.local 192.168.1.7\n"), Some(Ipv4Addr::new(192, 168, 1, 7)));
        assert_eq!(avahi_answer("-15 Timeout reached\n"), None);
        assert_eq!(avahi_answer("+ 2 1 red00.local fe80::1\n"), None);
        assert_eq!(avahi_answer(""), None);
    }

    #[test]
    fn reads_the_answers_of_getent_and_skips_loopback() {
        let output = "127.0.1.1       STREAM red00\n10.0.0.5        STREAM\n10.0.0.5        DGRAM\n";
        assert_eq!(dns_answer(output), Some(Ipv4Addr::new(10, 0, 0, 5)));
        assert_eq!(dns_answer(""), None);
    }

    #[tokio::test]
    async fn asks_avahi_for_the_local_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut question = vec![0; 128];
            let n = stream.read(&mut question).await.unwrap();
            stream.write_all(b"+ 2 0 red00.local 10.1.2.3\n").await.unwrap();
            String::from_utf8(question[..n].to_vec()).unwrap()
        });
        let name = Hostname::try_from("red00").unwrap();
        assert_eq!(avahi_at(&path, &name).await, Some(Ipv4Addr::new(10, 1, 2, 3)));
        assert_eq!(server.await.unwrap(), "RESOLVE-HOSTNAME-IPV4 red00.local\n");
    }

    #[tokio::test]
    async fn a_machine_without_avahi_has_no_answer() {
        let name = Hostname::try_from("red00").unwrap();
        assert_eq!(avahi_at(Path::new("/nonexistent/socket"), &name).await, None);
    }
}
