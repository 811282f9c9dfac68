//! A manager's announcement on its network, so that nodes and operators find it by the cluster's identity where another
//! cluster has taken its name.
//!
//! avahi reads a file for it, now or whenever it is installed, without being told (it watches the folder). Host names and
//! addresses are not in the file: avahi fills in those that it has at the time. Power lost here: written at the next start.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use cluster::card::Card;
use cluster::discovery::{SERVICE, TXT_CLUSTER, TXT_ID, TXT_NODE, instance};
use cluster::identity::Role;
use cluster::wire::PORT;
use tokio::time::sleep;

use super::Pi;
use super::status::chain;
use crate::host::{Host, HostError};
use crate::retry::{Backoff, MANAGER};

/// Where avahi looks for services (avahi.service(5)).
pub(crate) const FILE: &str = "/etc/avahi/services/builder-swarm.service";

/// Announces a manager, and takes back what is left from when a worker was one. Says whether that is done.
pub(super) async fn settle(pi: &Pi) -> bool {
    let wanted = (pi.card.role == Role::Manager).then(|| text(&pi.card));
    match pi.blocking(move |host| place(host, wanted.as_deref())).await {
        Ok(Ok(())) => true,
        Ok(Err(error)) => {
            tracing::warn!("this manager is not announced: {}", chain(&error));
            false
        }
        Err(_) => false,
    }
}

/// [`settle`] until it is done, such as on a disk that was full.
pub(super) async fn retry(pi: Arc<Pi>) {
    let mut backoff = Backoff::new(MANAGER);
    loop {
        sleep(backoff.failed()).await;
        if settle(&pi).await {
            return;
        }
    }
}

/// Has the file be as wanted, or not be there.
fn place(host: &dyn Host, wanted: Option<&str>) -> Result<(), HostError> {
    let path = Path::new(FILE);
    let found = host.read(path)?;
    match wanted {
        Some(wanted) if found.as_deref() == Some(wanted.as_bytes()) => Ok(()),
        Some(wanted) => {
            let write = || host.write(path, wanted.as_bytes(), 0o644, None);
            match write() {
                // avahi is not installed yet. Its package takes the folder over.
                Err(HostError::File { source, .. }) if source.kind() == ErrorKind::NotFound => {
                    host.make_folder(path.parent().unwrap_or(path), 0o755, None)?;
                    write()
                }
                written => written,
            }
        }
        None if found.is_some() => host.remove(path),
        None => Ok(()),
    }
}

/// A static service of avahi (avahi.service(5)). Names of clusters and nodes have no character that XML knows.
fn text(card: &Card) -> String {
    let Card { cluster, cluster_id, node, .. } = card;
    let name = instance(cluster_id, node);
    format!(
        "<?xml version=\"1.0\" standalone=\"no\"?>\n\
         <!DOCTYPE service-group SYSTEM \"avahi-service.dtd\">\n\
         <!-- Written by firstboot: the other nodes find this manager by it. -->\n\
         <service-group>\n  <name>{name}</name>\n  <service protocol=\"ipv4\">\n    <type>{SERVICE}</type>\n    \
         <port>{PORT}</port>\n    <txt-record>{TXT_ID}={cluster_id}</txt-record>\n    \
         <txt-record>{TXT_CLUSTER}={cluster}</txt-record>\n    <txt-record>{TXT_NODE}={node}</txt-record>\n  \
         </service>\n</service-group>\n"
    )
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::host::fake::{FakeHost, Files, Limit, Node, Power};
    use crate::serve::tests::card;

    fn machine(power: &Arc<Power>, files: Files) -> FakeHost {
        FakeHost::new(Arc::clone(power), files, UNIX_EPOCH)
    }

    #[test]
    fn a_manager_is_announced_by_the_clusters_identity() {
        let (power, card) = (Arc::default(), card("red00", &[]));
        let host = machine(&power, Files::new());
        let wanted = text(&card);
        place(&host, Some(&wanted)).unwrap();
        let written = String::from_utf8(host.read(Path::new(FILE)).unwrap().unwrap()).unwrap();
        for part in [
            "<name>0123456789abcdef-red00</name>",
            "<type>_builder-swarm._tcp</type>",
            "<port>8377</port>",
            "<txt-record>id=0123456789abcdef</txt-record>",
            "<txt-record>node=red00</txt-record>",
        ] {
            assert!(written.contains(part), "{written}");
        }
        // It is written once: avahi would announce it anew.
        let effects = power.log().len();
        place(&host, Some(&wanted)).unwrap();
        assert_eq!(power.log().len(), effects);
    }

    #[test]
    fn the_folder_of_an_installed_avahi_keeps_its_mode() {
        let folder = Path::new(FILE).parent().unwrap().to_owned();
        let kept = Node::Folder { mode: 0o750, owner: None };
        let host = machine(&Arc::default(), Files::from([(folder.clone(), kept.clone())]));
        place(&host, Some("x")).unwrap();
        assert_eq!(host.files().get(&folder), Some(&kept));
    }

    #[test]
    fn a_worker_that_was_a_manager_is_announced_no_more() {
        let power = Arc::default();
        let host = machine(&power, Files::new());
        place(&host, Some("x")).unwrap();
        place(&host, None).unwrap();
        assert_eq!(host.read(Path::new(FILE)).unwrap(), None);
        let effects = power.log().len();
        place(&host, None).unwrap();
        assert_eq!(power.log().len(), effects, "other workers change nothing");
    }

    #[test]
    fn a_full_disk_is_an_error_that_passes() {
        let host = machine(&Arc::default(), Files::new()).with_limit(Limit::Room(0));
        assert!(place(&host, Some("x")).is_err());
    }
}
