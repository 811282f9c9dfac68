//! Finding the manager's address. Any answer may be wrong or forged, and another cluster on the network may use the same
//! names: TLS verifies the certificate's name, so a wrong answer costs an attempt and nothing more.
//!
//! The binary is static and has no name service switch, so names are never looked up in-process.

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cluster::discovery;
use cluster::name::{ClusterId, Hostname};
use futures_util::future::join_all;
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::host::{Host, Program};

const AVAHI_SOCKET: &str = "/run/avahi-daemon/socket";
/// How long an answer may take. avahi gives up on a name after five seconds, a resolver without a server after ten:
/// too long for somebody who asks again soon anyway.
const PATIENCE: Duration = Duration::from_secs(2);
/// Most addresses of one name that are tried: each may cost seconds.
const ADDRESSES: usize = 8;

/// Look-ups of one manager that run at the same time. Those that are not waited for any more end.
#[derive(Debug)]
pub struct LookUps(VecDeque<JoinHandle<Vec<Ipv4Addr>>>);

impl LookUps {
    /// Asks all sources where a manager may be. Its own name comes first, because that is what most networks know, then
    /// the service with the cluster's identity, the names that avahi gives to a machine whose name is taken, and the name
    /// server.
    pub fn start(host: &Arc<dyn Host>, cluster: &ClusterId, manager: &Hostname) -> Self {
        let instance = discovery::instance(cluster, manager);
        let (own, renamed) = (manager.to_string(), discovery::other_names(manager));
        let (for_service, for_dns, name) = (Arc::clone(host), Arc::clone(host), manager.to_string());
        let renamed = async move { join_all(renamed.iter().map(|name| avahi(name))).await };
        Self(VecDeque::from([
            tokio::spawn(async move { avahi(&own).await.into_iter().collect() }),
            tokio::spawn(async move { service(&for_service, &instance).await.into_iter().collect() }),
            tokio::spawn(async move { renamed.await.into_iter().flatten().collect() }),
            tokio::spawn(async move { dns(&for_dns, &name).await }),
        ]))
    }

    /// What the next source says; `None` when all have been heard.
    pub async fn next(&mut self) -> Option<Vec<Ipv4Addr>> {
        let found = self.0.front_mut()?.await.unwrap_or_default();
        self.0.pop_front();
        Some(found)
    }
}

impl Drop for LookUps {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

/// Asks avahi for `<name>.local` the way nss-mdns does: one line each way on its simple socket.
async fn avahi(name: &str) -> Option<Ipv4Addr> {
    avahi_at(Path::new(AVAHI_SOCKET), name).await
}

async fn avahi_at(socket: &Path, name: &str) -> Option<Ipv4Addr> {
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

/// Asks avahi for a service instance. Its simple socket does not know services, so this goes over D-Bus, by systemd's own
/// client: `avahi-browse` is in a package that images lack.
async fn service(host: &Arc<dyn Host>, instance: &str) -> Option<Ipv4Addr> {
    // Any interface (-1), IPv4 (0); the answer's protocol and flags are zero as well.
    let words =
        ["--json=short", "--timeout=2", "--auto-start=no", "--", "call", "org.freedesktop.Avahi", "/"];
    let mut program = Program::new("busctl", words);
    let call = ["org.freedesktop.Avahi.Server", "ResolveService", "iisssiu"];
    let arguments = ["-1", "0", instance, discovery::SERVICE, "local", "0", "0"];
    program.args.extend(call.into_iter().chain(arguments).map(str::to_owned));
    service_answer(&ask(host, program).await?)
}

/// The address in the reply to `ResolveService`: interface, protocol, name, type, domain, host, protocol of the address,
/// address, port, texts, flags.
fn service_answer(json: &[u8]) -> Option<Ipv4Addr> {
    #[derive(Deserialize)]
    struct Reply {
        data: Vec<serde_json::Value>,
    }
    let reply = serde_json::from_slice::<Reply>(json).ok()?;
    reply.data.get(7)?.as_str()?.parse().ok()
}

/// Asks the machine's resolver, in a process that has one.
async fn dns(host: &Arc<dyn Host>, name: &str) -> Vec<Ipv4Addr> {
    let answer = ask(host, Program::new("getent", ["ahostsv4", name])).await.unwrap_or_default();
    dns_answer(&String::from_utf8_lossy(&answer))
}

/// What Debian's `/etc/hosts` gives a machine's own name.
const OWN: Ipv4Addr = Ipv4Addr::new(127, 0, 1, 1);

/// All addresses that are not this machine's own.
fn dns_answer(output: &str) -> Vec<Ipv4Addr> {
    let addresses =
        output.lines().filter_map(|line| line.split_whitespace().next()?.parse::<Ipv4Addr>().ok());
    let mut found: Vec<_> = addresses.filter(|address| *address != OWN).collect();
    // Each is there once for every kind of socket.
    found.dedup();
    found.truncate(ADDRESSES);
    found
}

/// What a program prints, unless it fails or takes too long.
async fn ask(host: &Arc<dyn Host>, program: Program) -> Option<Vec<u8>> {
    let host = Arc::clone(host);
    let asked = tokio::task::spawn_blocking(move || host.run(&program));
    timeout(PATIENCE, asked).await.ok()?.ok()?.ok()
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
    fn reads_all_answers_of_getent_but_the_machines_own() {
        let output = "127.0.1.1       STREAM red00\n10.0.0.5        STREAM\n10.0.0.5        DGRAM\n\
                      10.0.0.6        STREAM\n10.0.0.6        DGRAM\n";
        assert_eq!(dns_answer(output), [Ipv4Addr::new(10, 0, 0, 5), Ipv4Addr::new(10, 0, 0, 6)]);
        assert!(dns_answer("").is_empty());
        let many: String = (1..=200).map(|last| format!("10.0.0.{last} STREAM\n")).collect();
        assert_eq!(dns_answer(&many).len(), ADDRESSES);
    }

    /// As systemd 252 prints what avahi 0.8 answers about a machine whose name was taken.
    #[test]
    fn reads_the_answer_about_a_service() {
        let reply =
            br#"{"type":"iissssisqaayu","data":[2,0,"0123456789abcdef-red00","_builder-swarm._tcp","local",
            "red00-2.local",0,"10.213.1.51",8377,[[105,100]],5]}"#;
        assert_eq!(service_answer(reply), Some(Ipv4Addr::new(10, 213, 1, 51)));
        for other in
            [&b""[..], b"{}", br#"{"data":[]}"#, br#"{"data":[2,0,"a","b","c","d",1,"fe80::1",1,[],5]}"#]
        {
            assert_eq!(service_answer(other), None);
        }
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
        assert_eq!(avahi_at(&path, "red00").await, Some(Ipv4Addr::new(10, 1, 2, 3)));
        assert_eq!(server.await.unwrap(), "RESOLVE-HOSTNAME-IPV4 red00.local\n");
    }

    #[tokio::test]
    async fn a_machine_without_avahi_has_no_answer() {
        assert_eq!(avahi_at(Path::new("/nonexistent/socket"), "red00").await, None);
    }
}
