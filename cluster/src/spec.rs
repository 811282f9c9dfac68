//! The cluster file as checked data, and the way there from its text.
//!
//! The text becomes a tree with places (`tree`); the tree is walked key by key, and whatever is wrong is noted
//! and passed over, so that one run names every problem. What lies outside the text (key files) comes through
//! [`Outside`].

use std::collections::BTreeMap;

use crate::card::{CardDocker, CardSwarm, CardWifi, DockerSource, StaticAddress};
use crate::identity::Role;
use crate::name::{ClusterName, Hostname, UserName};
use crate::proxy::Proxy;
use crate::secret::Secret;

mod address;
mod checks;
mod country;
mod excerpt;
mod fields;
pub mod hostnames;
pub mod inventory;
mod mark;
mod network;
mod nodes;
mod problem;
mod proxy;
mod secrets;
mod settings;
mod tree;

pub use mark::{Mark, Marks};
pub use problem::{Problem, Problems};

use fields::{Fields, Keys};
use problem::{Collector, Place};

/// A cluster file that passed every check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// The cluster's name.
    pub name: ClusterName,
    /// The OS image.
    pub image: ImageSource,
    /// The nodes in the file's order.
    pub nodes: Vec<Node>,
    /// Who logs in.
    pub user: User,
    /// The radio network.
    pub wifi: Option<CardWifi>,
    /// Its pass phrase.
    pub wifi_psk: Option<Secret<String>>,
    /// IANA time zone.
    pub timezone: Option<String>,
    /// Locale.
    pub locale: Option<String>,
    /// XKB layout.
    pub keymap: Option<String>,
    /// Where Docker comes from. `docker.key` is still the path of a key file here.
    pub docker: CardDocker,
    /// How the swarm is formed.
    pub swarm: CardSwarm,
    /// The way to the internet, where it leads through a proxy.
    pub proxy: Option<Proxy>,
    /// Where the values stand that only the image can judge.
    pub marks: Marks,
}

impl Cluster {
    /// A cluster of Pis that already run: there is no image, and everything is as a cluster file that says nothing of it
    /// would have it.
    pub fn of_running(name: ClusterName, user: UserName, nodes: Vec<Node>, source: DockerSource) -> Self {
        Self {
            name,
            image: ImageSource { location: String::new(), sha256: None },
            nodes,
            user: User { name: user, authorized_keys: Vec::new(), password_hash: None },
            wifi: None,
            wifi_psk: None,
            timezone: None,
            locale: None,
            keymap: None,
            docker: settings::docker_from(source),
            swarm: settings::plain_swarm(),
            proxy: None,
            marks: Marks::default(),
        }
    }
}

/// Where the image comes from, as the file says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageSource {
    /// A catalog name, a path, or an `https:`, `http:` or `file:` URL.
    pub location: String,
    /// SHA-256 of the file as published, compressed or not; 64 lower-case hexadecimal digits. Always there for a URL.
    pub sha256: Option<String>,
}

/// One planned node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: Hostname,
    /// Its role.
    pub role: Role,
    /// Its fixed address; DHCP without it.
    pub address: Option<StaticAddress>,
    /// Labels for its Swarm node.
    pub labels: BTreeMap<String, String>,
}

/// Who logs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Login name.
    pub name: UserName,
    /// Each a public key line, or the path of a file with such lines.
    pub authorized_keys: Vec<String>,
    /// crypt(5) hash.
    pub password_hash: Option<Secret<String>>,
}

/// Why something was refused and what to write instead. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What is wrong; a lower-case fragment.
    pub message: String,
    /// What to write instead.
    pub advice: String,
}

impl Refusal {
    /// A refusal.
    pub fn new(message: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { message: message.into(), advice: advice.into() }
    }
}

/// What a cluster file refers to and this crate cannot read.
pub trait Outside {
    /// The key lines that an entry of `user.authorized_keys` stands for: a key line itself, or those of the file it names.
    fn authorized_keys(&self, entry: &str) -> Result<Vec<String>, Refusal>;
    /// The armored OpenPGP key in the file that `docker.key` names.
    fn armored_key(&self, path: &str) -> Result<String, Refusal>;
    /// Whether cards can be made from the image, as far as that can be told at once. Accepts every image by default: a cluster
    /// that runs needs none any more.
    fn image(&self, _image: &ImageSource) -> Result<(), Refusal> {
        Ok(())
    }
    /// Whether nodes may still get other names. Those of a cluster that runs stay: they are in its certificates.
    fn can_rename_nodes(&self) -> bool {
        true
    }
}

/// Takes every reference as it is written.
struct AsWritten;

impl Outside for AsWritten {
    fn authorized_keys(&self, entry: &str) -> Result<Vec<String>, Refusal> {
        Ok(vec![entry.to_owned()])
    }

    fn armored_key(&self, path: &str) -> Result<String, Refusal> {
        Ok(path.to_owned())
    }
}

/// The only version of the cluster file so far.
const VERSION: &str = "1";

static ROOT: Keys = Keys {
    of: "",
    names: &[
        "version",
        "cluster",
        "image",
        "image_sha256",
        "nodes",
        "managers",
        "managers_run_tasks",
        "user",
        "network",
        "per_node",
        "wifi",
        "timezone",
        "locale",
        "keymap",
        "docker",
        "proxy",
        "swarm",
    ],
};

/// The mappings of a cluster file, in the guide's order.
static MAPPINGS: [&Keys; 8] = [
    &ROOT,
    &settings::USER,
    &network::NETWORK,
    &network::PER_NODE,
    &settings::WIFI,
    &settings::DOCKER,
    &proxy::PROXY,
    &settings::SWARM,
];

/// The keys of a cluster file and of a list of hosts.
fn all_keys() -> impl Iterator<Item = &'static Keys> {
    MAPPINGS.into_iter().chain([&hostnames::KEYS])
}

/// Every key a cluster file can have, as `user.name`, in the guide's order.
pub fn keys() -> impl Iterator<Item = String> {
    MAPPINGS.into_iter().flat_map(|keys| {
        keys.names.iter().map(|name| match keys.of {
            "" => (*name).to_owned(),
            of => format!("{of}.{name}"),
        })
    })
}

/// Reads a cluster file, leaving key files unread: `user.authorized_keys` and `docker.key` are as written.
/// `file_name` is what problems call the file. A byte order mark at its beginning is passed over.
pub fn read(text: &str, file_name: &str) -> Result<Cluster, Problems> {
    read_with(text, file_name, &AsWritten)
}

/// Reads a cluster file and what it refers to. Every problem is reported, not only the first.
pub fn read_with(text: &str, file_name: &str, outside: &dyn Outside) -> Result<Cluster, Problems> {
    let text = without_mark(text);
    let mut problems = Collector::new(text);
    let cluster = document(text, outside, &mut problems);
    match cluster {
        Some(cluster) if problems.is_empty() => Ok(cluster),
        // What was left out was left out for a reason that is among the problems.
        _ => Err(problems.finish(file_name)),
    }
}

/// A text without the byte order mark that some editors write at its beginning.
fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

fn document(text: &str, outside: &dyn Outside, problems: &mut Collector<'_>) -> Option<Cluster> {
    let tree = tree::parse(text, problems);
    if !problems.is_empty() {
        problems.stop_reading();
        return None;
    }
    let Some(tree) = tree else {
        let advice = "run `builder init` for a starter with every key explained";
        problems.add(Place::point(1, 1), "the file is empty", advice);
        return None;
    };
    secrets::hide(&tree, problems);
    if !version_is_known(&tree, problems) {
        return None;
    }
    let root = Fields::open(&ROOT, &tree, problems)?;
    let name = settings::needed(&root, "cluster", "red", checks::cluster_name, problems);
    let image = image(&root, outside, problems);
    let nodes = nodes::read(&root, outside, problems);
    let user = settings::user(&root, outside, problems);
    let wifi = settings::wifi(&root, problems);
    let timezone = settings::checked(&root, "timezone", checks::timezone, problems);
    let locale = settings::checked(&root, "locale", checks::locale, problems);
    let keymap = settings::checked(&root, "keymap", checks::keymap, problems);
    let docker = settings::docker(&root, outside, problems);
    let proxy = proxy::read(&root, problems);
    let swarm = settings::swarm(&root, nodes.as_deref().unwrap_or_default(), problems);
    let (wifi, wifi_psk) = wifi.map_or((None, None), |(wifi, psk)| (Some(wifi), psk));
    Some(Cluster {
        name: name?,
        image: image?,
        nodes: nodes?,
        user: user?,
        wifi,
        wifi_psk,
        timezone,
        locale,
        keymap,
        docker,
        swarm,
        proxy,
        marks: mark::marks(&tree, problems),
    })
}

/// Looks at `version` before anything else: in another version every other key may mean something else.
fn version_is_known(tree: &tree::Node, problems: &mut Collector<'_>) -> bool {
    let tree::Content::Mapping(entries) = &tree.content else {
        return true;
    };
    let Some(entry) = entries.iter().find(|entry| entry.key == "version") else {
        let place = entries.first().map_or(tree.place, |entry| entry.key_place);
        problems.add(place, "`version` is missing", format!("write `version: {VERSION}` in the first line"));
        return true;
    };
    problems.show(entry.key_place);
    match &entry.value.content {
        tree::Content::Text(text) if text == VERSION => true,
        tree::Content::Text(text) if text.parse::<u32>().is_ok() => {
            problems.show(entry.value.place);
            let message = format!("this builder does not know version {text} of the cluster file");
            problems.add(
                entry.value.place,
                message,
                format!("write `version: {VERSION}`, or get a newer builder"),
            );
            false
        }
        _ => {
            problems.add(entry.value.place, "this is not a version", format!("write `version: {VERSION}`"));
            false
        }
    }
}

fn image(root: &Fields<'_>, outside: &dyn Outside, problems: &mut Collector<'_>) -> Option<ImageSource> {
    let sha256 = settings::checked(root, "image_sha256", checks::sha256, problems);
    let location = settings::needed(root, "image", "raspios-lite-arm64", checks::image, problems)?;
    if checks::is_url(&location) && !root.has("image_sha256") {
        let advice = "write `image_sha256:` and the 64 hexadecimal digits published with the image";
        problems.add(root.key_place("image"), "an image from a URL needs its SHA-256", advice);
        return None;
    }
    let source = ImageSource { location, sha256 };
    let (_, place) = root.text("image", problems)?;
    settings::report(outside.image(&source), place, problems)?;
    Some(source)
}
