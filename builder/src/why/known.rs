//! What to do about each problem that has a code, for cards and for Pis that ran before.
//!
//! In the texts, `NODE` is the node, `MANAGER` the first manager (the node itself if it is that), `SECRETS` the secrets
//! folder, `WRITE NAME` what writes a node's card again, and `SUBJECT` what the node said of the problem, or
//! the entry's own words for it. Commands stand in braces. `SUBJECT` comes from another machine, so it is never part of a command.

use cluster::wire::ProblemCode;

/// The advice about a problem.
#[derive(Debug, Clone, Copy)]
pub(super) struct Advice {
    /// Words for the subject where the node named none.
    pub(super) subject: &'static str,
    /// For a node whose card builder wrote.
    pub(super) card: &'static str,
    /// For a node that ran before, and has no card of ours.
    pub(super) running: &'static str,
}

/// The same for both kinds of nodes.
const fn both(subject: &'static str, text: &'static str) -> Advice {
    Advice { subject, card: text, running: text }
}

const fn each(card: &'static str, running: &'static str) -> Advice {
    Advice { subject: "", card, running }
}

/// The advice about a code. There is one for each, or this does not compile.
pub(super) const fn of(code: ProblemCode) -> Advice {
    use ProblemCode::*;
    match code {
        Revoked => each(
            "Its certificate was revoked. Write a card with a new one: WRITE NODE",
            "Its certificate was revoked. To give it a new one: {builder config}",
        ),
        NotPlanned => each(
            "The manager's card was written before NODE was in the cluster file, or NODE had another role then. Write \
             the manager's card again: WRITE MANAGER",
            "The manager was set up before NODE was in the cluster file, or NODE had another role then. Bring the \
             present file to all nodes: {builder config}",
        ),
        JoinWindowClosed => both(
            "",
            "It came after the join window, so the manager gives it no token. Open the window again: {builder up --reopen}",
        ),
        Dissolved => both("", "The swarm was dissolved on purpose. To form it again: {builder up}"),
        Removed => both("", "It was removed on purpose. To have it back: {builder up}"),
        LeftAsOrdered => {
            both("", "It left because of {builder kill} or {builder rm}. To have it back: {builder up}")
        }
        OldEntry => both(
            "",
            "The swarm still counts NODE's earlier installation as a member. This passes by itself within a minute.",
        ),
        DuplicateNode => each(
            "Two machines use NODE's card or a copy of it. Power one of them off, and give it a card of its own.",
            "Two machines report as NODE: one of them has a copy of the other's disk. Power one of them off, install \
             its operating system again, give it another name in the cluster file, and then: {builder config}",
        ),
        ManagerNotFound => Advice {
            subject: "MANAGER",
            card: "It finds no address for SUBJECT. Is SUBJECT on, and on the same network? Where `.local` names do \
                   not work, give MANAGER a fixed `address` in the cluster file, and write the cards again: WRITE NODE",
            running: "It finds no address for SUBJECT. Is SUBJECT on, and on the same network? If its address has \
                      changed, correct it in the cluster file, and then: {builder config}",
        },
        ManagerSilent => both(
            "MANAGER",
            "SUBJECT does not answer at the address that NODE knows. Is SUBJECT on, and on the same network? For what \
             keeps it from answering: {builder why MANAGER}",
        ),
        ManagerUntrusted => Advice {
            subject: "MANAGER",
            card: "What answers at SUBJECT's address belongs to another cluster. Were both cards written with the same \
                   secrets folder (SECRETS), and does no other machine use that address? To write the card again: \
                   WRITE NODE",
            running: "What answers at SUBJECT's address belongs to another cluster. Does another machine use that \
                      address? Bring the certificates of SECRETS to all nodes: {builder config}",
        },
        ForeignManager => Advice {
            subject: "another cluster's manager",
            card: "Where NODE looks for MANAGER, another cluster answers: SUBJECT. NODE goes on looking. Is MANAGER on, and \
                   on the same network? If that is MANAGER, both cards have to be written with the same secrets folder \
                   (SECRETS). If it is a neighbour's, give MANAGER a fixed `address` in the cluster file, or use other \
                   node names. Then write the cards again: WRITE NODE",
            running: "Where NODE looks for MANAGER, another cluster answers: SUBJECT. NODE goes on looking. Is MANAGER on, \
                      and on the same network? If it is, bring the certificates of SECRETS to all nodes: \
                      {builder config}",
        },
        AddressAmbiguous => Advice {
            subject: "several interfaces",
            card: "NODE has several addresses (SUBJECT) and no default route, so it cannot know which network the swarm \
                   is to use. Write its interface into the cluster file, such as `interface: eth0` under `swarm`, and \
                   write the card again: WRITE NODE",
            running: "NODE has several addresses (SUBJECT) and no default route, so it cannot know which network the \
                      swarm is to use. Give NODE a default route, or, in a cluster file, write the interface under \
                      `swarm`, such as `interface: eth0`, and then: {builder config}",
        },
        InterfaceWithoutAddress => Advice {
            subject: "its interface",
            card: "The cluster file names SUBJECT for the swarm, and NODE has no IPv4 address there. Is its cable in, or \
                   its Wi-Fi on, and is the name right? If you correct `interface` under `swarm`, write the card again: \
                   WRITE NODE",
            running: "The cluster file names SUBJECT for the swarm, and NODE has no IPv4 address there. Is its cable in, \
                      or its Wi-Fi on, and is the name right? If you correct `interface` under `swarm`: {builder config}",
        },
        Ipv6Only => Advice {
            subject: "its interfaces",
            card: "The network gives NODE only IPv6 addresses (SUBJECT), and the nodes need IPv4 among themselves. Switch \
                   DHCP for IPv4 on in the router, or give all nodes fixed addresses (`addresses` under `network`) in the \
                   cluster file and write the cards again: WRITE NODE",
            running: "The network gives NODE only IPv6 addresses (SUBJECT), and the nodes need IPv4 among themselves. \
                      Switch DHCP for IPv4 on in the router, or set an IPv4 address on NODE and all other nodes.",
        },
        SwarmPortUnreachable => both(
            "2377",
            "The manager's agent answers, but Docker does not answer at TCP port SUBJECT of the manager. Does a \
             firewall block that port? For the manager's own state: {builder why MANAGER}",
        ),
        NoRoute => both(
            "",
            "It has no route to the manager. Are NODE and MANAGER on the same network, with the same netmask?",
        ),
        PortTaken => both(
            "2377",
            "Another program listens on TCP port SUBJECT, which Swarm needs. Stop it; to see which one it is: \
             {ssh -t -F SECRETS/ssh_config NODE sudo ss -tlnp}",
        ),
        OverlayPortTaken => both(
            "7946",
            "Another program listens on port SUBJECT, so containers on NODE do not reach those on other nodes. Stop \
             it and restart Docker; to see which one it is: {ssh -t -F SECRETS/ssh_config NODE sudo ss -tulnp}",
        ),
        DiskFull => each(
            "Its card is full. Delete what is not needed, or use a larger card (8 GB at least, better 16 GB): WRITE NODE",
            "Its disk is full. Delete what is not needed; to see how much is left: \
             {ssh -F SECRETS/ssh_config NODE df -h}",
        ),
        DiskReadOnly => each(
            "Its card can no longer be written: it is worn out or broken. Write a new one: WRITE NODE",
            "Its disk can no longer be written: it is worn out or broken. Replace it, install the operating system \
             again, and then: {builder config}",
        ),
        DiskBroken => each(
            "Its card has errors: it is worn out or broken. Write a new one: WRITE NODE",
            "Its disk has errors: it is worn out or broken. Replace it, install the operating system again, and then: \
             {builder config}",
        ),
        ClockWrong => both(
            "",
            "Its clock is wrong. Let NODE reach a time server (UDP port 123), or set its clock. A worker also takes \
             the time of a manager that it reaches.",
        ),
        NoNameServer => both(
            "package servers",
            "It cannot resolve the name of SUBJECT, so nothing can be downloaded. Does its network lead to the \
             Internet, and does the network name a name server (DHCP)?",
        ),
        PackageServerUnreachable => both(
            "the package server",
            "It cannot connect to SUBJECT. Does its network lead to the Internet, or is there a proxy or firewall in \
             between?",
        ),
        RepositoryUntrusted => both(
            "a package repository",
            "The signature of SUBJECT cannot be verified. If somebody added this repository by hand, install its key \
             or remove its file from /etc/apt/sources.list.d. If not, does a proxy change downloads?",
        ),
        RepositoryExpired => both(
            "a package repository",
            "The index of SUBJECT has expired. Either the clock of NODE is ahead, or this release of the operating \
             system gets no more updates: use a newer one.",
        ),
        RepositoryMissing => both(
            "A package repository",
            "SUBJECT does not have this release of the operating system. Is the repository's address right? A proxy \
             setting without `http://` has this effect, too.",
        ),
        PackageMissing => each(
            "No package repository has the package or the version that it needs. Is `version` under `docker` in the \
             cluster file right? If you correct it, write the card again: WRITE NODE",
            "No package repository has the package or the version that it needs. Is `version` under `docker` in the \
             cluster file right? If you correct it: {builder config}",
        ),
        DownloadDamaged => both(
            "",
            "What it downloaded is not what the repository's index says. Mirrors are like this for minutes while they \
             are updated. If it lasts, does a proxy change downloads or keep old ones?",
        ),
        PackageBroken => both(
            "A package",
            "SUBJECT cannot be configured, so apt does not finish. For its error: \
             {ssh -t -F SECRETS/ssh_config NODE sudo dpkg --configure -a}",
        ),
        PackageConflict => Advice {
            subject: "Packages of the owner",
            card: "SUBJECT would be removed for the Docker that NODE is to get, and the agent removes nothing that was there \
                   before. Remove what is in the way: {ssh -t -F SECRETS/ssh_config NODE sudo apt-get remove PACKAGE}. Or \
                   take the other Docker, `source: debian` or `source: docker` under `docker` in the cluster file: WRITE NODE",
            running: "SUBJECT would be removed for the Docker that NODE is to get, and the agent removes nothing that was \
                      there before. Take the other Docker: {builder config --docker debian} or {builder config --docker \
                      docker}. Or remove what is in the way: {ssh -t -F SECRETS/ssh_config NODE sudo apt-get remove PACKAGE}",
        },
        PackagesLocked => both(
            "",
            "Another program is installing packages on NODE, such as unattended-upgrades. This passes by itself; if \
             not: {ssh -t -F SECRETS/ssh_config NODE sudo fuser -v /var/lib/dpkg/lock-frontend}",
        ),
        SystemUnsupported => each(
            "The image's operating system is not supported. Choose another image ({builder images list}), put it into \
             the cluster file, and write the card again: WRITE NODE",
            "Its operating system is not supported. Install Raspberry Pi OS, Debian or Ubuntu on it, and then: \
             {builder config}",
        ),
        DockerSilent => both(
            "",
            "Docker does not answer on NODE. For its log: {ssh -F SECRETS/ssh_config NODE journalctl -u docker}",
        ),
        SwarmLocked => both(
            "",
            "The swarm is locked, and Docker on NODE waits for its key. To enter it: \
             {ssh -t -F SECRETS/ssh_config NODE sudo docker swarm unlock}",
        ),
        SwarmGone => each(
            "This manager's swarm is gone, and it does not start a second one, which would leave every worker behind. \
             Restore /var/lib/docker/swarm from a backup, or write all cards again: {sudo builder flash}, or the images: \
             {builder build --force}",
            "This manager's swarm is gone, and it does not start a second one, which would leave every worker behind. \
             Restore /var/lib/docker/swarm from a backup, or start another: {ssh -t -F SECRETS/ssh_config NODE \
             'sudo rm /var/lib/firstboot/journal.json; sudo systemctl restart firstboot'}",
        ),
        SwarmExpired => both(
            "",
            "Swarm's certificates expired while Docker was off, and the only manager cannot renew them. If the clock \
             of NODE is right, start a new swarm, without the services of the old one: \
             {ssh -t -F SECRETS/ssh_config NODE 'sudo docker swarm leave --force; \
             sudo rm /var/lib/firstboot/journal.json; sudo systemctl restart firstboot'}",
        ),
        SwarmBroken => both(
            "",
            "Swarm does not work on NODE; the last message has Docker's reason. For Docker's log: \
             {ssh -F SECRETS/ssh_config NODE journalctl -u docker}",
        ),
        NoQuorum => both(
            "",
            "Too few managers are reachable: more than half of them must be on. To see which ones are missing: \
             {builder status}",
        ),
        PayloadDamaged => each(
            "What the card brought for its agent is missing or damaged. Write the card again: WRITE NODE",
            "What the agent needs is missing or damaged. To bring it again: {builder config}",
        ),
    }
}
