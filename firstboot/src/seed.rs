//! The seed stage: identity onto the root partition, without a network.
//!
//! Runs as root, started by the words on the kernel command line, before anything of the normal boot: no network,
//! no D-Bus, root and FAT writable. The [`PARTS`] come each on its own: what fails is written down and the next part is
//! done, because a node that has no German keyboard is still a node. Then the words are taken out.
//!
//! Every part may be cut short by the power and done again. The words stay until the end, so that the next boot does
//! just that; but a run that finds an earlier one unfinished takes them out first. So a single power cut costs nothing,
//! and whatever ends a run, a boot after the second is a normal one. At the end the same boot goes on to what it would
//! have been without us ([`go_on`]). `seed.json` on the root partition says that binary and
//! keys are safely there; only from then on are the secrets on the FAT destroyed, and never read again.
//!
//! With a payload that cannot be used the parts get what is left of it: the Pi becomes a machine to log in to, with an agent
//! that does nothing but tell the board.

use std::error::Error;
use std::path::{Path, PathBuf};

use cluster::card::{self, Card, CardError, CardSecrets, Start};
use cluster::secret::Secret;
use thiserror::Error;

use crate::host::{Host, HostError};
use crate::tls::TlsError;

mod clock;
mod hook;
mod hostname;
mod install;
mod locale;
mod network;
mod onward;
mod salvage;
mod scrub;
mod ssh;
mod status;
mod units;
mod user;
mod wifi;

pub use onward::go_on;

/// Where the agent finds its payload and keeps its state.
pub const STATE: &str = "/var/lib/firstboot";
/// The installed binary.
pub const BINARY: &str = "/usr/local/lib/firstboot/firstboot";
/// In [`STATE`]: when the seed stage was finished, a [`cluster::wire::Mark`] as JSON.
pub const MARK: &str = "seed.json";
/// In [`STATE`]: what the seed stage could not do, sentences as a JSON list. The agent tells the board.
pub const PROBLEMS: &str = "seed-problems.json";

/// Why a part of the seed stage was not done.
#[derive(Debug, Error)]
pub enum SeedError {
    /// An effect failed.
    #[error(transparent)]
    Host(#[from] HostError),
    /// A file of the payload is missing.
    #[error("{0} is not on the card")]
    NotOnCard(String),
    /// The payload cannot be used.
    #[error("cannot use {}", card::CARD)]
    Card(#[source] CardError),
    /// The payload's secrets cannot be used. Without the parser's words: they may quote a secret.
    #[error("{0} is damaged or was written by a newer builder")]
    Secrets(&'static str),
    /// The OS image lacks something.
    #[error("this image has no {0}")]
    NotInImage(String),
    /// A value would not mean in a file of the OS what it says.
    #[error("the {what} {value:?} cannot be used")]
    Unfit {
        /// What it is, such as `time zone`.
        what: &'static str,
        /// The value.
        value: String,
    },
    /// The node cannot prove who it is.
    #[error("the node cannot prove who it is")]
    Identity(#[source] TlsError),
    /// The SSH host key cannot be used.
    #[error(
        "{0} is damaged; the node has a key of its own instead, which the operator's known_hosts does not know"
    )]
    HostKey(&'static str),
    /// What was written is not what is read.
    #[error("{0} does not read back as it was written")]
    ReadBack(PathBuf),
    /// The user with id 1000 has not the wanted name, whatever was tried.
    #[error("there is no user {0} with the id 1000")]
    NoUser(String),
    /// Secrets stay where they are until the agent has its own copy.
    #[error("the secrets stay on the card, because the agent is not installed")]
    NotInstalled,
}

/// One node's seed stage.
#[derive(Debug)]
struct Seed<'a> {
    /// The root file system.
    root: &'a dyn Host,
    /// The FAT partition.
    fat: &'a dyn Host,
    /// The payload's folder on the FAT.
    folder: &'a Path,
    /// The payload.
    card: Card,
}

type Part = fn(&Seed<'_>) -> Result<(), SeedError>;

/// What is done, in this order. The clock is first because everything after it leaves dates behind; scrubbing is last.
const PARTS: [(&str, Part); 22] = [
    ("secrets", |seed| seed.secrets().map(drop)),
    ("identity", install::check_identity),
    ("clock", clock::apply),
    ("host name", hostname::apply),
    ("user", user::settle_account),
    ("login shell", user::give_shell),
    ("password", user::set_password),
    ("SSH keys", user::authorize_keys),
    ("sudo", user::allow_sudo),
    ("SSH host key", ssh::install_host_key),
    ("SSH server", ssh::enable),
    ("SSH server's own keys", ssh::ensure_keys),
    ("network", network::apply),
    ("wait for the network", network::skip_networkd_wait),
    ("Wi-Fi", wifi::apply),
    ("time zone", locale::set_timezone),
    ("keyboard", locale::set_keymap),
    ("agent", install::apply),
    ("first-boot questions", install::clear_the_way),
    ("destruction of secrets", scrub::apply),
    // Last, since generating a locale may take a minute: everything that matters is done by then.
    ("locale", locale::set_locale),
    ("cloud-init", install::retire_cloud_init),
];

/// How a seed stage ended.
#[derive(Debug)]
pub struct Outcome {
    /// The payload, or what could be read of it.
    pub card: Card,
    /// Whether the next boot is a normal one. If not, this boot must not end in a reboot: that would go on for ever.
    pub hook_is_out: bool,
    /// What could not be done: part and reason. No secrets.
    pub problems: Vec<(&'static str, String)>,
    /// The same as sentences for a person, as written to `status.txt`.
    pub text: String,
}

/// Whether a binary started without a command stands on a card: beside a payload, or named on a kernel command line.
/// A card that lost its payload counts, because its hook has to be taken out all the same.
pub fn is_wanted(fat: &dyn Host, folder: &Path) -> bool {
    // Unreadable is not absent: on a dying card the seed stage is what keeps the Pi from rebooting for ever.
    !matches!((fat.read(&folder.join(card::CARD)), hook::is_set(fat)), (Ok(None), Ok(false)))
}

/// Runs the seed stage. `folder` is the payload's folder on `fat`, such as `/swarm`.
pub fn run(root: &dyn Host, fat: &dyn Host, folder: &Path) -> Outcome {
    let mut problems = Problems::default();
    let is_first = match hook::begin(fat, folder) {
        Ok(is_first) => is_first,
        Err(error) => problems.note("note of the beginning", Err(error)),
    };
    let (card, is_whole) = match read_card(fat, folder) {
        Ok(card) => (card, true),
        Err(error) => {
            problems.note("payload", Err(error));
            (salvage::card(root, fat, folder), false)
        }
    };
    let taken_out_early = (!is_first).then(|| hook::take_out(fat));
    let seed = Seed { root, fat, folder, card };
    for (name, part) in PARTS {
        problems.note(name, part(&seed));
    }
    // As long as a power cut would bring this run back.
    problems.note("word to the agent", status::tell_agent(&seed, &problems.0));
    let hook_is_out =
        problems.note("kernel command line", taken_out_early.unwrap_or_else(|| hook::take_out(fat)));
    if hook_is_out {
        problems.note("note of the beginning", hook::end(fat, folder));
    } else {
        problems.note("word to the agent", status::tell_agent(&seed, &problems.0));
    }
    let text = status::text(&seed.card, is_whole, hook_is_out, &problems.0);
    problems.note("status", status::write(&seed, &text));
    root.sync();
    fat.sync();
    Outcome { card: seed.card, hook_is_out, problems: problems.0, text }
}

/// What could not be done: part and reason.
#[derive(Debug, Default)]
struct Problems(Vec<(&'static str, String)>);

impl Problems {
    /// Notes how a part ended; says whether it ended well.
    fn note(&mut self, part: &'static str, result: Result<(), SeedError>) -> bool {
        if let Err(error) = &result {
            self.0.push((part, chain(error)));
        }
        result.is_ok()
    }
}

fn read_card(fat: &dyn Host, folder: &Path) -> Result<Card, SeedError> {
    let json =
        fat.read(&folder.join(card::CARD))?.ok_or_else(|| SeedError::NotOnCard(card::CARD.to_owned()))?;
    Card::from_json(&json).map_err(SeedError::Card)
}

impl Seed<'_> {
    /// A file of the payload.
    fn payload(&self, name: &str) -> Result<Vec<u8>, SeedError> {
        self.fat.read(&self.folder.join(name))?.ok_or_else(|| SeedError::NotOnCard(name.to_owned()))
    }

    /// Whether binary and keys are on the root partition. From then on what is on the FAT may be half destroyed.
    fn is_installed(&self) -> Result<bool, SeedError> {
        Ok(self.root.read(&Path::new(STATE).join(MARK))?.is_some())
    }

    /// The payload's secrets; `None` once [`Self::is_installed`].
    fn secrets(&self) -> Result<Option<CardSecrets>, SeedError> {
        if self.is_installed()? {
            return Ok(None);
        }
        let json = self.payload(card::SECRETS)?;
        CardSecrets::from_json(&json).map(Some).map_err(|_| SeedError::Secrets(card::SECRETS))
    }

    /// The user's crypt(5) hash; that of Pi OS's own file where the secrets are damaged. The outer `None` once installed.
    fn password_hash(&self) -> Result<Option<Option<Secret<String>>>, SeedError> {
        match self.secrets() {
            Ok(secrets) => Ok(secrets.map(|secrets| secrets.password_hash)),
            Err(error) => salvage::userconf(self.fat).map(|(_, hash)| Some(hash)).ok_or(error),
        }
    }

    /// A text file of the root; empty when it is absent.
    fn read_text(&self, path: &str) -> Result<String, SeedError> {
        let bytes = self.root.read(Path::new(path))?.unwrap_or_default();
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Writes a text file of the root, owned by root.
    fn write_text(&self, path: &str, text: &str, mode: u32) -> Result<(), SeedError> {
        Ok(self.root.write(Path::new(path), text.as_bytes(), mode, None)?)
    }

    /// Whether the network is cloud-init's affair: the card has a `network-config` where it is to be other than DHCP.
    fn leaves_network_to_cloud_init(&self) -> bool {
        self.card.start == Start::CloudInit
    }

    /// Whether the root has this file.
    fn has(&self, path: &str) -> Result<bool, SeedError> {
        Ok(self.root.read(Path::new(path))?.is_some())
    }
}

/// An error and its causes in one line.
fn chain(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line.push_str(": ");
        line.push_str(&error.to_string());
        cause = error.source();
    }
    line
}

#[cfg(test)]
mod tests;
