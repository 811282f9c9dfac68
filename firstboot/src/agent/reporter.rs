//! Tells the manager what this node does, beside the steps, for as long as the node runs.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use cluster::wire::{ReportReply, Stage};
use tokio::time::{sleep, timeout};

use super::link::LinkError;
use super::{Pi, facts, status};
use crate::retry::{Backoff, FORMING, MANAGER};

/// While the board changes.
const BUSY: Duration = Duration::from_secs(1);
/// Between joining and being seen ready, when a person is waiting for the last word.
const EAGER: Duration = Duration::from_millis(300);
/// Once the node is a member.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Clocks further apart than this are not taken for equal. Swarm tolerates five minutes.
const TOLERANCE_MS: u64 = 5_000;

/// Reports for ever.
pub(super) async fn run(pi: Arc<Pi>) {
    let (mut forming, mut member) = (Backoff::new(FORMING), Backoff::new(MANAGER));
    let mut turned_away = false;
    loop {
        let report = pi.report();
        let pause = match pi.link.report(&report).await {
            Ok(reply) => {
                forming.succeeded();
                member.succeeded();
                if std::mem::take(&mut turned_away) {
                    pi.status.change(|report| report.error = None);
                }
                adopt_clock(&pi, &reply);
                // Whoever waits for it has to know that what was said is what there is to say.
                if pi.status.report() == report {
                    pi.status.tell();
                }
                pace(report.stage, report.swarm_node.is_some()).mul_f64(rand::random_range(0.8..1.2))
            }
            Err(error) => {
                let backoff = if report.stage == Stage::Ready { &mut member } else { &mut forming };
                let pause = backoff.failed();
                let line = status::chain(&error);
                if matches!(error, LinkError::Refused { status: 403, .. }) {
                    // The manager hears nothing of it, so the card has to tell.
                    turned_away = true;
                    pi.status.fail(line.clone(), false);
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

fn pace(stage: Stage, member: bool) -> Duration {
    match stage {
        Stage::Ready => HEARTBEAT,
        Stage::Swarm if member => EAGER,
        _ => BUSY,
    }
}

/// Without network time, the manager's word is the best there is: it came over mutual TLS.
fn adopt_clock(pi: &Pi, reply: &ReportReply) {
    if pi.status.is_clock_synced() || !pi.may_adopt_clock() {
        return;
    }
    let ours = facts::unix_ms(pi.host.as_ref());
    if let Some(theirs) = better_clock(ours, reply) {
        tracing::warn!("no network time: stepping the clock from {ours} to the manager's {theirs}");
        if let Err(error) = pi.host.set_clock(UNIX_EPOCH + Duration::from_millis(theirs)) {
            tracing::warn!("{}", status::chain(&error));
        }
    }
}

/// The manager's time, if it is known to be right, or later than ours: what is later can only be nearer to the truth.
fn better_clock(ours: u64, reply: &ReportReply) -> Option<u64> {
    let apart = ours.abs_diff(reply.unix_ms) > TOLERANCE_MS;
    (apart && (reply.clock_synced || reply.unix_ms > ours)).then_some(reply.unix_ms)
}

#[cfg(test)]
mod tests {
    use cluster::wire::Want;

    use super::*;

    fn reply(unix_ms: u64, clock_synced: bool) -> ReportReply {
        ReportReply { unix_ms, clock_synced, want: Want::Run, swarm: None }
    }

    #[test]
    fn takes_the_managers_time_when_it_is_surer_or_later() {
        let ours = 1_790_000_000_000;
        assert_eq!(better_clock(ours, &reply(ours + 60_000, false)), Some(ours + 60_000));
        assert_eq!(better_clock(ours, &reply(ours - 60_000, true)), Some(ours - 60_000));
        assert_eq!(better_clock(ours, &reply(ours - 60_000, false)), None);
        assert_eq!(better_clock(ours, &reply(ours + 900, true)), None);
    }

    #[test]
    fn hurries_only_while_somebody_waits() {
        assert!(pace(Stage::Swarm, true) < pace(Stage::Docker, false));
        assert!(pace(Stage::Ready, true) >= Duration::from_secs(10));
    }
}
