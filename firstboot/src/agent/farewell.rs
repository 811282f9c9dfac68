//! The words of an agent that cannot even start, because its payload or its journal cannot be used: written on the card, and
//! told to the board as far as the rest still says where that is.

use std::sync::Arc;

use cluster::card::{self, Card, Hints, Start};
use tokio::time::{sleep, timeout};

use super::link::Link;
use super::status::{Status, chain};
use super::{AgentError, FAREWELL, Options, diary, seed_problems};
use crate::host::Host;
use crate::retry::{Backoff, MANAGER};
use crate::tls::{self, Credentials};

/// The last word. It goes to a manager, unless there is none to be found in good time; the only manager has nobody to tell.
pub(super) async fn tell(host: &Arc<dyn Host>, options: &Options, trouble: &AgentError) {
    let status = status(host, options, trouble);
    diary::last_word(host.as_ref(), &status);
    let Some(link) = link(host, options) else { return };
    let report = status.report();
    let mut backoff = Backoff::new(MANAGER);
    let telling = timeout(FAREWELL, async {
        while let Err(error) = link.report(&report).await {
            tracing::debug!("{}", chain(&error));
            sleep(backoff.failed()).await;
        }
    });
    if telling.await.is_err() {
        tracing::warn!("nobody could be told");
    }
}

/// What is in the way just now, for whoever listens; on the card only if it is `new`.
pub(super) async fn mention(host: &Arc<dyn Host>, options: &Options, trouble: &AgentError, new: bool) {
    let status = status(host, options, trouble);
    if new {
        diary::last_word(host.as_ref(), &status);
    }
    if let Some(link) = link(host, options)
        && let Err(error) = link.report(&status.report()).await
    {
        tracing::debug!("{}", chain(&error));
    }
}

fn status(host: &Arc<dyn Host>, options: &Options, trouble: &AgentError) -> Status {
    let status = Status::new(Vec::new(), seed_problems(host.as_ref(), &options.state));
    status.say("cannot start");
    status.fail(chain(trouble), trouble.cause(), !trouble.is_transient());
    status
}

fn link(host: &Arc<dyn Host>, options: &Options) -> Option<Link> {
    let file = |name: &str| host.read(&options.state.join(name)).ok().flatten().unwrap_or_default();
    let tls =
        Credentials::load(host.as_ref(), &options.state).and_then(|credentials| credentials.client()).ok()?;
    let identity = tls::holder_of_pem(&file(card::NODE_CERT))?;
    let hints = Hints {
        identity: Some(identity),
        node: None,
        user: None,
        authorized_keys: Vec::new(),
        start: Start::default(),
    };
    let card = Arc::new(Card::salvage(&file(card::CARD), hints));
    card.managers().any(|manager| manager.name != card.node).then_some(())?;
    Some(Link::new(card, Arc::clone(host), None, tls, options.port))
}
