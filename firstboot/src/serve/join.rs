//! `POST /v1/join`: the token, for planned nodes only, while there is reason to give it.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use cluster::identity::{Holder, Role};
use cluster::name::Hostname;
use cluster::wire::{JoinReply, ProblemCode};

use super::{Api, Members, Peer, coded, problem};
use crate::agent::door;
use crate::agent::status::chain;
use crate::engine::{EngineError, Node, SWARM_PORT};
use crate::journal::Progress;

/// How long a manager that was let in has before the next one may. Joining takes seconds, or the engine gives up.
const ENTER: Duration = Duration::from_secs(60);

pub(super) async fn post(State(api): State<Arc<Api>>, Extension(peer): Extension<Peer>) -> Response {
    let Holder::Node { role, name } = &peer.identity.holder else {
        return problem(StatusCode::FORBIDDEN, "only nodes join");
    };
    let later = |error: &EngineError| {
        tracing::debug!("{name} has to wait: {}", chain(error));
        problem(StatusCode::SERVICE_UNAVAILABLE, "waiting for the manager to start the swarm")
    };
    // Read afresh: a list that is only a moment old could give a token to who has just joined.
    let nodes = match api.pi.engine.nodes().await {
        Ok(nodes) => nodes,
        Err(error) => return later(&error),
    };
    let journal = api.pi.journal.get();
    if journal.orders.is_dissolved() {
        let message = "the operator has dissolved this swarm";
        return coded(StatusCode::FORBIDDEN, ProblemCode::Dissolved, message);
    }
    if journal.orders.is_dismissed(name) {
        let message = "the operator has removed this node";
        return coded(StatusCode::FORBIDDEN, ProblemCode::Removed, message);
    }
    if journal.has_to_leave(&api.pi.card.node) {
        return problem(StatusCode::SERVICE_UNAVAILABLE, "the swarm before this one is still ending");
    }
    // The tokens are about to change.
    if journal.init == Progress::Started {
        return problem(StatusCode::SERVICE_UNAVAILABLE, "waiting for the manager to start the swarm");
    }
    let members = api.members(&nodes);
    if let Err((status, code, why)) = judge(name, &members, door::is_open(&api.pi), &journal.joined) {
        // A conflict passes by itself and is asked about every second.
        if status == StatusCode::CONFLICT {
            tracing::debug!("{name} at {} has to wait: {why}", peer.address);
        } else if let Some(times) = api.logged.count((peer.key.clone(), why)) {
            tracing::warn!("{name} at {} is not let in: {why}{times}", peer.address);
        }
        return coded(status, code, why);
    }
    if *role == Role::Manager
        && let Err(why) = admit_manager(&api, name, &members).await
    {
        tracing::debug!("{name} has to wait: {why}");
        return problem(StatusCode::SERVICE_UNAVAILABLE, why);
    }
    let swarm = match api.pi.engine.swarm().await {
        Ok(swarm) => swarm,
        Err(error) => return later(&error),
    };
    let token = match role {
        Role::Worker => swarm.join_tokens.worker,
        Role::Manager => swarm.join_tokens.manager,
    };
    if let Some(times) = api.logged.count((peer.key.clone(), "token")) {
        tracing::info!("{name} at {} gets the {} token{times}", peer.address, role.as_str());
    }
    let own = api.pi.status.report();
    let managers = managers(own.address, own.swarm_node.as_deref(), &nodes);
    Json(JoinReply { token, managers, up: journal.orders.up }).into_response()
}

/// A manager more changes how many make a majority, so they come in one at a time, through the one that leads, and
/// what is left of an earlier life goes first. The reason is for the one that has to wait.
async fn admit_manager(api: &Api, name: &Hostname, members: &Members<'_>) -> Result<(), String> {
    let own = api.pi.status.report().swarm_node;
    let leads = |node: &&Node| node.manager_status.as_ref().is_some_and(|manager| manager.leader);
    if members.iter().map(|(node, _)| node).find(leads).is_none_or(|leader| Some(&leader.id) != own.as_ref())
    {
        return Err("waiting for the manager that leads".to_owned());
    }
    if let Some(old) = old_entry(name, members) {
        if !old.is_down() {
            return Err(format!("waiting for the old entry of {name} to be given up"));
        }
        let cleared = if old.manager_status.is_some() {
            api.pi.engine.demote(old).await
        } else {
            api.pi.engine.remove_node(&old.id).await
        };
        return match cleared {
            Ok(()) => Err(format!("clearing away the old entry of {name}")),
            Err(error) => Err(format!("cannot clear away the old entry of {name}: {}", chain(&error))),
        };
    }
    let mut entering = api.entering.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((other, since)) = entering.as_ref()
        && other != name
        && since.elapsed() < ENTER
        && !is_in(other, members)
    {
        return Err(format!("waiting for {other}: managers come in one at a time"));
    }
    *entering = Some((name.clone(), Instant::now()));
    Ok(())
}

/// What is left of an earlier life of a manager: an entry of its own, or a manager's that nobody has proved and that is called
/// like it. Agents that prove nothing leave such ones, and no worker can make one.
fn old_entry<'n>(name: &Hostname, members: &Members<'n>) -> Option<&'n Node> {
    let is_namesake =
        |node: &&Node| node.manager_status.is_some() && node.description.hostname == name.as_str();
    members.of(name).next().or_else(|| members.strangers().find(is_namesake))
}

fn is_in(name: &Hostname, members: &Members<'_>) -> bool {
    members.of(name).any(|node| node.is_ready() && node.has_role(Role::Manager))
}

/// Decides whether a planned node gets the token.
fn judge(
    name: &Hostname,
    members: &Members<'_>,
    is_window_open: bool,
    joined: &BTreeSet<Hostname>,
) -> Result<(), (StatusCode, ProblemCode, &'static str)> {
    if members.of(name).any(|node| !node.is_down()) {
        // A re-flashed node's old entry takes some 16 s to be known as down.
        let why = "waiting for the node's old entry to be given up";
        return Err((StatusCode::CONFLICT, ProblemCode::OldEntry, why));
    }
    if is_window_open || joined.contains(name) {
        Ok(())
    } else {
        let why = "the join window is closed, and this node was never a member";
        Err((StatusCode::FORBIDDEN, ProblemCode::JoinWindowClosed, why))
    }
}

/// Where to join: here, where the asker has just got an answer, then at other managers that are reachable. What the
/// node list says of this manager does not count: it keeps an address that was lost.
pub(super) fn managers(own: Option<Ipv4Addr>, own_id: Option<&str>, nodes: &[Node]) -> Vec<SocketAddrV4> {
    let others = nodes
        .iter()
        .filter(|node| own_id != Some(&node.id))
        .filter_map(|node| node.manager_status.as_ref())
        .filter(|manager| manager.reachability == "reachable")
        .filter_map(|manager| manager.addr.parse().ok());
    own.map(|own| SocketAddrV4::new(own, SWARM_PORT)).into_iter().chain(others).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::members::tests::as_called;
    use super::*;

    const OPEN: bool = true;
    const CLOSED: bool = false;

    fn verdict(states: &[&str], window: bool, joined: bool) -> Result<(), (u16, ProblemCode)> {
        let name = Hostname::try_from("red01").unwrap();
        let nodes: Vec<Node> = states
            .iter()
            .map(|state| {
                let json =
                    json!({"ID": state, "Description": {"Hostname": "red01"}, "Status": {"State": state}});
                serde_json::from_value(json).unwrap()
            })
            .collect();
        let joined = if joined { BTreeSet::from([name.clone()]) } else { BTreeSet::new() };
        judge(&name, &as_called(&nodes), window, &joined).map_err(|(status, code, _)| (status.as_u16(), code))
    }

    #[test]
    fn a_planned_node_gets_the_token_in_the_window() {
        assert_eq!(verdict(&[], OPEN, false), Ok(()));
        assert_eq!(verdict(&[], CLOSED, false), Err((403, ProblemCode::JoinWindowClosed)));
    }

    #[test]
    fn a_former_member_gets_it_at_any_time_if_its_entry_is_missing_or_down() {
        assert_eq!(verdict(&[], CLOSED, true), Ok(()));
        assert_eq!(verdict(&["down"], CLOSED, true), Ok(()));
    }

    #[test]
    fn nobody_gets_it_twice_while_its_entry_lives() {
        let live = Err((409, ProblemCode::OldEntry));
        for state in ["ready", "unknown", "disconnected"] {
            assert_eq!(verdict(&[state], OPEN, true), live, "{state}");
            assert_eq!(verdict(&["down", state], OPEN, true), live, "{state}");
        }
    }

    #[test]
    fn what_a_managers_old_agent_left_is_found() {
        let node = |id: &str, manager: bool| -> Node {
            let status = manager.then(|| json!({"Reachability": "unreachable", "Addr": "10.0.0.11:2377"}));
            let json = json!({"ID": id, "Description": {"Hostname": "red01"}, "ManagerStatus": status});
            serde_json::from_value(json).unwrap()
        };
        let nodes = [node("worker", false), node("manager", true)];
        let red01 = Hostname::try_from("red01").unwrap();
        let found = |proved: &[(&str, &str)]| {
            let ids =
                |(name, id): &(&str, &str)| (Hostname::try_from(*name).unwrap(), vec![(*id).to_owned()]);
            let members = Members::new(&nodes, &proved.iter().map(ids).collect(), &BTreeSet::new());
            old_entry(&red01, &members).map(|node| node.id.clone())
        };
        assert_eq!(found(&[]).as_deref(), Some("manager"));
        assert_eq!(found(&[("red01", "worker")]).as_deref(), Some("worker"), "its own first");
        assert_eq!(found(&[("red02", "manager")]), None, "red02's");
    }

    #[test]
    fn a_manager_that_moved_names_its_new_address_and_not_the_one_in_the_list() {
        let manager = |id: &str, addr: &str| -> Node {
            let json = json!({"ID": id, "ManagerStatus": {"Reachability": "reachable", "Addr": addr}});
            serde_json::from_value(json).unwrap()
        };
        let nodes = [manager("me", "10.0.0.10:2377"), manager("other", "10.0.0.11:2377")];
        let named = managers(Some(Ipv4Addr::new(10, 0, 0, 20)), Some("me"), &nodes);
        assert_eq!(named, ["10.0.0.20:2377".parse().unwrap(), "10.0.0.11:2377".parse().unwrap()]);
    }
}
