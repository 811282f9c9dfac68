//! How managers are found by multicast DNS, although several clusters on one network may use the same node names.
//!
//! `red00.local` belongs to whichever machine claimed it first; mDNS responders give the others `red00-2.local` and so on
//! (RFC 6762 §9). So a manager also announces a service whose name contains the cluster's identity (DNS-SD, RFC 6763).
//! Nothing of this is trusted: an answer is a candidate, and its certificate decides.

use crate::name::{ClusterId, Hostname};

/// The service type of a manager's API, without its domain. At most 15 characters (RFC 6335 §5.1).
pub const SERVICE: &str = "_builder-swarm._tcp";
/// Key of the TXT record with the cluster's identity.
pub const TXT_ID: &str = "id";
/// Key of the TXT record with the cluster's name.
pub const TXT_CLUSTER: &str = "cluster";
/// Key of the TXT record with the manager's planned name.
pub const TXT_NODE: &str = "node";

/// Longest label in DNS, in bytes (RFC 1035 §2.3.4).
const LABEL: usize = 63;
/// How many other names a machine is looked for under. Each is a question to the whole network.
const OTHERS: u32 = 3;

/// The name of a manager's service instance, such as `0123456789abcdef-red00`. The end of a very long node name is missing.
pub fn instance(cluster: &ClusterId, manager: &Hostname) -> String {
    format!("{cluster}-{manager}").chars().take(LABEL).collect()
}

/// The host names that avahi gives to a machine whose own name is taken, in that order: it counts up a number at the end
/// (`avahi_alternative_host_name`). Managers of before the service are found by them.
pub fn other_names(name: &Hostname) -> Vec<String> {
    let text = name.as_str();
    let numbered = text.rsplit_once('-').filter(|(_, digits)| !digits.starts_with('0'));
    let numbered = numbered.and_then(|(stem, digits)| Some((stem, digits.parse::<u32>().ok()?)));
    let (stem, last) = numbered.unwrap_or((text, 1));
    (1..=OTHERS)
        .map(|more| last.saturating_add(more).to_string())
        .map(|number| {
            let room = LABEL.saturating_sub(number.len() + 1);
            format!("{}-{number}", stem.chars().take(room).collect::<String>())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hostname(text: &str) -> Hostname {
        Hostname::try_from(text).unwrap()
    }

    #[test]
    fn the_service_of_a_manager_has_the_clusters_identity() {
        let id = ClusterId::try_from("0123456789abcdef").unwrap();
        assert_eq!(instance(&id, &hostname("red00")), "0123456789abcdef-red00");
        assert_eq!(instance(&id, &hostname(&"r".repeat(63))).len(), LABEL);
        assert!(SERVICE.trim_start_matches('_').trim_end_matches("._tcp").len() <= 15);
    }

    /// As avahi 0.8 counts.
    #[test]
    fn other_names_are_those_that_avahi_chooses() {
        assert_eq!(other_names(&hostname("red00")), ["red00-2", "red00-3", "red00-4"]);
        assert_eq!(other_names(&hostname("pi-7")), ["pi-8", "pi-9", "pi-10"]);
        assert_eq!(other_names(&hostname("pi-07"))[0], "pi-07-2");
        assert_eq!(other_names(&hostname("pi-kitchen"))[0], "pi-kitchen-2");
        let long = other_names(&hostname(&"r".repeat(63)));
        assert!(long.iter().all(|name| name.len() == LABEL && Hostname::try_from(name.as_str()).is_ok()));
    }
}
