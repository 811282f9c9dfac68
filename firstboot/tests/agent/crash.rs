//! Nodes that lose their power at any effect, the engine's calls among them, and are switched on again: they end as one
//! that was never disturbed.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use cluster::wire::Stage;
use firstboot::host::Program;
use firstboot::host::fake::{FakeHost, Fault, Files, Node, Power};
use firstboot::journal::Progress;
use tokio::sync::Semaphore;
use tokio::task::{JoinSet, LocalSet};

use crate::engine::{DOCKERD, Engine};
use crate::installing::{UNREAD_UNITS, files_of, with_apt};
use crate::returning::give;
use crate::world::{Life, NOW, World, eventually, has_left, journal};

/// How many worlds are disturbed at a time.
const AT_ONCE: usize = 8;
/// dpkg's note of something half done; apt refuses to work while it is there.
const HALF_DONE: &str = "/var/lib/dpkg/updates/0000";

/// Programs that only look run as often as chance will have it.
fn looks(effect: &str) -> bool {
    ["run busctl ", "run ip ", "run getent ", "run timedatectl ", "run systemctl is-active ", "run ss "]
        .iter()
        .any(|look| effect.starts_with(look))
}

fn apt(program: &Program, files: &mut Files) -> Result<Vec<u8>, String> {
    let line = program.line();
    if line.starts_with("dpkg --configure") {
        files.remove(Path::new(HALF_DONE));
    }
    if line.starts_with("apt-get install") {
        if files.contains_key(Path::new(HALF_DONE)) {
            return Err("dpkg was interrupted, you must manually run 'dpkg --configure -a'".to_owned());
        }
        if files.contains_key(Path::new(DOCKERD)) && !line.contains("--reinstall") {
            return Ok(b"docker-ce is already the newest version".to_vec());
        }
    }
    with_apt(program, files)
}

fn torn_apt(program: &Program, files: &mut Files) -> Result<Vec<u8>, String> {
    if program.line().starts_with("apt-get install") {
        let empty = || Node::File { bytes: Vec::new(), mode: 0o755, owner: None };
        files.insert(DOCKERD.into(), empty());
        files.insert(HALF_DONE.into(), empty());
    }
    Ok(Vec::new())
}

/// What a power cut takes: packages are unpacked without flushing each file, and flushed before they count as installed.
fn unflushed(mut files: Files) -> Files {
    if journal(&files).install != Progress::Completed
        && let Some(Node::File { bytes, .. }) = files.get_mut(Path::new(DOCKERD))
    {
        bytes.clear();
    }
    files
}

/// What of a disk is the same in every world: each has its own certificates.
pub(crate) fn comparable(mut files: Files) -> Files {
    files.retain(|path, _| {
        path.extension()
            .is_none_or(|extension| extension != "pem" && extension != "crt" && extension != "key")
    });
    files
}

/// A node with its engine, over several lives.
pub(crate) struct Machine<'a> {
    world: &'a World,
    pub(crate) name: &'static str,
    pub(crate) engine: Arc<Engine>,
    pub(crate) files: Files,
}

impl<'a> Machine<'a> {
    pub(crate) fn new(world: &'a World, name: &'static str) -> Self {
        let engine = Engine::new(world.folder.path(), name, &world.swarm);
        let files = files_of(world, world.card(name));
        Self { world, name, engine, files }
    }

    pub(crate) fn power_on(&self, fault: Option<Fault>) -> (Life, Arc<FakeHost>, Arc<Power>) {
        let power = Power::overlooking(fault, looks);
        let clock = UNIX_EPOCH + Duration::from_secs(NOW);
        let host = FakeHost::new(Arc::clone(&power), self.files.clone(), clock);
        let host = Arc::new(host.with_programs(apt).with_torn_programs(torn_apt));
        self.engine.install_on(&power, &host);
        if !self.engine.socket.exists() {
            self.engine.start();
        }
        (self.world.boot(&host, &self.engine), host, power)
    }

    /// Lives until the power goes or the node has got where it should; gives the effects.
    pub(crate) async fn live(&mut self, fault: Option<Fault>, end: impl Fn(&Self) -> bool) -> Vec<String> {
        let (life, host, power) = self.power_on(fault);
        eventually(async || {
            self.files = host.files();
            power.is_gone() || end(self)
        })
        .await;
        drop(life);
        self.files = host.files();
        if power.is_gone() {
            self.files = unflushed(std::mem::take(&mut self.files));
        }
        power.log()
    }

    /// Ready, and nothing is left to be done on this machine.
    pub(crate) fn is_settled(&self) -> bool {
        let journal = journal(&self.files);
        let is_ready = journal.marks.iter().any(|mark| mark.stage == Stage::Ready);
        let is_housekept = self.name != "red00" || {
            let swarm = self.world.swarm.lock().unwrap();
            journal.joined.len() == 2 && swarm.nodes.iter().all(|node| !node["Spec"]["Labels"].is_null())
        };
        let is_read = !self.files.contains_key(Path::new(UNREAD_UNITS));
        is_ready && journal.install == Progress::Completed && is_read && is_housekept
    }
}

/// Two nodes, one of which dies at its `fault` and is switched on again; gives its disk and the effects of its first life.
async fn form(dying: &'static str, fault: Option<Fault>) -> (Files, Vec<String>) {
    let world = World::new(&["red01"]);
    let (manager, worker) = (Machine::new(&world, "red00"), Machine::new(&world, "red01"));
    let (mut dying, other) = if dying == "red00" { (manager, worker) } else { (worker, manager) };
    let _other = other.power_on(None);
    let effects = dying.live(fault, Machine::is_settled).await;
    if fault.is_some() {
        dying.live(None, Machine::is_settled).await;
    }
    {
        let swarm = world.swarm.lock().unwrap();
        let at = fault.map(|_| effects.last());
        assert_eq!((swarm.inits.len(), swarm.second_inits), (1, 0), "after power lost at {at:?}");
        assert_eq!((swarm.joins.len(), swarm.nodes.len()), (1, 2), "after power lost at {at:?}");
    }
    (comparable(dying.files), effects)
}

/// Some worlds at a time, until all have ended.
pub(crate) async fn all<T: 'static>(
    worlds: impl Iterator<Item = impl Future<Output = T> + 'static>,
) -> Vec<T> {
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut running = JoinSet::new();
    let local = LocalSet::new();
    for world in worlds {
        let places = Arc::clone(&places);
        let live = async move {
            let _place = places.acquire().await;
            world.await
        };
        running.spawn_local_on(live, &local);
    }
    local.run_until(running.join_all()).await
}

async fn dies_everywhere(name: &'static str, expected: &[&str]) {
    let (undisturbed, effects) = form(name, None).await;
    for effect in expected {
        assert!(effects.iter().any(|there| there.starts_with(effect)), "{effect} is not in {effects:#?}");
    }
    let faults = (0..effects.len()).map(Fault::DieAt);
    for (files, effects) in all(faults.map(|fault| form(name, Some(fault)))).await {
        let at = effects.last();
        for (path, node) in &undisturbed {
            assert_eq!(files.get(path), Some(node), "{} after power lost at {at:?}", path.display());
        }
        assert_eq!(files.len(), undisturbed.len(), "after power lost at {at:?}");
    }
}

#[tokio::test]
async fn a_manager_that_loses_its_power_at_any_effect_starts_one_swarm() {
    let all = [
        "write /var/lib/firstboot/journal.json",
        "write /etc/avahi/services/builder-swarm.service",
        "write /etc/docker/daemon.json",
        "write /etc/apt/keyrings/docker.asc",
        "write /etc/apt/sources.list.d/docker.sources",
        "run apt-get update",
        "run apt-get install",
        "run systemctl start docker.service",
        "Docker POST /swarm/init",
        "Docker POST /swarm/init answered",
        "Docker POST /nodes/id2/update",
    ];
    dies_everywhere("red00", &all).await;
}

#[tokio::test]
async fn a_worker_that_loses_its_power_at_any_effect_joins_once() {
    let all = [
        "run apt-get install",
        "run systemctl daemon-reload",
        "Docker POST /swarm/join",
        "Docker POST /swarm/join answered",
    ];
    dies_everywhere("red01", &all).await;
}

#[tokio::test]
async fn systemd_reads_the_new_units_when_the_node_has_joined() {
    let (_, effects) = form("red01", None).await;
    let at = |wanted: &str| effects.iter().position(|effect| effect.starts_with(wanted));
    let (joined, read) = (at("Docker POST /swarm/join answered"), at("run systemctl daemon-reload"));
    assert!(joined.is_some() && joined < read, "{effects:#?}");
}

/// Lets the operator dissolve a swarm while one node loses its power at `fault`, and is switched on again.
async fn dissolve(dying: &'static str, fault: Option<Fault>) -> Vec<String> {
    let world = World::new(&["red01"]);
    let (mut manager, mut worker) = (Machine::new(&world, "red00"), Machine::new(&world, "red01"));
    // Without its manager, the worker would never hear that it is ready.
    let worker_is_in = Cell::new(false);
    tokio::join!(manager.live(None, |manager| manager.is_settled() && worker_is_in.get()), async {
        let (_life, host, _) = worker.power_on(None);
        eventually(async || journal(&host.files()).marks.iter().any(|mark| mark.stage == Stage::Ready)).await;
        // The manager wants to see it ready, too.
        eventually(async || {
            world.swarm.lock().unwrap().nodes.iter().all(|node| !node["Spec"]["Labels"].is_null())
        })
        .await;
        worker.files = host.files();
        worker_is_in.set(true);
    });
    let is_out = |machine: &Machine<'_>| {
        has_left(&journal(&machine.files), machine.name) && machine.engine.node.lock().unwrap().is_none()
    };
    let ask = || give(&world, "/v1/leave");
    if dying == "red00" {
        let _worker = worker.power_on(None);
        let (effects, _) = tokio::join!(manager.live(fault, is_out), async {
            tokio::time::timeout(Duration::from_secs(20), ask()).await
        });
        if fault.is_some() {
            // The operator who got no answer asks again; who got one need not.
            if journal(&manager.files).orders.is_dissolved() {
                manager.live(None, is_out).await;
            } else {
                tokio::join!(manager.live(None, is_out), ask());
            }
        }
        return effects;
    }
    let _manager = manager.power_on(None);
    let (effects, _) = tokio::join!(worker.live(fault, is_out), ask());
    if fault.is_some() {
        worker.live(None, is_out).await;
    }
    effects
}

#[tokio::test]
async fn a_node_that_loses_its_power_while_it_leaves_as_told_stays_out_all_the_same() {
    const LEAVE: &str = "Docker POST /swarm/leave";
    for name in ["red00", "red01"] {
        let effects = dissolve(name, None).await;
        let faults = (0..effects.len()).map(Fault::DieAt);
        let ends: Vec<_> = all(faults.map(|fault| dissolve(name, Some(fault)))).await;
        let ends: BTreeSet<_> = ends.into_iter().filter_map(|mut effects| effects.pop()).collect();
        for effect in [LEAVE, &format!("{LEAVE} answered"), "write /var/lib/firstboot/journal.json"] {
            assert!(ends.contains(effect), "{name} never died at {effect}: {ends:?}");
        }
    }
}
