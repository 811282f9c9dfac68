//! Leaving, staying out and coming back, as the operator says. What the orders mean is in [`crate::orders`].
//!
//! A worker leaves at once. A manager goes last when the swarm ends, which is housekeeping's affair, and one that is
//! removed goes when the others have made it a worker. Who is out stays on the board, and comes back when it hears of a
//! newer order.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cluster::identity::Role;
use cluster::orders::Orders;
use cluster::wire::Stage;
use reqwest::Method;
use tokio::time::sleep;

use super::Pi;
use super::status::chain;
use crate::journal::JournalError;
use crate::retry::{Backoff, LOCAL};
use crate::steps::{StepError, swarm};

/// Between two looks at what the orders are now.
const LOOK: Duration = Duration::from_millis(250);
/// How long a removed manager waits for the others to make it a worker.
const DEMOTION: Duration = Duration::from_secs(60);
/// Between two questions to the other managers.
const EXCHANGE: Duration = Duration::from_secs(5);

/// Takes what the operator said, or what a manager knows of it. It is on the disk afterwards.
pub(crate) fn take(pi: &Pi, told: &Orders) -> Result<(), JournalError> {
    let before = pi.journal.look(|journal| journal.orders.clone());
    pi.journal.settle(|journal| journal.take(told, &pi.card.node))?;
    if pi.journal.look(|journal| journal.orders != before) {
        tracing::info!("the operator's orders have changed");
        pi.status.orders.notify_one();
    }
    Ok(())
}

/// Asks the other managers for the orders, for ever: this one may have been off.
pub(super) async fn exchange(pi: Arc<Pi>) {
    loop {
        let answers = pi.link.ask_each::<Orders>(Method::GET, "/v1/orders", None::<&()>).await;
        for told in answers.into_iter().filter_map(|(_, answer)| answer.ok()) {
            if let Err(error) = take(&pi, &told) {
                tracing::warn!("{}", chain(&error));
            }
        }
        sleep(EXCHANGE.mul_f64(rand::random_range(0.8..1.2))).await;
    }
}

/// Whether there is an order to leave that this node has not followed.
pub(crate) fn has_to_leave(pi: &Pi) -> bool {
    pi.journal.look(|journal| journal.has_to_leave(&pi.card.node))
}

/// Whether this node is in no swarm because the operator said so.
fn has_left(pi: &Pi) -> bool {
    pi.journal.look(|journal| journal.has_left(&pi.card.node))
}

/// Whether this node is not to be in the swarm that its engine may be in.
pub(super) fn is_out(pi: &Pi) -> bool {
    has_left(pi) || has_to_leave(pi)
}

/// Whether this is a manager that has to leave because the swarm ends.
pub(super) fn is_ending(pi: &Pi) -> bool {
    pi.card.role == Role::Manager && pi.journal.look(|journal| journal.orders.killed > journal.settled)
}

/// Waits until there is an order to leave.
pub(super) async fn ordered_out(pi: &Pi) {
    while !has_to_leave(pi) {
        sleep(LOOK).await;
    }
}

/// Leaves if that is wanted, stays out for as long as it is, and returns once this node is to be a member.
pub(super) async fn follow(pi: &Pi) {
    let (mut backoff, since) = (Backoff::new(LOCAL), Instant::now());
    loop {
        if has_to_leave(pi) {
            let mut pause = LOOK;
            if !is_ending(pi)
                && may_go(pi, since).await
                && let Err(error) = leave_for_good(pi).await
            {
                pause = backoff.failed();
                if backoff.is_loud() {
                    tracing::warn!("{}", chain(&error));
                }
            }
            sleep(pause).await;
        } else if has_left(pi) {
            stay_out(pi);
            backoff.succeeded();
            sleep(LOOK).await;
        } else {
            return;
        }
    }
}

/// A manager that left would stay a member in the eyes of the others.
async fn may_go(pi: &Pi, since: Instant) -> bool {
    if pi.card.role == Role::Worker || since.elapsed() > DEMOTION || !has_docker(pi) {
        return true;
    }
    pi.engine.info().await.is_ok_and(|info| !info.swarm.control_available)
}

fn stay_out(pi: &Pi) {
    pi.status.enter(Stage::Swarm);
    pi.status.say("left the swarm as told");
}

/// Whether this node ever got as far as having Docker. Before that it was in no swarm of ours.
pub(super) fn has_docker(pi: &Pi) -> bool {
    pi.status.report().marks.iter().any(|mark| mark.stage == Stage::Docker)
}

/// Leaves because the operator said so, and remembers it.
///
/// Power lost here: the journal has the order; leaving twice is no error.
pub(super) async fn leave_for_good(pi: &Pi) -> Result<(), StepError> {
    // What keeps it from leaving stays on the board until it has left.
    if pi.status.report().error.is_none() {
        pi.status.say("leaving the swarm as told");
    }
    let left = if has_docker(pi) { swarm::leave(pi).await } else { Ok(()) };
    let remember = || pi.journal.update(|journal| journal.leave(&pi.card.node)).map_err(StepError::Journal);
    if let Err(error) = left.and_then(|()| remember()) {
        pi.status.fail(chain(&error), error.cause(), false);
        return Err(error);
    }
    pi.status.change(|report| {
        report.swarm_node = None;
        report.marks.retain(|mark| mark.stage < Stage::Swarm);
    });
    stay_out(pi);
    pi.status.news.notify_one();
    Ok(())
}
