//! What runs on the swarm: services and their tasks. Managers only.

use cluster::wire::{DetailPort, DetailService};
use serde::Deserialize;
use serde_json::Value;

use super::types::null_is_empty;
use super::{Engine, EngineError, READ, read};

/// States of a task that has been given to a node and has not ended there (SwarmKit, api/types.proto, TaskState).
const ALIVE: [&str; 6] = ["assigned", "accepted", "preparing", "ready", "starting", "running"];

/// One entry of `GET /services?status=true`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Service {
    /// What tasks refer to.
    #[serde(rename = "ID")]
    pub id: String,
    /// What was asked for.
    pub spec: ServiceSpec,
    /// Where it is reached.
    pub endpoint: Endpoint,
    /// How much of it runs; engines older than 20.10 do not say.
    pub service_status: ServiceStatus,
}

/// What was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ServiceSpec {
    /// Its name.
    pub name: String,
    /// What its tasks are, of which only the image is read.
    pub task_template: Value,
    /// A mapping of one key, which is the mode.
    pub mode: Value,
}

/// Where a service is reached.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Endpoint {
    /// Published ports.
    #[serde(deserialize_with = "null_is_empty")]
    pub ports: Vec<Port>,
}

/// A published port.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Port {
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
    /// In the container.
    pub target_port: u16,
    /// On the nodes; zero where each chooses one.
    pub published_port: u16,
    /// `ingress` or `host`.
    pub publish_mode: String,
}

/// How much of a service runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ServiceStatus {
    /// Tasks that run.
    pub running_tasks: u64,
    /// Tasks that should.
    pub desired_tasks: u64,
    /// Tasks of a job that have ended well.
    pub completed_tasks: u64,
}

/// One entry of `GET /tasks`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Task {
    /// Whose it is.
    #[serde(rename = "ServiceID")]
    pub service_id: String,
    /// Where it runs; empty while no node has it.
    #[serde(rename = "NodeID")]
    pub node_id: String,
    /// Which of the replicas it is; zero for a global service.
    pub slot: u64,
    /// What has become of it.
    pub status: TaskStatus,
}

/// What has become of a task.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct TaskStatus {
    /// Such as `running`.
    pub state: String,
}

impl Task {
    /// Whether it runs.
    pub fn is_running(&self) -> bool {
        self.status.state == "running"
    }

    /// Whether it has begun on its node and not ended, be it that it is being stopped.
    pub fn is_alive(&self) -> bool {
        ALIVE.contains(&self.status.state.as_str())
    }

    /// Its name as `docker service ps` writes it; that of its service where there is one on each node.
    pub fn name(&self, services: &[Service]) -> String {
        let service = services.iter().find(|service| service.id == self.service_id);
        let service = service.map_or(self.service_id.as_str(), |service| &service.spec.name);
        if self.slot == 0 { service.to_owned() } else { format!("{service}.{}", self.slot) }
    }
}

impl Service {
    /// The service as it travels.
    pub fn to_detail(&self) -> DetailService {
        let modes = [
            ("Replicated", "replicated"),
            ("Global", "global"),
            ("ReplicatedJob", "replicated-job"),
            ("GlobalJob", "global-job"),
        ];
        let mode = modes.into_iter().find(|(key, _)| self.spec.mode.get(key).is_some());
        let mode = mode.map_or("unknown", |(_, word)| word);
        let image = self.spec.task_template.pointer("/ContainerSpec/Image").and_then(Value::as_str);
        let ServiceStatus { running_tasks, desired_tasks, completed_tasks } = self.service_status;
        DetailService {
            id: self.id.clone(),
            name: self.spec.name.clone(),
            mode: mode.to_owned(),
            // Docker adds the digest that it found when the service was made.
            image: image.map(|image| image.split('@').next().unwrap_or(image).to_owned()),
            running: running_tasks,
            desired: desired_tasks,
            completed: mode.ends_with("-job").then_some(completed_tasks),
            ports: self.endpoint.ports.iter().map(Port::to_detail).collect(),
        }
    }
}

impl Port {
    fn to_detail(&self) -> DetailPort {
        DetailPort {
            published: Some(self.published_port).filter(|port| *port != 0),
            target: self.target_port,
            protocol: self.protocol.clone(),
            mode: self.publish_mode.clone(),
        }
    }
}

impl Engine {
    /// The services, with how much of them runs.
    pub async fn services(&self) -> Result<Vec<Service>, EngineError> {
        self.get("/services?status=true").await
    }

    /// The tasks that should run, on all nodes.
    pub async fn tasks(&self) -> Result<Vec<Task>, EngineError> {
        self.tasks_where(r#"{"desired-state":["running"]}"#).await
    }

    /// All tasks that a node ever had, as far as Swarm remembers them, whatever should become of them.
    pub async fn tasks_of(&self, node: &str) -> Result<Vec<Task>, EngineError> {
        self.tasks_where(&format!(r#"{{"node":["{node}"]}}"#)).await
    }

    async fn tasks_where(&self, filters: &str) -> Result<Vec<Task>, EngineError> {
        let path = format!("/tasks?filters={filters}");
        read("/tasks", self.request(reqwest::Method::GET, &path, READ)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As an engine 28.5 answers, shortened.
    const SERVICE: &str = r#"{"ID":"s1","Version":{"Index":21},"Spec":{"Name":"web","Labels":{},
        "TaskTemplate":{"ContainerSpec":{"Image":"nginx:1.29@sha256:0123"},"ForceUpdate":0},
        "Mode":{"Replicated":{"Replicas":3}}},
        "Endpoint":{"Spec":{},"Ports":[{"Protocol":"tcp","TargetPort":80,"PublishedPort":8080,"PublishMode":"ingress"}]},
        "ServiceStatus":{"RunningTasks":2,"DesiredTasks":3,"CompletedTasks":0}}"#;

    #[test]
    fn reads_a_service_and_what_runs_of_it() {
        let detail = serde_json::from_str::<Service>(SERVICE).unwrap().to_detail();
        assert_eq!((detail.name.as_str(), detail.mode.as_str()), ("web", "replicated"));
        assert_eq!(detail.image.as_deref(), Some("nginx:1.29"));
        assert_eq!((detail.running, detail.desired, detail.completed), (2, 3, None));
        assert_eq!((detail.ports[0].published, detail.ports[0].target), (Some(8080), 80));
    }

    #[test]
    fn a_job_without_ports_and_an_engine_that_counts_nothing_are_read_too() {
        let json =
            r#"{"ID":"s2","Spec":{"Name":"once","Mode":{"ReplicatedJob":{}}},"Endpoint":{"Ports":null}}"#;
        let detail = serde_json::from_str::<Service>(json).unwrap().to_detail();
        assert_eq!((detail.mode.as_str(), detail.completed), ("replicated-job", Some(0)));
        assert_eq!((detail.image, detail.ports.len()), (None, 0));
    }

    #[test]
    fn a_task_that_is_being_stopped_is_alive_and_one_that_nobody_has_is_not() {
        let task = |state: &str| -> Task {
            serde_json::from_value(serde_json::json!({"Status": {"State": state}})).unwrap()
        };
        assert!(["running", "preparing", "assigned"].iter().all(|state| task(state).is_alive()));
        assert!(
            ["pending", "complete", "shutdown", "failed", "orphaned"].iter().all(|s| !task(s).is_alive())
        );
    }

    #[test]
    fn tasks_are_named_as_docker_names_them() {
        let services = [serde_json::from_str::<Service>(SERVICE).unwrap()];
        let task = |slot| Task { service_id: "s1".to_owned(), slot, ..Task::default() };
        assert_eq!(task(2).name(&services), "web.2");
        assert_eq!(task(0).name(&services), "web");
        assert_eq!(Task { service_id: "gone".to_owned(), ..task(1) }.name(&services), "gone.1");
    }
}
