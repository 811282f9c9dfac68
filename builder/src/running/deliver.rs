//! The agent and its payload onto machines, over SSH: the binary first, where it is another than the one that is there, then
//! the payload. What is secret goes through standard input, never into words that a process list shows.

use std::sync::Arc;

use cluster::card::{self, Card, Start};
use cluster::delivery::Delivery;
use cluster::name::{ClusterId, Hostname};
use cluster::secret::Secret;
use cluster::spec::{Cluster, Node};

use super::check::{Candidate, Others};
use super::probe::{self, Root};
use crate::agent::{Agent, sha256_hex};
use crate::elf::Arch;
use crate::error::Failure;
use crate::host_key::HostKey;
use crate::pki::{Identities, RunningHost};
use crate::plan;
use crate::ssh::batch::Job;

/// Bytes for a machine's standard input.
type Input = Arc<Secret<Vec<u8>>>;

/// Where the agent lies.
const FOLDER: &str = "/usr/local/lib/firstboot";
/// The agent, in the seed stage's place for it (firstboot's `seed::BINARY`).
pub const PROGRAM: &str = "/usr/local/lib/firstboot/firstboot";

/// What a machine is to get.
#[derive(Debug)]
pub struct Parcel {
    /// In the order of the file.
    pub index: usize,
    /// Whether the agent has to be sent.
    pub agent: bool,
    /// Whether the payload has to be.
    pub payload: bool,
    /// Which agent.
    pub arch: Arch,
    root: Root,
    /// The machine that it is for.
    host_key: HostKey,
    delivery: Delivery,
}

impl Parcel {
    /// Packs what a machine is to get, and sees what of it is there already. `hosts` are all nodes from now on.
    ///
    /// # Errors
    /// When the node's identity is not there.
    pub fn pack(
        index: usize,
        candidate: &Candidate,
        (cluster, hosts): (&Cluster, &[RunningHost]),
        (identities, agent): (&Identities, &Agent),
        others: Others,
    ) -> Result<Self, Failure> {
        let material = identities.node(&candidate.name)?;
        let card = card(cluster, hosts, identities, candidate);
        let found = &candidate.found;
        let is_there = found.active
            && found.card.as_ref() == Some(&card)
            && found.certificate.as_deref() == Some(&sha256_hex(material.cert_pem.as_bytes()))
            && found.proxy == cluster.proxy.as_ref().map(|proxy| sha256_hex(proxy.to_json().expose()));
        let agent = found.agent.as_deref() != Some(&agent.sha256);
        Ok(Self {
            index,
            agent,
            // The agent that runs goes on being the old one until it is told.
            payload: agent || !is_there,
            arch: candidate.arch,
            root: found.root.clone(),
            host_key: candidate.host_key.clone(),
            delivery: Delivery {
                card,
                ca_pem: material.ca_pem,
                cert_pem: material.cert_pem,
                key_pem: material.key_pem,
                take_over: others == Others::TakeOver,
                proxy: cluster.proxy.clone(),
            },
        })
    }

    /// Sends the agent, whole or not at all.
    pub fn send_agent(&self, agent: &Agent, bytes: &Input, password: Option<&Secret<String>>) -> Job {
        let sha256 = &agent.sha256;
        let partial = format!("{PROGRAM}.partial");
        let script = format!(
            "umask 022; mkdir -p {FOLDER} && cat > {partial} && \
             echo {sha256} {partial} | sha256sum --check --status && chmod 755 {partial} && sync {partial} && \
             mv -f {partial} {PROGRAM} || {{ rm -f {partial}; exit 1; }}"
        );
        self.job(&script, bytes, password)
    }

    /// Sends the payload, and has the agent take over.
    pub fn send_payload(&self, password: Option<&Secret<String>>) -> Job {
        // Strings, numbers and lists of them always serialise.
        let json = serde_json::to_vec(&self.delivery).unwrap_or_default();
        self.job(&format!("exec {PROGRAM} adopt"), &Arc::new(Secret::new(json)), password)
    }

    /// Runs a script as root, with `input` on its standard input. The empty line that it writes first says that the machine is
    /// the one that proved its host key.
    fn job(&self, script: &str, input: &Input, password: Option<&Secret<String>>) -> Job {
        let (line, first) = match (&self.root, password) {
            (Root::Password, Some(password)) => {
                let line = Secret::new(format!("{}\n", password.expose()).into_bytes());
                (with_password(script), Some(Arc::new(line)))
            }
            (Root::Sudo, _) => (format!("sudo -n sh -c 'echo; {script}'"), None),
            // In single quotes any login shell leaves it alone.
            _ => (format!("sh -c 'echo; {script}'"), None),
        };
        let input = first.into_iter().chain([Arc::clone(input)]).collect();
        let only_to = Some(self.host_key.clone());
        Job { index: self.index, words: Arc::new(vec![line]), input, only_to }
    }
}

/// Runs a script as root by a password, which is the first line of standard input; what follows is the script's. That goes past
/// `sudo`, through a pipe with a name: after the password sudo-rs 0.2.5 drops what it has read ahead, and a password that is
/// refused would have it take our input for further tries. `script` has no quotes and no `$`.
fn with_password(script: &str) -> String {
    format!(
        "sh -c 'echo; IFS= read -r password; exec 3<&0; folder=$(mktemp -d /tmp/builder.XXXXXX) || exit 1; \
         trap \"rm -rf $folder\" EXIT; mkfifo $folder/in || exit 1; cat <&3 >$folder/in & \
         printf \"%s\\n\" \"$password\" | sudo -S -p \"\" sh -c \"exec <$folder/in; {script}\"; \
         ended=$?; kill $! 2>/dev/null; exit $ended'"
    )
}

/// What becomes of the Docker that the agent installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Docker {
    /// It stays.
    Keep,
    /// It goes with the agent.
    Remove,
    /// Nothing is removed; the machine says which packages would go.
    Simulate,
}

/// Takes our software off a machine if it is this node of this cluster: another may have its address by now. `docker`, if that
/// came with it, too. Nothing is asked first, so who logs in may be root or not, and there may be nothing.
pub fn removal(
    index: usize,
    (cluster, node): (&ClusterId, &Hostname),
    docker: Docker,
    password: Option<&Secret<String>>,
) -> Job {
    let option = match docker {
        Docker::Keep => "",
        Docker::Remove => " --docker",
        Docker::Simulate => " --docker --simulate",
    };
    let remove = format!("{PROGRAM} remove --cluster {cluster} --node {node}{option}");
    if let Some(password) = password {
        let script = probe::as_root(password, &format!("sh -c \"[ ! -x {PROGRAM} ] || exec {remove}\""));
        let words = Arc::new(vec!["sh -s".to_owned()]);
        return Job { index, words, input: vec![Arc::new(script)], only_to: None };
    }
    let line = format!(
        "sh -c 's=; [ \"$(id -u)\" = 0 ] || s=\"sudo -n\"; [ -x {PROGRAM} ] || exit 0; exec $s {remove}'"
    );
    Job { index, words: Arc::new(vec![line]), input: Vec::new(), only_to: None }
}

/// A node's payload: nothing of what is the machine's own affair.
fn card(cluster: &Cluster, hosts: &[RunningHost], identities: &Identities, candidate: &Candidate) -> Card {
    let role = hosts.iter().find(|host| host.name == candidate.name).map(|host| host.role);
    let node = Node {
        name: candidate.name.clone(),
        role: role.unwrap_or(cluster::identity::Role::Worker),
        address: None,
        labels: std::collections::BTreeMap::new(),
    };
    let card = plan::card(cluster, identities, &node, identities.created, Start::default());
    let nodes = card.nodes.into_iter().map(|planned| {
        let address = hosts.iter().find(|host| host.name == planned.name).and_then(|host| host.address);
        cluster::card::Planned { address: planned.address.or(address), ..planned }
    });
    let version = card::version_for(card.proxy, false);
    Card { version, nodes: nodes.collect(), wifi: None, timezone: None, locale: None, keymap: None, ..card }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::running::check::tests;

    const PASSWORD: &str = "it's $HOME";

    fn parcel(root: Root) -> Parcel {
        let delivery = Delivery {
            card: tests::card("0123456789abcdef", "red01", cluster::identity::Role::Worker),
            ca_pem: String::new(),
            cert_pem: String::new(),
            key_pem: Secret::new("key".to_owned()),
            proxy: None,
            take_over: false,
        };
        let host_key = tests::host_key("red01");
        Parcel { index: 0, agent: true, payload: true, arch: Arch::Aarch64, root, host_key, delivery }
    }

    fn jobs(root: &Root, password: Option<&Secret<String>>) -> Vec<Job> {
        let parcel = parcel(root.clone());
        let card = &parcel.delivery.card;
        let removal = |docker| removal(0, (&card.cluster_id, &card.node), docker, password);
        let removals = [Docker::Keep, Docker::Remove, Docker::Simulate].map(removal);
        [parcel.send_payload(password)].into_iter().chain(removals).collect()
    }

    #[test]
    fn a_password_is_on_standard_input_alone() {
        let password = Secret::new(PASSWORD.to_owned());
        for job in jobs(&Root::Password, Some(&password)) {
            assert!(!format!("{job:?}").contains("HOME"), "{job:?}");
            assert!(job.words.iter().all(|word| !word.contains("HOME")), "{job:?}");
            let input: Vec<u8> = job.input.iter().flat_map(|piece| piece.expose().clone()).collect();
            assert!(String::from_utf8(input).unwrap().contains("$HOME"));
        }
        let without = jobs(&Root::Sudo, Some(&password)).remove(0);
        let input: Vec<u8> = without.input.iter().flat_map(|piece| piece.expose().clone()).collect();
        assert!(!String::from_utf8(input).unwrap().contains("$HOME"), "nobody asks for it");
    }

    #[test]
    fn what_is_run_is_a_shells_language() {
        let password = Secret::new(PASSWORD.to_owned());
        for (root, password) in [(Root::Yes, None), (Root::Sudo, None), (Root::Password, Some(&password))] {
            for job in jobs(&root, password) {
                let line = job.words.join(" ");
                // Twice: as the login shell reads it, and as the shell that it starts.
                for shell in ["sh", "bash"] {
                    assert!(
                        Command::new(shell).args(["-n", "-c", &line]).status().unwrap().success(),
                        "{line}"
                    );
                }
                if let Some(inner) = line.split('\'').nth(1) {
                    assert!(
                        Command::new("sh").args(["-n", "-c", inner]).status().unwrap().success(),
                        "{inner}"
                    );
                }
            }
        }
    }
}
