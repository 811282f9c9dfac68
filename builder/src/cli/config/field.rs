//! What `config` is about: the machines of a file, what was brought in before, and how `ssh` gets there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cluster::card::DockerSource;
use cluster::host::Host;
use cluster::identity::Role;
use cluster::name::ClusterId;
use cluster::proxy::Proxy;
use cluster::spec::Node;
use cluster::spec::hostnames::Hostnames;

use crate::error::{Failure, Kind};
use crate::pki::{self, Running, RunningHost};
use crate::project::{self, Project};
use crate::running::check::{Candidate, Entry, Verdict};
use crate::running::engine::Wanted;

/// See the module.
#[derive(Debug)]
pub(super) struct Field {
    /// The file.
    pub(super) file: PathBuf,
    /// The machines, in the file's order.
    pub(super) entries: Vec<Entry>,
    /// What was brought in before.
    pub(super) earlier: Option<Running>,
    /// Who logs in where a host does not say so.
    pub(super) user: Option<String>,
    /// Where Docker comes from.
    docker: DockerSource,
    /// The proxy of a `hostnames.yaml`; that of a cluster file is in the project.
    proxy: Option<Proxy>,
    /// The cluster file; `None` for a `hostnames.yaml`.
    cluster: Option<Project>,
}

impl Field {
    /// Reads the file, and the record beside it.
    pub(super) fn read(
        file: &Path,
        user: Option<&String>,
        docker: Option<DockerSource>,
    ) -> Result<Self, Failure> {
        if let Some(found) = project::hosts(file) {
            let found = found?;
            let earlier = pki::running(&project::secrets_folder(file))?;
            return Ok(Self {
                file: file.to_owned(),
                entries: of_hostnames(&found),
                user: user.cloned().or_else(|| earlier.as_ref()?.user.clone()),
                docker: docker.or_else(|| Some(earlier.as_ref()?.docker)).unwrap_or(DockerSource::Docker),
                proxy: found.proxy,
                earlier,
                cluster: None,
            });
        }
        let mut project = project::load(file)?;
        let earlier = pki::running(&project.secrets_folder())?;
        if let Some(source) = docker {
            project.cluster.docker.source = source;
        }
        let name = project.cluster.user.name.to_string();
        Ok(Self {
            file: file.to_owned(),
            entries: of_cluster(&project),
            earlier,
            user: Some(user.cloned().unwrap_or(name)),
            docker: project.cluster.docker.source,
            proxy: None,
            cluster: Some(project),
        })
    }

    /// Where the identities are.
    pub(super) fn secrets_folder(&self) -> PathBuf {
        self.cluster.as_ref().map_or_else(|| project::secrets_folder(&self.file), Project::secrets_folder)
    }

    /// How `ssh` reaches nodes of a cluster file: it may have made their cards, or not, so either's host keys count. Text of
    /// ssh_config(5).
    pub(super) fn ssh_config(&self) -> Result<Option<String>, Failure> {
        let Some(project) = &self.cluster else { return Ok(None) };
        let places = self.places()?;
        let file = std::path::absolute(project.secrets_folder().join("known_hosts")).unwrap_or_default();
        let mut text = String::new();
        for entry in &self.entries {
            let is_new = self.before(entry).is_none();
            text.push_str(&format!("Host {}\n", entry.host.name));
            if let Some(place) = places.get(&entry.host.name) {
                text.push_str(&format!("    HostName {}\n", place.name));
            }
            // Beside the user's own: a machine may have a card of ours, or not.
            if is_new && file.is_file() {
                let file = pki::config_path(&file).map_err(|source| Failure::new(Kind::Failed, source))?;
                text.push_str(&format!(
                    "    GlobalKnownHostsFile {file} /etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2\n"
                ));
            }
        }
        Ok(Some(text))
    }

    /// Where machines of a cluster file are looked for instead of under their names: at the file's addresses, and those with
    /// cards of ours where they were last.
    pub(super) fn places(&self) -> Result<BTreeMap<String, Host>, Failure> {
        let Some(project) = &self.cluster else { return Ok(BTreeMap::new()) };
        let known = pki::last_addresses(project)?;
        let place = |entry: &Entry| {
            let is_new = self.before(entry).is_none();
            let last = entry.name.as_ref().filter(|_| is_new).and_then(|name| known.get(name)).copied();
            let name = entry.address.or(last)?.to_string();
            Some((entry.host.name.clone(), Host::named(name)))
        };
        Ok(self.entries.iter().filter_map(place).collect())
    }

    /// What was brought in before of an entry.
    pub(super) fn before(&self, entry: &Entry) -> Option<&RunningHost> {
        self.earlier.as_ref()?.hosts.iter().find(|host| host.host == entry.host.to_string())
    }

    /// Whether a machine carries this cluster's payload from a card of ours: it was never brought in from here.
    pub(super) fn has_card(
        &self,
        host: &RunningHost,
        verdicts: &[Verdict],
        ours: Option<&ClusterId>,
    ) -> bool {
        let carries = |candidate: &Candidate| {
            let card = candidate.found.card.as_ref();
            candidate.name == host.name && card.map(|card| &card.cluster_id) == ours && ours.is_some()
        };
        let mut fit = verdicts.iter().filter_map(Verdict::candidate);
        let before = self.earlier.as_ref().is_some_and(|earlier| earlier.host(&host.name).is_some());
        self.cluster.is_some() && !before && fit.any(carries)
    }

    /// What the swarm needs of a machine's Docker.
    pub(super) fn docker(&self) -> Wanted {
        let pool = self.cluster.as_ref().and_then(|project| project.cluster.swarm.address_pool.clone());
        Wanted { source: self.docker, pool }
    }

    /// The record of these nodes.
    pub(super) fn record(&self, hosts: Vec<RunningHost>) -> Running {
        Running::new(self.user.clone(), self.docker, hosts)
    }

    /// The project with these nodes; with those of the cluster file, where there is one.
    pub(super) fn project(&self, running: &Running) -> Project {
        let Some(project) = &self.cluster else {
            let mut project = project::of_running(&self.file, running);
            project.cluster.proxy.clone_from(&self.proxy);
            return project;
        };
        let mut project = project.clone();
        // Whose role cannot be the file's yet keeps the one it has.
        for node in &mut project.cluster.nodes {
            let host = running.hosts.iter().find(|host| host.name == node.name);
            node.role = host.map_or(node.role, |host| host.role);
        }
        project
    }

    /// The project as it was before; `None` where no identities were made yet. What a cluster file was before, nobody
    /// knows: of it are the nodes that were not brought in from here.
    pub(super) fn project_before(&self) -> Option<Project> {
        let before = self.earlier.as_ref().map(|earlier| project::of_running(&self.file, earlier));
        let Some(project) = &self.cluster else { return before };
        let mut nodes = before.map(|before| before.cluster.nodes).unwrap_or_default();
        let is_new = |node: &&Node| nodes.iter().all(|before| before.name != node.name);
        let others: Vec<_> = project.cluster.nodes.iter().filter(is_new).cloned().collect();
        nodes.extend(others);
        let mut project = project.clone();
        project.cluster.nodes = nodes;
        project.secrets_folder().exists().then_some(project)
    }
}

fn of_hostnames(found: &Hostnames) -> Vec<Entry> {
    let entry = |role| move |host: &Host| Entry { host: host.clone(), role, name: None, address: None };
    let managers = found.managers.iter().map(entry(Role::Manager));
    managers.chain(found.workers.iter().map(entry(Role::Worker))).collect()
}

fn of_cluster(project: &Project) -> Vec<Entry> {
    let nodes = project.cluster.nodes.iter();
    let entry = nodes.map(|node| Entry {
        host: Host::named(node.name.to_string()),
        role: node.role,
        name: Some(node.name.clone()),
        address: node.address.as_ref().map(|address| address.ip),
    });
    entry.collect()
}

#[cfg(test)]
mod tests {
    use cluster::name::Hostname;

    use super::*;

    #[test]
    fn a_cluster_file_is_changed_by_its_managers_of_before() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("cluster.yaml");
        let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";
        let text = format!(
            "version: 1\ncluster: teal\nimage: x.img.xz\nnodes: teal[01-02]\nmanagers: [teal02]\n\
             user: {{name: pi, authorized_keys: ['{key}']}}\n"
        );
        std::fs::write(&file, text).unwrap();
        let field = Field::read(&file, None, None).unwrap();
        assert!(field.project_before().is_none(), "no identities were made yet");
        pki::open(field.cluster.as_ref().unwrap()).unwrap();

        let host = |(name, role): (&str, Role)| RunningHost {
            host: name.to_owned(),
            name: Hostname::try_from(name).unwrap(),
            role,
            address: None,
            host_key: None,
        };
        let hosts = [("teal00", Role::Manager), ("teal02", Role::Worker)].map(host);
        let field = Field { earlier: Some(field.record(hosts.into())), ..field };
        let nodes = |project: Project| {
            let nodes = project.cluster.nodes.into_iter().map(|node| (node.name.to_string(), node.role));
            nodes.collect::<Vec<_>>()
        };
        let node = |name: &str, role| (name.to_owned(), role);
        let before = nodes(field.project_before().unwrap());
        let [old, worker, other] =
            [("teal00", Role::Manager), ("teal02", Role::Worker), ("teal01", Role::Worker)];
        assert_eq!(before, [old, worker, other].map(|(name, role)| node(name, role)));
        // Whoever is a worker of the swarm stays one; the others are told so.
        let now = nodes(field.project(field.earlier.as_ref().unwrap()));
        assert_eq!(now, [node("teal01", Role::Worker), node("teal02", Role::Worker)]);
        let now = nodes(field.project(&field.record(Vec::new())));
        assert_eq!(now, [node("teal01", Role::Worker), node("teal02", Role::Manager)]);
    }
}
