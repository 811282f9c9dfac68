//! The node list: read, changed, cleared, and refused in Docker's own words.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path as UrlPath, RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::{Engine, NOT_A_MANAGER, STILL_MANAGES, refuse};

pub(super) async fn list(State(engine): State<Arc<Engine>>) -> Response {
    if !engine.is_manager() {
        return refuse(503, NOT_A_MANAGER);
    }
    if let Some(refusal) = engine.ask_leader().await {
        return refusal;
    }
    let mut swarm = engine.swarm.lock().unwrap();
    engine.drop_expired(&mut swarm);
    swarm.looks += 1;
    let mut nodes = swarm.nodes.clone();
    if !swarm.has_leader() {
        // The last that the leader wrote, before anybody was missed.
        nodes.iter_mut().for_each(|node| node["Status"]["State"] = json!("ready"));
    }
    Json(nodes).into_response()
}

pub(super) async fn remove(
    State(engine): State<Arc<Engine>>,
    UrlPath(id): UrlPath<String>,
    RawQuery(query): RawQuery,
) -> Response {
    let mut swarm = engine.swarm.lock().unwrap();
    let node = swarm.nodes.iter().find(|node| node["ID"] == id.as_str());
    if node.is_some_and(|node| node["Spec"]["Role"] == "manager") {
        return refuse(400, STILL_MANAGES);
    }
    if query.as_deref() != Some("force=true")
        && swarm.nodes.iter().any(|node| node["ID"] == id.as_str() && node["Status"]["State"] != "down")
    {
        return refuse(
            400,
            "rpc error: code = FailedPrecondition desc = node is not down and can't be removed",
        );
    }
    if swarm.nodes.iter().any(|node| node["ID"] == id.as_str() && !node["ManagerStatus"].is_null()) {
        return refuse(400, STILL_MANAGES);
    }
    swarm.nodes.retain(|node| node["ID"] != id.as_str());
    StatusCode::OK.into_response()
}

pub(super) async fn update(
    State(engine): State<Arc<Engine>>,
    UrlPath(id): UrlPath<String>,
    RawQuery(query): RawQuery,
    Json(spec): Json<Value>,
) -> Response {
    if let Some((status, message)) = engine.node_refusals.lock().unwrap().pop_front() {
        return refuse(status, message);
    }
    let version: u64 = query.unwrap().strip_prefix("version=").unwrap().parse().unwrap();
    for node in &mut engine.swarm.lock().unwrap().nodes {
        if node["ID"] == id.as_str() {
            if node["Version"]["Index"] != version {
                return refuse(500, "rpc error: code = Unknown desc = update out of sequence");
            }
            if spec["Role"] == "worker" {
                node["ManagerStatus"] = Value::Null;
            }
            node["Spec"] = spec;
            node["Version"]["Index"] = json!(version + 1);
            return StatusCode::OK.into_response();
        }
    }
    refuse(404, "node not found")
}
