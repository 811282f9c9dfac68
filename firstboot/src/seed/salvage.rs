//! A payload that cannot be used: what else says whose card this is, so that its user can log in.

use std::path::Path;

use cluster::card::{self, Card, Hints, Start};
use cluster::name::{Hostname, UserName};
use cluster::secret::Secret;

use super::{hook, scrub, user};
use crate::host::Host;
use crate::tls;

/// What is left of the card. Whatever cannot be read is as if it were not there: the caller has told of the damage.
pub(super) fn card(root: &dyn Host, fat: &dyn Host, folder: &Path) -> Card {
    let payload = |name: &str| fat.read(&folder.join(name)).ok().flatten().unwrap_or_default();
    let text = |path: &str| {
        String::from_utf8_lossy(&root.read(Path::new(path)).ok().flatten().unwrap_or_default()).into_owned()
    };
    let first_user = user::account(&text("/etc/passwd"), |account| account.owner.user == user::FIRST);
    let keys = String::from_utf8_lossy(&payload(card::AUTHORIZED_KEYS)).into_owned();
    // Where our words are not on the kernel command line, only cloud-init can have started us.
    let start = if matches!(hook::is_set(fat), Ok(false)) { Start::CloudInit } else { Start::Hook };
    let hints = Hints {
        identity: tls::holder_of_pem(&payload(card::NODE_CERT)),
        node: Hostname::try_from(text("/etc/hostname").trim()).ok(),
        user: userconf(fat).map(|(name, _)| name).or_else(|| UserName::try_from(first_user?.name).ok()),
        authorized_keys: keys.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect(),
        start,
    };
    Card::salvage(&payload(card::CARD), hints)
}

/// What Pi OS's own user set-up would take: `name:hash`, where `!` stands for none.
pub(super) fn userconf(fat: &dyn Host) -> Option<(UserName, Option<Secret<String>>)> {
    let text = String::from_utf8(fat.read(Path::new(scrub::USERCONF)).ok()??).ok()?;
    let (name, hash) = text.lines().next()?.split_once(':')?;
    let hash = (!hash.is_empty() && hash != "!").then(|| Secret::new(hash.to_owned()));
    Some((UserName::try_from(name).ok()?, hash))
}
