//! `POST /v1/nodes/{name}/remove`: a node is to go. What runs on it goes elsewhere first; then it is told to leave with
//! the answer to its next report, and its entry goes with housekeeping. May be asked again to see how far that is.
//!
//! Of who is not planned only the entry can be removed: nobody is there to be told.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use cluster::card::Planned;
use cluster::identity::{Holder, Role};
use cluster::orders::Orders;
use cluster::wire::Removal;

use super::orders::{Body, give};
use super::{Api, Members, Peer, operator_only, problem};
use crate::agent::removal::drain;
use crate::agent::status::chain;
use crate::election::is_majority;
use crate::engine::Node;

pub(super) async fn post(
    State(api): State<Arc<Api>>,
    Extension(peer): Extension<Peer>,
    Path(name): Path<String>,
    body: Body,
) -> Response {
    if peer.identity.holder != Holder::Operator {
        return operator_only();
    }
    let list = api.pi.engine.nodes().await.ok();
    let nodes = list.as_deref().unwrap_or_default();
    let Some(planned) = api.pi.card.nodes.iter().find(|planned| planned.name.as_str() == name) else {
        return remove_stranger(&api, &peer, &name, list.as_deref()).await;
    };
    let orders = api.pi.journal.look(|journal| journal.orders.clone());
    let list_of_members = api.members(nodes);
    let members: Vec<_> = list_of_members.of(&planned.name).collect();
    if !orders.is_dismissed(&planned.name) {
        if let Err(why) = judge(planned, &api.pi.card.nodes, &orders, &list_of_members) {
            return problem(StatusCode::CONFLICT, why);
        }
        // Before it hears of it. What fails here housekeeping does again.
        for node in members.iter().filter(|node| node.manager_status.is_none()) {
            if let Err(error) = drain(&api.pi.engine, node).await {
                tracing::debug!("{}", chain(&error));
            }
        }
    }
    let standing = |orders: &Orders| {
        orders.is_dismissed(&planned.name).then(|| orders.removed.get(&planned.name).copied()).flatten()
    };
    let set = |orders: &mut Orders, number| _ = orders.removed.insert(planned.name.clone(), number);
    if let Err((status, why)) = give(&api, &peer, body, standing, set) {
        return problem(status, why);
    }
    tracing::warn!("the operator at {} removes {name}", peer.address);
    let entries = members.into_iter().map(Node::to_entry).collect();
    Json(Removal { entries, reads_list: list.is_some(), stranger: false }).into_response()
}

/// Whether a node may go, or why not.
fn judge(planned: &Planned, all: &[Planned], orders: &Orders, members: &Members<'_>) -> Result<(), String> {
    // Where all leave there is no majority to keep.
    if planned.role == Role::Worker || orders.is_dissolved() {
        return Ok(());
    }
    let name = &planned.name;
    let managers = || all.iter().filter(|other| other.role == Role::Manager);
    let stay = managers().filter(|other| other.name != *name && !orders.is_dismissed(&other.name)).count();
    if stay == 0 {
        return Err(format!("{name} is the last manager: without it there is no swarm"));
    }
    if !is_majority(stay, managers().count()) {
        let all = managers().count();
        return Err(format!(
            "without {name}, {stay} of {all} planned managers would be left: more than half are needed to form the \
             swarm again. Plan fewer managers first"
        ));
    }
    let listed = || members.iter().filter_map(|(node, owner)| Some((owner, node.manager_status.as_ref()?)));
    let others =
        listed().filter(|(owner, status)| *owner != Some(name) && status.reachability == "reachable");
    // Before there is a swarm there is nothing to lose.
    if listed().next().is_some() && !is_majority(others.count(), listed().count()) {
        return Err(format!(
            "without {name} the managers would lose their majority: power the other managers on first"
        ));
    }
    Ok(())
}

async fn remove_stranger(api: &Api, peer: &Peer, name: &str, list: Option<&[Node]>) -> Response {
    let Some(nodes) = list else {
        return problem(StatusCode::SERVICE_UNAVAILABLE, "this manager cannot read the node list now");
    };
    let owners = api.members(nodes);
    // An id is one entry's; a host name may be a planned node's, too.
    let mut members: Vec<_> = nodes.iter().filter(|node| node.id == name).collect();
    if members.is_empty() {
        members.extend(owners.strangers().filter(|node| node.description.hostname == name));
    }
    if members.is_empty() {
        return problem(StatusCode::NOT_FOUND, "no such node is planned, and none is in the node list");
    }
    // A planned node may have an entry more, of an earlier life; only that one may be named by its id.
    if members
        .iter()
        .any(|node| node.manager_status.is_some() || (owners.owner(&node.id).is_some() && !node.is_down()))
    {
        let why = "this is a manager, or a planned node under its id: name a planned node, or a worker";
        return problem(StatusCode::CONFLICT, why);
    }
    let ids: Vec<_> = members.iter().map(|node| node.id.clone()).collect();
    if let Err(error) = api.pi.journal.settle(|journal| journal.strangers.extend(ids)) {
        return problem(StatusCode::INTERNAL_SERVER_ERROR, chain(&error));
    }
    tracing::warn!("the operator at {} removes the stranger {name}", peer.address);
    api.pi.status.orders.notify_one();
    let entries = members.into_iter().map(Node::to_entry).collect();
    Json(Removal { entries, reads_list: true, stranger: true }).into_response()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use cluster::name::Hostname;
    use serde_json::json;

    use super::super::members::tests::as_called;
    use super::*;

    fn planned(names: &[&str]) -> Vec<Planned> {
        let planned = |name: &&str| Planned {
            name: Hostname::try_from(*name).unwrap(),
            role: Role::Manager,
            address: None,
            labels: BTreeMap::new(),
        };
        names.iter().map(planned).collect()
    }

    fn manager(name: &str, reachability: &str) -> Node {
        let json = json!({"ID": name, "Description": {"Hostname": name}, "Status": {"State": "ready"},
            "ManagerStatus": {"Reachability": reachability, "Addr": "10.0.0.1:2377"}});
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn the_last_manager_and_one_that_a_majority_needs_may_not_go() {
        let three = planned(&["red00", "red01", "red02"]);
        let well: Vec<_> = ["red00", "red01", "red02"].map(|name| manager(name, "reachable")).into();
        let none = Orders::default();
        let may =
            |all: &[Planned], orders: &Orders, nodes: &[Node]| judge(&all[0], all, orders, &as_called(nodes));
        assert_eq!(may(&three, &none, &well), Ok(()));
        assert_eq!(may(&three, &none, &[]), Ok(()), "no swarm yet");
        let mut ill = well.clone();
        ill[2] = manager("red02", "unreachable");
        assert!(may(&three, &none, &ill).unwrap_err().contains("lose their majority"));
        let gone = Orders { removed: BTreeMap::from([(three[2].name.clone(), 7)]), ..Orders::default() };
        assert!(may(&three, &gone, &well).unwrap_err().contains("1 of 3 planned managers"));
        assert!(may(&three[..1], &none, &well[..1]).unwrap_err().contains("is the last manager"));
    }

    #[test]
    fn of_a_swarm_that_was_ended_every_manager_may_go() {
        let three = planned(&["red00", "red01", "red02"]);
        let ended = Orders { killed: 5, ..Orders::default() };
        let gone = Orders { removed: BTreeMap::from([(three[2].name.clone(), 7)]), ..ended.clone() };
        for (all, orders) in [(&three[..1], &ended), (&three[..], &gone)] {
            assert_eq!(judge(&all[0], all, orders, &as_called(&[])), Ok(()));
            let formed_again = Orders { up: 6, ..orders.clone() };
            assert!(judge(&all[0], all, &formed_again, &as_called(&[])).is_err());
        }
    }
}
