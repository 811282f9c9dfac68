//! Tells the manager what this node does, beside the steps, for as long as the node runs.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cluster::wire::{Proof, Report, Stage};
use tokio::time::{sleep, timeout};

use super::link::{Foreign, LinkError};
use super::status::Topic;
use super::{Pi, life, status};
use crate::proof::Statement;
use crate::retry::{Backoff, FORMING, MANAGER};
use crate::steps::clock;

/// While the board changes.
const BUSY: Duration = Duration::from_secs(1);
/// Between joining and being seen ready, when a person is waiting for the last word.
const EAGER: Duration = Duration::from_millis(300);
/// While the node is out of the swarm as told, for months perhaps, and a person waits when it is wanted again.
const OUT: Duration = Duration::from_secs(5);
/// Once the node is a member.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// Proofs in a row that are sent without delay. Later ones come with the next reports: something is wrong then.
const PROOFS: u32 = 5;
/// Docker's data folder, where the engine does not say it.
const DOCKER: &str = "/var/lib/docker";

/// Reports for ever.
pub(super) async fn run(pi: Arc<Pi>) {
    let (mut forming, mut member) = (Backoff::new(FORMING), Backoff::new(MANAGER));
    // The reporter's own error, which the manager does not hear of: the card has to tell.
    let mut failure = None::<String>;
    let (mut nonce, mut proofs) = (None::<String>, 0);
    loop {
        let report = pi.report();
        let proof = match (&nonce, &report.swarm_node) {
            (Some(nonce), Some(id)) => prove(&pi, nonce, id).await,
            _ => None,
        };
        let pause = match pi.link.report(&Report { proof, ..report.clone() }).await {
            Ok(reply) => {
                nonce = reply.nonce;
                proofs = if nonce.is_some() { proofs + 1 } else { 0 };
                if let Err(error) = life::take(&pi, &reply.orders) {
                    tracing::warn!("{}", status::chain(&error));
                }
                forming.succeeded();
                member.succeeded();
                pi.status.change(|report| withdraw(report, failure.take()));
                warn_of_neighbours(&pi);
                clock::follow(&pi).await;
                // Whoever waits for it has to know that what was said is what there is to say.
                if pi.status.report() == report {
                    pi.status.tell();
                }
                let pace = if (1..=PROOFS).contains(&proofs) { EAGER } else { pace(&report) };
                pace.mul_f64(rand::random_range(0.8..1.2))
            }
            Err(error) => {
                let backoff = if report.stage == Stage::Ready { &mut member } else { &mut forming };
                let pause = backoff.failed();
                let line = status::without_tokens(&status::chain(&error));
                let is_new = error.needs_a_person() && failure.as_ref() != Some(&line);
                if error.needs_a_person() {
                    pi.status.fail(line.clone(), error.cause(), false);
                    failure = Some(line.clone());
                } else {
                    pi.status.change(|report| withdraw(report, failure.take()));
                }
                if !matches!(error, LinkError::Foreign { .. }) {
                    warn_of_neighbours(&pi);
                }
                if is_new || backoff.is_loud() {
                    tracing::warn!("{line}");
                } else {
                    tracing::debug!("{line}");
                }
                pause
            }
        };
        // News may cut a pause short, but not to less than a moment: steps change several things at once.
        sleep(pause.min(Duration::from_millis(200))).await;
        _ = timeout(pause, pi.status.news.notified()).await;
    }
}

/// Proves that an entry of the node list is this node's. The manager asks again if there is no proof.
async fn prove(pi: &Pi, nonce: &str, id: &str) -> Option<Proof> {
    let root = pi.engine.info().await.map(|info| info.docker_root_dir).unwrap_or_default();
    let root = PathBuf::from(if root.is_empty() { DOCKER.to_owned() } else { root });
    let name = id.to_owned();
    let (card, key, id, nonce) = (Arc::clone(&pi.card), pi.key.clone(), id.to_owned(), nonce.to_owned());
    let proof = pi.blocking(move |host| {
        let (cluster, node) = (&card.cluster_id, &card.node);
        Statement { cluster, node, key: &key, entry: &id, nonce: &nonce }.prove(host, &root)
    });
    match proof.await {
        Ok(Ok(proof)) => Some(proof),
        Ok(Err(error)) => {
            tracing::warn!("cannot prove the Swarm id {name}: {}", status::chain(&error));
            None
        }
        Err(error) => {
            tracing::debug!("{}", status::chain(&error));
            None
        }
    }
}

/// Takes the reporter's error off the board, unless a step has put another one there.
fn withdraw(report: &mut Report, failure: Option<String>) {
    if failure.is_some() && report.error.as_ref().map(|error| &error.message) == failure.as_ref() {
        report.error = None;
    }
}

/// Has the board and the log name the other clusters' managers that were met on the way to the own one.
fn warn_of_neighbours(pi: &Pi) {
    let met = pi.link.foreign();
    pi.status.warn(Topic::Neighbours, met.iter().map(Foreign::warning).collect());
}

fn pace(report: &Report) -> Duration {
    match report.stage {
        _ if report.left.is_some() => OUT,
        Stage::Ready => HEARTBEAT,
        Stage::Swarm if report.swarm_node.is_some() => EAGER,
        _ => BUSY,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hurries_only_while_somebody_waits() {
        let at = |stage, member: Option<&str>, left| {
            let base = status::Status::new(Vec::new(), Vec::new()).report();
            pace(&Report { stage, swarm_node: member.map(str::to_owned), left, ..base })
        };
        assert!(at(Stage::Swarm, Some("a"), None) < at(Stage::Docker, None, None));
        assert!(at(Stage::Ready, Some("a"), None) >= Duration::from_secs(10));
        assert!(at(Stage::Swarm, None, Some(7)) > at(Stage::Swarm, None, None));
    }
    #[test]
    fn an_error_of_a_step_is_not_withdrawn_by_the_reporter() {
        let status = status::Status::new(Vec::new(), Vec::new());
        status.fail("manager red00 is not found".to_owned(), None, false);
        status.change(|report| withdraw(report, None));
        status.change(|report| withdraw(report, Some("another line".to_owned())));
        assert!(status.report().error.is_some());
        status.change(|report| withdraw(report, Some("manager red00 is not found".to_owned())));
        assert!(status.report().error.is_none());
    }
}
