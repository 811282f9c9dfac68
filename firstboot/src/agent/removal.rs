//! Members that the operator has removed: their tasks go elsewhere, they are told to leave with the answers to their
//! reports, and their entries go once they are down. Who does not leave in good time is taken out by force.
//!
//! Every manager does this. What another has done already is no trouble.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use serde_json::json;

use super::Pi;
use super::status::chain;
use crate::engine::{Engine, EngineError, Node, Refusal};
use crate::serve::Members;

/// How long a member that was removed may go on before it is taken out by force. Members report every 15 s,
/// and Swarm takes as long to notice that one is gone.
const PATIENCE: Duration = Duration::from_secs(60);

/// Members on their way out, and since when.
#[derive(Debug, Default)]
pub(super) struct Removals {
    since: HashMap<String, Instant>,
}

impl Removals {
    /// Brings every removal one step further; says whether there are any.
    pub(super) async fn enforce(&mut self, pi: &Pi, members: &Members<'_>) -> Result<bool, EngineError> {
        let journal = pi.journal.get();
        let own = pi.status.report().swarm_node;
        let going: Vec<_> = members
            .iter()
            .filter(|(node, _)| Some(&node.id) != own.as_ref())
            .filter(|(node, owner)| {
                owner.is_some_and(|owner| journal.orders.is_dismissed(owner))
                    || journal.strangers.contains(&node.id)
            })
            .collect();
        self.since.retain(|id, _| going.iter().any(|(node, _)| node.id == *id));
        for (node, _) in &going {
            let since = *self.since.entry(node.id.clone()).or_insert_with(Instant::now);
            let by_force = since.elapsed() > PATIENCE;
            passed_by(step(&pi.engine, node, by_force).await)?;
        }
        // A stranger that is gone needs no note.
        let is_listed = |id: &String| members.iter().any(|(node, _)| node.id == *id);
        if let Err(error) = pi.journal.settle(|journal| journal.strangers.retain(is_listed)) {
            tracing::warn!("{}", chain(&error));
        }
        Ok(!going.is_empty())
    }
}

async fn step(engine: &Engine, node: &Node, by_force: bool) -> Result<(), EngineError> {
    let name = &node.description.hostname;
    if node.manager_status.is_some() {
        tracing::info!("making {name} a worker, so that it can go");
        return engine.demote(node).await;
    }
    if node.is_down() {
        engine.remove_node(&node.id).await?;
        tracing::info!("removed {name} ({}) as the operator wants it", node.id);
        return Ok(());
    }
    if by_force {
        engine.expel_node(&node.id).await?;
        tracing::warn!("{name} ({}) did not leave as the operator wants it: removed by force", node.id);
        return Ok(());
    }
    drain(engine, node).await
}

/// Has what runs on a node run elsewhere.
pub(crate) async fn drain(engine: &Engine, node: &Node) -> Result<(), EngineError> {
    if node.read_spec().availability == "drain" {
        return Ok(());
    }
    let mut spec = node.spec.clone();
    if let Some(fields) = spec.as_object_mut() {
        fields.insert("Availability".to_owned(), json!("drain"));
    }
    engine.update_node(&node.id, node.version.index, &spec).await
}

/// Another manager was quicker, or the node has come back: the next round sees it as it is.
fn passed_by(result: Result<(), EngineError>) -> Result<(), EngineError> {
    match result {
        Err(error)
            if matches!(
                error.refusal(),
                Some(Refusal::OutOfSequence | Refusal::NotDown | Refusal::NoSuchNode)
            ) =>
        {
            Ok(())
        }
        result => result,
    }
}
