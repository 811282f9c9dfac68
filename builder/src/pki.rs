//! The cluster's secrets folder, `<cluster>.secrets` beside the cluster file: CA, certificates, SSH host keys.
//!
//! What is in it is made once and kept: host keys and `cluster.json` are never written again. A node that is new in the
//! cluster file gets material of its own. A node whose role changed, or that is another machine now, gets a new key and
//! certificate, and the former key counts as revoked from then on. `known_hosts`, `ssh_config`, `addresses.json` and
//! `running.json` are derived and follow the cluster file. The CA key never leaves the folder.
//!
//! A revoked node's material is moved to `revoked/`, and kept: the keys' ids are what a manager has to be told.
//!
//! The first run builds the folder under another name and renames it, so a run that is killed leaves none. Nodes
//! are added file by file, each by rename, key before certificate: what a killed run left out, the next one makes.
//! A folder that is damaged, foreign or open to others is an error that says what to type, never a new CA.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use cluster::host::Host;
use cluster::identity::{Holder, Identity, Role};
use cluster::name::{ClusterId, ClusterName, Hostname, KeyId};
use cluster::secret::Secret;
use cluster::spec::Node;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::Failure;
use crate::json::{self, Unread};
use crate::project::{Project, ProjectKind};

mod authority;
mod error;
mod folder;
mod node;
mod revoked;
mod running;
mod ssh;

pub use revoked::{Keys, keys, set_aside};
pub use running::{Running, RunningHost, remember_running, running};
pub use ssh::card_host_keys;
pub(crate) use ssh::config_path;

use authority::Authority;
use error::{PkiError, Whose};
use folder::{Folder, Missing, NewFile};
use node::Renewal;

const CLUSTER: &str = "cluster.json";
const CA: &str = "ca.pem";
const CA_KEY: &str = "ca-key.pem";
const OPERATOR: &str = "operator.pem";
const OPERATOR_KEY: &str = "operator-key.pem";
const GITIGNORE: &str = ".gitignore";
const VERSION: u32 = 1;

/// What a node is given: everything that makes it itself.
#[derive(Debug, Clone)]
pub struct NodeMaterial {
    /// The cluster's CA certificate, PEM.
    pub ca_pem: String,
    /// The node's certificate, PEM.
    pub cert_pem: String,
    /// Its private key, PKCS #8 PEM.
    pub key_pem: Secret<String>,
    /// Its SSH host key, OpenSSH format.
    pub host_key: Secret<String>,
    /// The public half, OpenSSH format, one line with its end.
    pub host_key_public: String,
}

/// What the person with the laptop shows the manager.
#[derive(Debug, Clone)]
pub struct OperatorMaterial {
    /// The cluster's CA certificate, PEM.
    pub ca_pem: String,
    /// The operator's certificate, PEM.
    pub cert_pem: String,
    /// The operator's private key, PKCS #8 PEM.
    pub key_pem: Secret<String>,
}

/// Every identity of one cluster, read and checked.
#[derive(Debug)]
pub struct Identities {
    /// Drawn when the CA was made.
    pub cluster_id: ClusterId,
    /// When the CA was made, seconds since 1970 by this machine's clock.
    pub created: u64,
    /// Keys of nodes' former certificates that managers are not to let in.
    pub revoked: BTreeSet<KeyId>,
    folder: PathBuf,
    operator: OperatorMaterial,
    nodes: BTreeMap<Hostname, NodeMaterial>,
}

/// SHA-256 of a CA's certificate. Shown as `openssl x509 -fingerprint -sha256` shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CaFingerprint([u8; 32]);

impl CaFingerprint {
    /// 64 hexadecimal digits, for the name of a file.
    pub(crate) fn to_name(self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl std::fmt::Display for CaFingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let pairs: Vec<_> = self.0.iter().map(|byte| format!("{byte:02X}")).collect();
        f.write_str(&pairs.join(":"))
    }
}

impl Identities {
    /// The CA's fingerprint.
    ///
    /// # Errors
    /// When its certificate cannot be read, which [`existing`] rules out.
    pub fn ca_fingerprint(&self) -> Result<CaFingerprint, Failure> {
        let read = authority::fingerprint(&self.operator.ca_pem);
        Ok(read.map(CaFingerprint).map_err(cannot_make("the fingerprint of the CA"))?)
    }

    /// A planned node's material.
    ///
    /// # Errors
    /// When the cluster file did not plan it, or [`existing`] found nothing of it.
    pub fn node(&self, name: &Hostname) -> Result<NodeMaterial, Failure> {
        let missing = || PkiError::NoNode { folder: self.folder.clone(), node: name.to_string() };
        Ok(self.nodes.get(name).cloned().ok_or_else(missing)?)
    }

    /// The operator's material.
    pub fn operator(&self) -> Result<OperatorMaterial, Failure> {
        Ok(self.operator.clone())
    }
}

/// Opens the secrets folder: makes it on first use, adds what new nodes need, brings the SSH files up to date.
///
/// # Errors
/// A folder that is damaged, foreign, a link, or open to other users; nothing has been written then.
pub fn open(project: &Project) -> Result<Identities, Failure> {
    keep(project, &Makes::All, None)
}

/// As [`open`], for machines that `builder config` brings in: makes nothing for other nodes, and new keys for `renewed`. `record`
/// is written before there are keys: without it, a key that a killed run leaves would count as that of a card.
///
/// # Errors
/// As [`open`].
pub fn open_for(
    project: &Project,
    nodes: &BTreeSet<Hostname>,
    renewed: &BTreeSet<Hostname>,
    record: &Running,
) -> Result<Identities, Failure> {
    keep(project, &Makes::Some { nodes, renewed }, Some(record))
}

/// What [`open_for`] would give, without writing anything.
///
/// # Errors
/// As [`open`].
pub fn preview_for(
    project: &Project,
    nodes: &BTreeSet<Hostname>,
    renewed: &BTreeSet<Hostname>,
) -> Result<Identities, Failure> {
    Ok(prepare(project, &Makes::Some { nodes, renewed })?.identities)
}

fn keep(project: &Project, makes: &Makes<'_>, record: Option<&Running>) -> Result<Identities, Failure> {
    let lock = folder::lock(&project.secrets_folder(), Missing::Make)?;
    let Prepared { identities, folder, mut files } = prepare(project, makes)?;
    if let Some(record) = record {
        running::add(record, folder.as_ref(), &mut files)?;
    }
    let folder = match folder {
        Some(folder) => {
            folder.write_all(&files)?;
            folder
        }
        None => Folder::create(&lock, project.secrets_folder(), &files)?,
    };
    refresh_ssh(project, &folder, &identities)?;
    Ok(identities)
}

/// What [`open`] would give, without writing anything: what is missing is made in memory and forgotten.
///
/// # Errors
/// As [`open`].
pub fn open_or_preview(project: &Project) -> Result<Identities, Failure> {
    Ok(prepare(project, &Makes::All)?.identities)
}

/// The identities as they lie there, without writing and without making up anything.
///
/// # Errors
/// As [`open`], and when no folder exists yet.
pub fn existing(project: &Project) -> Result<Identities, Failure> {
    Ok(prepare(project, &Makes::Nothing)?.identities)
}

/// The addresses at which nodes were last heard from.
///
/// # Errors
/// When the folder or the file cannot be used.
pub fn last_addresses(project: &Project) -> Result<BTreeMap<Hostname, Ipv4Addr>, Failure> {
    match Folder::open(project.secrets_folder())? {
        Some(folder) => Ok(read_addresses(&folder)?.addresses),
        None => Ok(BTreeMap::new()),
    }
}

/// Keeps the addresses at which nodes were heard from, and brings the SSH files up to date. Nodes not named keep theirs.
///
/// # Errors
/// As [`existing`].
pub fn remember_addresses(project: &Project, heard: &BTreeMap<Hostname, Ipv4Addr>) -> Result<(), Failure> {
    let path = project.secrets_folder();
    let _lock = folder::lock(&path, Missing::Refuse)?;
    let folder = Folder::open(path.clone())?.ok_or(PkiError::Absent { folder: path })?;
    let mut known = read_addresses(&folder)?;
    let before = known.clone();
    known.version = VERSION;
    known.addresses.extend(heard.iter().map(|(name, address)| (name.clone(), *address)));
    if known == before {
        return Ok(());
    }
    let text = to_json(&known)?;
    folder.write_all(&[NewFile { replaces: true, ..NewFile::new(ssh::ADDRESSES, text) }])?;
    Ok(refresh_ssh(project, &folder, &existing(project)?)?)
}

/// What is made of what is not there.
enum Makes<'a> {
    /// The folder, and what the nodes of the project lack.
    All,
    /// The folder, and what these nodes lack.
    Some {
        nodes: &'a BTreeSet<Hostname>,
        /// Those of them that get a new key, whatever they have.
        renewed: &'a BTreeSet<Hostname>,
    },
    Nothing,
}

impl Makes<'_> {
    fn includes(&self, name: &Hostname) -> bool {
        match self {
            Self::All => true,
            Self::Some { nodes, .. } => nodes.contains(name),
            Self::Nothing => false,
        }
    }

    fn renews(&self, name: &Hostname) -> bool {
        matches!(self, Self::Some { renewed, .. } if renewed.contains(name))
    }
}

/// `cluster.json`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    version: u32,
    cluster: ClusterName,
    cluster_id: ClusterId,
    created: u64,
}

/// Identities, and what has to be written to make them last.
struct Prepared {
    identities: Identities,
    /// `None`: it does not exist yet.
    folder: Option<Folder>,
    files: Vec<NewFile>,
}

fn prepare(project: &Project, makes: &Makes<'_>) -> Result<Prepared, PkiError> {
    let path = project.secrets_folder();
    let folder = Folder::open(path.clone())?;
    let mut files = Vec::new();
    let (record, authority, operator) = match &folder {
        Some(folder) => read_cluster(folder, project, &path)?,
        None if matches!(makes, Makes::Nothing) => return Err(PkiError::Absent { folder: path }),
        None => make_cluster(&project.cluster.name, &mut files)?,
    };
    let mut revoked = folder.as_ref().map_or(Ok(BTreeSet::new()), |folder| revoked::former(folder, None))?;
    let mut nodes = BTreeMap::new();
    for planned in &project.cluster.nodes {
        refuse_clash(&planned.name, project)?;
        let files_there = node::Files::read(folder.as_ref(), &planned.name)?;
        let is_included = makes.includes(&planned.name);
        if !is_included && !files_there.is_complete() {
            continue;
        }
        let identity = node_identity(&record.cluster_id, planned.role, &planned.name);
        let is_wanted = makes.renews(&planned.name);
        let material = if is_included {
            let renewal = Renewal { revoked: &mut revoked, is_wanted };
            files_there.complete((&authority, &identity), renewal, &mut files)?
        } else {
            // A changed role is the next command's affair that makes something of it.
            let renewal = Renewal { revoked: &mut revoked.clone(), is_wanted };
            files_there.complete((&authority, &identity), renewal, &mut Vec::new())?
        };
        nodes.insert(planned.name.clone(), material);
    }
    let Record { cluster_id, created, .. } = record;
    let identities = Identities { cluster_id, created, revoked, folder: path, operator, nodes };
    Ok(Prepared { identities, folder, files })
}

/// Refuses a node whose certificate would lie where another's key lies.
fn refuse_clash(node: &Hostname, project: &Project) -> Result<(), PkiError> {
    let other = format!("{node}-key");
    match project.cluster.nodes.iter().any(|planned| planned.name.as_str() == other) {
        true => Err(PkiError::Clash { node: node.to_string() }),
        false => Ok(()),
    }
}

fn node_identity(cluster: &ClusterId, role: Role, name: &Hostname) -> Identity {
    Identity { cluster: cluster.clone(), holder: Holder::Node { role, name: name.clone() } }
}

type Cluster = (Record, Authority, OperatorMaterial);

fn make_cluster(name: &ClusterName, files: &mut Vec<NewFile>) -> Result<Cluster, PkiError> {
    let id = authority::draw_id().map_err(cannot_make("the cluster's id"))?;
    // A clock before 1970 says nothing, and any floor will do.
    let created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let record = Record { version: VERSION, cluster: name.clone(), cluster_id: id.clone(), created };
    let (authority, ca_key) = Authority::make(&id).map_err(cannot_make("the cluster's CA"))?;
    let key = authority::make_key().map_err(cannot_make("the operator's key"))?;
    let identity = Identity { cluster: id, holder: Holder::Operator };
    let cert_pem = authority.issue(&identity, &key).map_err(cannot_make("the operator's certificate"))?;
    let key_pem = key.serialize_pem();
    files.push(NewFile::new(GITIGNORE, "*\n"));
    files.push(NewFile::new(CLUSTER, to_json(&record)?));
    files.push(NewFile::new(CA_KEY, ca_key));
    files.push(NewFile::new(CA, authority.pem()));
    files.push(NewFile::new(OPERATOR_KEY, key_pem.clone()));
    files.push(NewFile::new(OPERATOR, cert_pem.clone()));
    let operator =
        OperatorMaterial { ca_pem: authority.pem().to_owned(), cert_pem, key_pem: Secret::new(key_pem) };
    Ok((record, authority, operator))
}

fn read_cluster(folder: &Folder, project: &Project, path: &Path) -> Result<Cluster, PkiError> {
    let read = |name: &str| {
        let missing = || PkiError::Missing { path: folder.path(name), whose: Whose::Cluster };
        folder.read(name)?.ok_or_else(missing)
    };
    let damaged = |name: &str| damaged(folder.path(name), Whose::Cluster);

    let record: Record = from_json(&read(CLUSTER)?, folder.path(CLUSTER), Whose::Cluster)?;
    if record.cluster != project.cluster.name {
        return Err(PkiError::Foreign {
            folder: path.to_owned(),
            found: record.cluster.to_string(),
            wanted: project.cluster.name.to_string(),
        });
    }
    let (ca, ca_key) = (read(CA)?, read(CA_KEY)?);
    authority::read_key(&ca_key).map_err(|error| damaged(CA_KEY)(error.into()))?;
    let authority = Authority::from_pem(&ca, &ca_key).map_err(|error| damaged(CA)(error.into()))?;

    let (cert_pem, key_pem) = (read(OPERATOR)?, read(OPERATOR_KEY)?);
    let key = authority::read_key(&key_pem).map_err(|error| damaged(OPERATOR_KEY)(error.into()))?;
    let found = authority.check(&cert_pem, &key).map_err(|error| damaged(OPERATOR)(error.into()))?;
    let wanted = Identity { cluster: record.cluster_id.clone(), holder: Holder::Operator };
    if found != wanted {
        return Err(damaged(OPERATOR)(other_name(&found, &wanted).into()));
    }
    let operator = OperatorMaterial { ca_pem: ca, cert_pem, key_pem: Secret::new(key_pem) };
    Ok((record, authority, operator))
}

fn other_name(found: &Identity, wanted: &Identity) -> authority::AuthorityError {
    authority::AuthorityError::OtherName { found: found.to_uri(), wanted: wanted.to_uri() }
}

/// How the user's own ssh reaches a node that `builder config` brought in: as it was told, but at the address that a cluster
/// file has. `None` for nodes with cards.
pub fn own_host(project: &Project, running: &Running, node: &Node) -> Option<Host> {
    let host = running.host(&node.name)?;
    match &node.address {
        Some(fixed) if project.kind == ProjectKind::Planned => {
            Some(Host { name: fixed.ip.to_string(), ..host })
        }
        _ => Some(host),
    }
}

/// How `ssh` reaches the nodes of a cluster file, as text of ssh_config(5). Computed anew: the file `ssh_config` in the
/// secrets folder is for people to use, and what somebody else put there, such as a `ProxyCommand`, does not count.
///
/// # Errors
/// As [`existing`].
pub fn ssh_config(project: &Project, identities: &Identities) -> Result<String, Failure> {
    let path = project.secrets_folder();
    let folder = Folder::open(path.clone())?.ok_or(PkiError::Absent { folder: path })?;
    Ok(ssh_texts(project, &folder, identities)?.config)
}

/// Rewrites `known_hosts` and `ssh_config` where they differ from what the cluster file and the addresses make of them.
fn refresh_ssh(project: &Project, folder: &Folder, identities: &Identities) -> Result<(), PkiError> {
    let SshTexts { known_hosts, config } = ssh_texts(project, folder, identities)?;
    for (name, text) in [(ssh::KNOWN_HOSTS, known_hosts), (ssh::CONFIG, config)] {
        if folder.read(name)?.as_deref() != Some(&text) {
            folder.write_all(&[NewFile { replaces: true, ..NewFile::new(name, text) }])?;
        }
    }
    Ok(())
}

/// What the cluster file and the addresses make of `known_hosts` and `ssh_config`.
struct SshTexts {
    known_hosts: String,
    config: String,
}

fn ssh_texts(project: &Project, folder: &Folder, identities: &Identities) -> Result<SshTexts, PkiError> {
    let known = read_addresses(folder)?.addresses;
    let running = running::read(folder)?;
    let hosts: Vec<_> = project
        .cluster
        .nodes
        .iter()
        .filter_map(|node| {
            let fixed = node.address.as_ref().map(|address| address.ip);
            let address = fixed.or_else(|| known.get(&node.name).copied());
            let way = match running.as_ref().and_then(|running| own_host(project, running, node)) {
                Some(host) => ssh::Way::Own(host),
                None => ssh::Way::Card { address, key: &identities.nodes.get(&node.name)?.host_key_public },
            };
            Some(ssh::Host { name: &node.name, way })
        })
        .collect();
    let file = folder.path(ssh::KNOWN_HOSTS);
    let absolute =
        std::path::absolute(&file).map_err(|source| PkiError::File { verb: "find", path: file, source })?;
    let config = ssh::config(&hosts, project.cluster.user.name.as_str(), &absolute)
        .map_err(|source| PkiError::File { verb: "write ssh_config for", path: absolute, source })?;
    Ok(SshTexts { known_hosts: ssh::known_hosts(&hosts), config })
}

fn read_addresses(folder: &Folder) -> Result<ssh::Addresses, PkiError> {
    match folder.read(ssh::ADDRESSES)? {
        Some(text) => from_json(&text, folder.path(ssh::ADDRESSES), Whose::Nobody),
        None => Ok(ssh::Addresses::default()),
    }
}

/// Reads a file of the one version that there is of it.
fn from_json<T: DeserializeOwned>(text: &str, path: PathBuf, whose: Whose) -> Result<T, PkiError> {
    from_json_up_to(VERSION, text, path, whose)
}

/// As [`from_json`]; `known` is the highest version that can be read.
fn from_json_up_to<T: DeserializeOwned>(
    known: u32,
    text: &str,
    path: PathBuf,
    whose: Whose,
) -> Result<T, PkiError> {
    json::read_versioned(text.as_bytes(), 0..=known).map_err(|unread| match unread {
        Unread::Version(found) => PkiError::TooNew { path, found, known },
        Unread::Damaged(error) => damaged(path, whose)(error.into()),
    })
}

fn to_json(value: &impl Serialize) -> Result<String, PkiError> {
    let text = serde_json::to_string_pretty(value).map_err(cannot_make("a file of the secrets folder"))?;
    Ok(text + "\n")
}

fn damaged(path: PathBuf, whose: Whose) -> impl FnOnce(Box<dyn std::error::Error + Send + Sync>) -> PkiError {
    move |source| PkiError::Damaged { path, whose, source }
}

fn cannot_make<E: std::error::Error + Send + Sync + 'static>(
    what: &'static str,
) -> impl FnOnce(E) -> PkiError {
    move |error| PkiError::Make { what, source: error.into() }
}
