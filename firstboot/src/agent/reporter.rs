//! Tells the manager what this node does, beside the steps, for as long as the node runs.

use std::sync::Arc;
use std::time::Duration;

use cluster::wire::{Report, Stage};
use tokio::time::{sleep, timeout};

use super::link::LinkError;
use super::{Pi, life, status};
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

/// Reports for ever.
pub(super) async fn run(pi: Arc<Pi>) {
    let (mut forming, mut member) = (Backoff::new(FORMING), Backoff::new(MANAGER));
    let mut turned_away = false;
    loop {
        let report = pi.report();
        let pause = match pi.link.report(&report).await {
            Ok(reply) => {
                if let Err(error) = life::take(&pi, &reply.orders) {
                    tracing::warn!("{}", status::chain(&error));
                }
                forming.succeeded();
                member.succeeded();
                if std::mem::take(&mut turned_away) {
                    pi.status.change(|report| report.error = None);
                }
                clock::follow(&pi).await;
                // Whoever waits for it has to know that what was said is what there is to say.
                if pi.status.report() == report {
                    pi.status.tell();
                }
                pace(&report).mul_f64(rand::random_range(0.8..1.2))
            }
            Err(error) => {
                let backoff = if report.stage == Stage::Ready { &mut member } else { &mut forming };
                let pause = backoff.failed();
                let line = status::chain(&error);
                if matches!(error, LinkError::Refused { status: 403, .. }) {
                    // The manager hears nothing of it, so the card has to tell.
                    turned_away = true;
                    pi.status.fail(line.clone(), error.cause(), false);
                }
                if backoff.is_loud() {
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
}
