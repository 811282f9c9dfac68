//! What runs on the swarm: whatever a test says, filtered as Docker filters it.

use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use super::{Engine, NOT_A_MANAGER, refuse};

pub(super) async fn services(State(engine): State<Arc<Engine>>, RawQuery(query): RawQuery) -> Response {
    if !engine.is_manager() {
        return refuse(503, NOT_A_MANAGER);
    }
    if let Some(refusal) = engine.ask_leader().await {
        return refusal;
    }
    let mut services = engine.swarm.lock().unwrap().services.clone();
    // Without being asked, Docker does not count.
    if query.as_deref() != Some("status=true") {
        services.iter_mut().for_each(|service| drop(service["ServiceStatus"].take()));
    }
    Json(services).into_response()
}

pub(super) async fn tasks(State(engine): State<Arc<Engine>>, RawQuery(query): RawQuery) -> Response {
    if !engine.is_manager() {
        return refuse(503, NOT_A_MANAGER);
    }
    let query = query.unwrap_or_default().replace("%22", "\"");
    let filters: Value = serde_json::from_str(query.strip_prefix("filters=").unwrap_or("{}")).unwrap();
    let keeps =
        |filter: &str, value: &Value| filters[filter].as_array().is_none_or(|wanted| wanted.contains(value));
    let mut tasks = engine.swarm.lock().unwrap().tasks.clone();
    tasks.retain(|task| keeps("node", &task["NodeID"]) && keeps("desired-state", &task["DesiredState"]));
    Json(tasks).into_response()
}
