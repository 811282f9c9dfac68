//! One virtual Pi: its card, its network plug, and the container that is its running system.

use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process};

use super::card::{Card, Inserted};
use super::{cleanup, network};
use crate::wait;

/// Status systemd-nspawn ends with when the container asked for a reboot.
const REBOOT: i32 = 133;
/// SIGRTMIN+4, on which systemd powers off.
const POWER_BUTTON: u32 = 38;
/// Shutting down takes a node seconds; longer than a service's own stop timeout it never should.
const SHUTDOWN: Duration = Duration::from_secs(120);

#[derive(Debug)]
pub(super) struct Node {
    name: String,
    folder: PathBuf,
    card: Card,
    mac: String,
    /// Name of network namespace and control groups.
    label: String,
    /// The host's end of the cable; at most 15 characters.
    cable: String,
    bridge: String,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    power: Power,
    /// Of the container that runs now; none during a reboot.
    nspawn: Option<u32>,
    thread: Option<JoinHandle<()>>,
    powered_on_at: Option<SystemTime>,
    boots: u32,
    /// Processor time it gets at most; all there is without it.
    cores: Option<f64>,
    failure: Option<String>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Power {
    #[default]
    Off,
    On,
    /// No boot may follow the one that runs.
    Stopping,
}

impl Node {
    pub(super) fn new(number: u8, ordinal: u8, name: &str, folder: &Path, card: &Path) -> Result<Self> {
        let bridge = network::bridge(number);
        Ok(Self {
            name: name.to_owned(),
            folder: folder.to_owned(),
            card: Card::copy(card, folder)?,
            // The Raspberry Pi Foundation's first prefix.
            mac: format!("b8:27:eb:00:{number:02x}:{ordinal:02x}"),
            label: format!("{bridge}-{name}"),
            cable: format!("{bridge}n{ordinal}"),
            bridge,
            state: Mutex::default(),
        })
    }

    /// Writes another card over the one it has.
    pub(super) fn exchange(&self, card: &Path) -> Result<()> {
        if self.is_on()? {
            bail!("{} is on", self.name);
        }
        // A new file, not new bytes in the old one: the kernel may still have a loop device with what that held.
        fs::remove_file(self.card.image()).context("cannot take the old card out")?;
        Card::copy(card, &self.folder).map(|_| ())
    }

    pub(super) fn mac(&self) -> &str {
        &self.mac
    }

    pub(super) fn card(&self) -> &Path {
        self.card.image()
    }

    pub(super) fn console(&self) -> PathBuf {
        self.folder.join("console.log")
    }

    pub(super) fn set_cores(&self, cores: f64) -> Result<()> {
        if cleanup::rations().is_none() {
            bail!("this machine does not ration processor time");
        }
        if self.is_on()? {
            bail!("{} is on", self.name);
        }
        self.state().cores = Some(cores);
        Ok(())
    }

    pub(super) fn boots(&self) -> u32 {
        self.state().boots
    }

    pub(super) fn powered_on_at(&self) -> Option<SystemTime> {
        self.state().powered_on_at
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_on(&self) -> Result<bool> {
        let state = self.state();
        match &state.failure {
            Some(failure) => bail!("{}: {failure}", self.name),
            None => Ok(state.power != Power::Off),
        }
    }

    pub(super) fn power_on(self: &Arc<Self>) -> Result<()> {
        let mut state = self.state();
        if state.power != Power::Off {
            bail!("{} is on already", self.name);
        }
        state.power = Power::On;
        state.failure = None;
        state.powered_on_at = Some(SystemTime::now());
        let node = Arc::clone(self);
        state.thread = Some(thread::spawn(move || node.run()));
        Ok(())
    }

    /// Boots until the node is powered off, by itself or from outside.
    fn run(&self) {
        loop {
            let ended = self.boot();
            let mut state = self.state();
            state.nspawn = None;
            match ended {
                Ok(status) if status.code() == Some(REBOOT) && state.power == Power::On => continue,
                Ok(status) => {
                    let asked_for =
                        status.success() || status.code() == Some(REBOOT) || state.power == Power::Stopping;
                    if !asked_for {
                        state.failure = Some(format!("its container ended with {status}"));
                    }
                }
                Err(error) => state.failure = Some(format!("{error:#}")),
            }
            state.power = Power::Off;
            return;
        }
    }

    /// One boot, from the firmware to the last process.
    fn boot(&self) -> Result<ExitStatus> {
        let inserted = self.card.insert()?;
        let ended = self
            .plug_in()
            .and_then(|()| self.start(&inserted))
            .and_then(|mut nspawn| nspawn.wait().context("cannot wait for systemd-nspawn"));
        let killed = self.groups().iter().try_for_each(|group| cleanup::kill_group(group));
        let ejected = self.card.eject(&inserted);
        let unplugged = self.unplug();
        let status = ended?;
        ejected.with_context(|| format!("cannot write the card of {}", self.name))?;
        killed.and(unplugged)?;
        Ok(status)
    }

    /// Makes a network namespace with an `eth0` whose cable ends in the bridge.
    fn plug_in(&self) -> Result<()> {
        self.unplug()?;
        images::run("ip", ["netns", "add", &self.label])?;
        let end = ["type", "veth", "peer", "name", "eth0", "address", &self.mac, "netns", &self.label];
        images::run("ip", ["link", "add", &self.cable].into_iter().chain(end))?;
        images::run("ip", ["link", "set", &self.cable, "master", &self.bridge, "up"])?;
        for group in self.groups() {
            fs::create_dir_all(&group).with_context(|| format!("cannot create {}", group.display()))?;
        }
        self.ration()
    }

    /// Sets how much processor time there is, if any is set.
    fn ration(&self) -> Result<()> {
        let (Some(cores), Some(hierarchy)) = (self.state().cores, cleanup::rations()) else { return Ok(()) };
        let group = hierarchy.join(&self.label);
        // Microseconds, of the second version (cgroup-v2.rst, "cpu.max") and of the first (sched-bwc.rst).
        let quota = format!("{:.0}", cores * 100_000.0);
        let (file, text) = match group.join("cpu.max").exists() {
            true => ("cpu.max", format!("{quota} 100000")),
            false => ("cpu.cfs_quota_us", quota),
        };
        fs::write(group.join(file), text).with_context(|| format!("cannot ration {}", group.display()))
    }

    fn unplug(&self) -> Result<()> {
        if Path::new("/run/netns").join(&self.label).exists() {
            images::run("ip", ["netns", "delete", &self.label])?;
        }
        // The namespace may live on for a moment with its last process, and the cable with it.
        if Path::new("/sys/class/net").join(&self.cable).exists() {
            drop(images::run("ip", ["link", "delete", &self.cable]));
        }
        self.groups().iter().try_for_each(|group| cleanup::remove_group(group))
    }

    /// Control groups of its own: systemds that shared one would take each other's services for theirs.
    fn groups(&self) -> Vec<PathBuf> {
        let mut hierarchies = cleanup::hierarchies();
        if self.state().cores.is_some() {
            hierarchies.extend(cleanup::rations().filter(|rations| !hierarchies.contains(rations)));
        }
        hierarchies.into_iter().map(|hierarchy| hierarchy.join(&self.label)).collect()
    }

    fn start(&self, inserted: &Inserted) -> Result<Child> {
        let enter: String = self
            .groups()
            .iter()
            .map(|group| format!("echo $$ >{}/cgroup.procs; ", group.display()))
            .collect();
        let mut state = self.state();
        if state.power == Power::Stopping {
            bail!("{} was switched off while it started", self.name);
        }
        let console = File::options()
            .create(true)
            .append(true)
            .open(self.console())
            .context("cannot open a console")?;
        // The host's clock is right, and timesyncd does not run in containers: says so in its place.
        let synchronized = self.folder.join("synchronized");
        fs::write(&synchronized, "").context("cannot write the mark of a set clock")?;
        let nspawn = Command::new("/bin/sh")
            .args(["-ec", &format!("{enter}exec systemd-nspawn \"$@\""), "systemd-nspawn"])
            .args(["--quiet", "--boot", "--register=no", "--keep-unit", "--console=passive"])
            .arg(format!("--directory={}", inserted.root.display()))
            .arg(format!("--machine={}", self.label))
            .arg(format!("--network-namespace-path=/run/netns/{}", self.label))
            .arg(format!("--bind={}:/boot/firmware", inserted.firmware.display()))
            .arg(format!("--bind-ro={}:/run/systemd/timesync/synchronized", synchronized.display()))
            // Docker needs nearly everything. The clock is the host's own and stays.
            .args(["--capability=all", "--drop-capability=CAP_SYS_TIME", "--system-call-filter=@keyring bpf"])
            .args(["--resolv-conf=off", "--timezone=off", "--link-journal=no"])
            .arg("--")
            // The root is mounted already, and a container may not do it again.
            .arg("systemd.mask=systemd-remount-fs.service")
            .args(&inserted.words)
            .stdin(Stdio::null())
            .stdout(console.try_clone().context("cannot open a console")?)
            .stderr(console)
            .process_group(0)
            .spawn()
            .context("cannot start systemd-nspawn")?;
        fs::write(self.folder.join("nspawn.pid"), nspawn.id().to_string()).context("cannot write a pid")?;
        state.nspawn = Some(nspawn.id());
        state.boots += 1;
        Ok(nspawn)
    }

    pub(super) fn power_off(&self) -> Result<()> {
        // To every boot that may still be under way, once.
        let mut told = None;
        let stopped = self.stop(SHUTDOWN, |state| {
            if let Some(leader) = state.nspawn.and_then(leader)
                && told != Some(leader)
                && has_booted(leader)
            {
                told = Some(leader);
                drop(images::run("kill", [format!("-{POWER_BUTTON}"), leader.to_string()]));
            }
        });
        match stopped {
            Ok(true) => self.outcome(),
            Ok(false) => {
                self.pull_plug()?;
                bail!("{} did not shut down within {} s and was unplugged", self.name, SHUTDOWN.as_secs())
            }
            Err(error) => Err(error),
        }
    }

    pub(super) fn pull_plug(&self) -> Result<()> {
        let stopped = self.stop(Duration::from_secs(60), |state| {
            if let Some(pid) = state.nspawn.and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw) {
                // Between two boots there is nothing to kill: the next look finds the next container or the end.
                let _ = kill_process(pid, Signal::KILL);
            }
        })?;
        if stopped { self.outcome() } else { bail!("{} does not stop", self.name) }
    }

    fn outcome(&self) -> Result<()> {
        self.is_on().map(drop)
    }

    /// Lets the running boot be the last, does `act` again and again until it is over, and says whether it is.
    fn stop(&self, limit: Duration, mut act: impl FnMut(&State)) -> Result<bool> {
        let mut over = false;
        let waited = wait::until("the node is off", limit, || {
            let mut state = self.state();
            if state.power == Power::Off {
                over = true;
                return Ok(Some(()));
            }
            state.power = Power::Stopping;
            act(&state);
            Ok(None)
        });
        if !over {
            drop(waited);
            return Ok(false);
        }
        let thread = self.state().thread.take();
        if let Some(thread) = thread {
            thread.join().map_err(|_| anyhow!("the thread of {} panicked", self.name))?;
        }
        Ok(true)
    }

    pub(super) fn exec(&self, words: &[&str]) -> Result<Output> {
        let nspawn = self.state().nspawn;
        let leader = nspawn.and_then(leader).with_context(|| format!("{} is not up", self.name))?;
        // As little as the node itself may it set the host's clock.
        Command::new("setpriv")
            .args(["--bounding-set=-sys_time", "timeout", "--kill-after=5", "600"])
            .args(["nsenter", "--mount", "--uts", "--ipc", "--net", "--pid"])
            .args(["--target", &leader.to_string(), "--"])
            .args(words)
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", "/root")
            .stdin(Stdio::null())
            .output()
            .context("cannot start nsenter")
    }

    pub(super) fn set_link(&self, up: bool) -> Result<()> {
        images::run("ip", ["link", "set", &self.cable, if up { "up" } else { "down" }])
    }

    pub(super) fn address(&self) -> Option<Ipv4Addr> {
        let shown = images::capture(
            "ip",
            ["-netns", &self.label, "-4", "-oneline", "address", "show", "dev", "eth0"],
        );
        let shown = String::from_utf8(shown.ok()?).ok()?;
        let address = shown.split_once("inet ")?.1;
        address.split('/').next()?.parse().ok()
    }
}

/// PID 1 of the container: nspawn's child that is number 1 in its own process namespace.
fn leader(nspawn: u32) -> Option<u32> {
    fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let status = fs::read_to_string(entry.path().join("status")).ok()?;
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let is_first = field("NSpid:").is_some_and(|pids| pids.ends_with("\t1"));
        (is_first && field("PPid:")?.parse() == Ok(nspawn)).then_some(pid)
    })
}

/// Whether PID 1 is systemd by now, and not nspawn preparing it: earlier, the signal would be lost.
fn has_booted(leader: u32) -> bool {
    let name = fs::read_to_string(format!("/proc/{leader}/comm")).unwrap_or_default();
    if name.trim() != "systemd" {
        return false;
    }
    // It takes its signals from a descriptor, for which it blocks them. A mask in hexadecimal, signal 1 lowest.
    let status = fs::read_to_string(format!("/proc/{leader}/status")).unwrap_or_default();
    let blocked =
        status.lines().find_map(|line| line.strip_prefix("SigBlk:")).map(str::trim).unwrap_or_default();
    u64::from_str_radix(blocked, 16).is_ok_and(|mask| mask & (1 << (POWER_BUTTON - 1)) != 0)
}
