//! Who owns which rack number, and removing everything that carries it.
//!
//! Names are all it takes: a rack's folder is `rack-NUMBER-NAME`, and from the number follow bridge, subnet, rules,
//! network namespaces and control groups. So a rack whose process was killed is removed by the same code.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use super::network;
use crate::wait;

/// Not a temporary file system: cards are large.
const BASE: &str = "/var/tmp";
const LOCK: &str = "/run/lock/rack.lock";
/// What the host's settings were before the first rack.
const SETTINGS: &str = "/run/rack-settings";
/// A way out for the nodes; and room for the many watches of several systemds under one user.
const WANTED: [(&str, &str); 2] =
    [("/proc/sys/net/ipv4/ip_forward", "1"), ("/proc/sys/fs/inotify/max_user_instances", "8192")];

/// Taken while racks come and go.
pub(super) fn lock() -> Result<File> {
    let file = File::create(LOCK).with_context(|| format!("cannot create {LOCK}"))?;
    file.lock().with_context(|| format!("cannot lock {LOCK}"))?;
    Ok(file)
}

/// Numbers that this process has had. They are taken again last: whoever looks what a rack has left behind is not to find
/// the next one's.
static USED: Mutex<BTreeSet<u8>> = Mutex::new(BTreeSet::new());

/// Racks there are: number and folder.
fn racks() -> Result<Vec<(u8, PathBuf)>> {
    let mut racks = Vec::new();
    for entry in fs::read_dir(BASE).with_context(|| format!("cannot list {BASE}"))? {
        let path = entry.with_context(|| format!("cannot list {BASE}"))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let number = name
            .strip_prefix("rack-")
            .and_then(|rest| rest.split_once('-'))
            .map(|(number, _)| number.parse());
        if let Some(Ok(number)) = number {
            racks.push((number, path));
        }
    }
    Ok(racks)
}

/// Removes racks whose process is dead. The caller holds the lock.
pub(super) fn sweep() -> Result<()> {
    for (number, folder) in racks()? {
        let owner = fs::read_to_string(folder.join("owner")).unwrap_or_default();
        if !is_running(&owner) {
            remove(number, &folder)
                .with_context(|| format!("cannot remove what is left of {}", folder.display()))?;
        }
    }
    Ok(())
}

/// Takes a free number and makes its folder. The caller holds the lock.
pub(super) fn claim(name: &str) -> Result<(u8, PathBuf)> {
    let racks = racks()?;
    let mut used = USED.lock().unwrap_or_else(PoisonError::into_inner);
    let mut free = (1..=250).filter(|number| racks.iter().all(|(taken, _)| taken != number)).peekable();
    let first = free.peek().copied().context("250 racks run")?;
    let number = free.find(|number| !used.contains(number)).unwrap_or(first);
    used.insert(number);
    let folder = Path::new(BASE).join(format!("rack-{number}-{name}"));
    fs::create_dir(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let owner = process_identity(std::process::id()).context("cannot read this process's start time")?;
    fs::write(folder.join("owner"), owner).context("cannot write the rack's owner")?;
    if racks.is_empty() {
        let mut before = String::new();
        for (path, wanted) in WANTED {
            let value = fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
            before.push_str(&format!("{path} {value}"));
            let enough = value.trim().parse::<u64>().unwrap_or(0) >= wanted.parse().unwrap_or(0);
            if !enough {
                fs::write(path, wanted).with_context(|| format!("cannot write {path}"))?;
            }
        }
        fs::write(SETTINGS, before).with_context(|| format!("cannot write {SETTINGS}"))?;
    }
    Ok((number, folder))
}

/// Pid and start time: a pid alone may be somebody else's by now.
fn process_identity(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything; field 22 of proc_pid_stat(5) is the 20th after it.
    let start = stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.to_owned();
    Some(format!("{pid} {start}"))
}

fn is_running(owner: &str) -> bool {
    let pid = owner.split(' ').next().and_then(|pid| pid.parse().ok());
    pid.and_then(process_identity).is_some_and(|identity| identity == owner)
}

/// Removes everything of a rack. The caller holds the lock.
pub(super) fn remove(number: u8, folder: &Path) -> Result<()> {
    let prefix = format!("{}-", network::bridge(number));
    kill_processes(folder)?;
    for group in control_groups(&prefix)? {
        kill_group(&group)?;
    }
    unmount(folder)?;
    detach(folder)?;
    for name in names_in(Path::new("/run/netns"))?.iter().filter(|name| name.starts_with(&prefix)) {
        images::run("ip", ["netns", "delete", name])?;
    }
    for group in control_groups(&prefix)? {
        remove_group(&group)?;
    }
    for (table, chain, rule) in network::rules(number) {
        let words = |action: &str| {
            ["-w", "-t", table, action, chain]
                .map(str::to_owned)
                .into_iter()
                .chain(rule.clone())
                .collect::<Vec<_>>()
        };
        while images::run("iptables", words("-C")).is_ok() {
            images::run("iptables", words("-D"))?;
        }
    }
    let bridge = network::bridge(number);
    if Path::new("/sys/class/net").join(&bridge).exists() {
        images::run("ip", ["link", "delete", &bridge])?;
    }
    fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    if racks()?.is_empty() {
        restore_settings()?;
    }
    Ok(())
}

fn restore_settings() -> Result<()> {
    let before = match fs::read_to_string(SETTINGS) {
        Ok(before) => before,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("cannot read {SETTINGS}")),
    };
    for (path, value) in before.lines().filter_map(|line| line.split_once(' ')) {
        fs::write(path, value).with_context(|| format!("cannot write {path}"))?;
    }
    fs::remove_file(SETTINGS).with_context(|| format!("cannot remove {SETTINGS}"))
}

fn names_in(folder: &Path) -> Result<Vec<String>> {
    match fs::read_dir(folder) {
        Ok(entries) => {
            Ok(entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect())
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error).with_context(|| format!("cannot list {}", folder.display())),
    }
}

/// Kills processes whose pid is noted in the rack's folder, if their command line still names that folder.
fn kill_processes(folder: &Path) -> Result<()> {
    let mut notes = vec![folder.join("dnsmasq.pid")];
    notes.extend(names_in(folder)?.iter().map(|name| folder.join(name).join("nspawn.pid")));
    for note in notes {
        let Ok(pid) = fs::read_to_string(&note).unwrap_or_default().trim().parse::<i32>() else { continue };
        let is_ours = || {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(&*folder.to_string_lossy())
        };
        if is_ours()
            && let Some(pid) = Pid::from_raw(pid)
        {
            // Gone in between is as good.
            let _ = kill_process(pid, Signal::KILL);
            wait::until("a left-over process ends", Duration::from_secs(20), || {
                Ok((!is_ours()).then_some(()))
            })?;
        }
    }
    Ok(())
}

/// Unmounts everything under a folder, the innermost first. A container that has just been killed may hold a mount
/// for another moment.
pub(super) fn unmount(folder: &Path) -> Result<()> {
    wait::until(&format!("{} can be unmounted", folder.display()), Duration::from_secs(30), || {
        let mut points = mounts_under(folder)?;
        points.sort_by_key(|point| std::cmp::Reverse(point.len()));
        for point in &points {
            // Whether it worked is what the next look shows.
            drop(images::run("umount", [point]));
        }
        Ok(mounts_under(folder)?.is_empty().then_some(()))
    })
}

/// Detaches loop devices on files in a folder; those of mounts are gone with them.
fn detach(folder: &Path) -> Result<()> {
    let list = images::capture("losetup", ["--list", "--noheadings", "--raw", "--output", "NAME,BACK-FILE"])?;
    for line in String::from_utf8_lossy(&list).lines() {
        if let Some((device, file)) = line.split_once(' ')
            && Path::new(file).starts_with(folder)
        {
            images::run("losetup", ["--detach", device])?;
        }
    }
    Ok(())
}

fn mounts_under(folder: &Path) -> Result<Vec<String>> {
    let table = fs::read_to_string("/proc/self/mountinfo").context("cannot read the mount table")?;
    let points = table.lines().filter_map(|line| line.split(' ').nth(4));
    Ok(points.filter(|point| Path::new(point).starts_with(folder)).map(str::to_owned).collect())
}

/// Where control groups for nodes are made: each hierarchy that systemd itself manages.
pub(super) fn hierarchies() -> Vec<PathBuf> {
    let base = Path::new("/sys/fs/cgroup");
    if base.join("cgroup.controllers").exists() {
        return vec![base.to_owned()];
    }
    ["systemd", "unified"].map(|name| base.join(name)).into_iter().filter(|path| path.exists()).collect()
}

/// Where processor time is rationed: the first version's own hierarchy, or the one there is.
pub(super) fn rations() -> Option<PathBuf> {
    let base = Path::new("/sys/fs/cgroup");
    let one = fs::read_to_string(base.join("cgroup.subtree_control")).unwrap_or_default();
    if one.split_whitespace().any(|controller| controller == "cpu") {
        return Some(base.to_owned());
    }
    let own = base.join("cpu");
    own.join("cpu.cfs_quota_us").exists().then_some(own)
}

fn control_groups(prefix: &str) -> Result<Vec<PathBuf>> {
    let mut groups = Vec::new();
    for hierarchy in hierarchies().into_iter().chain(rations()) {
        let names = names_in(&hierarchy)?;
        groups.extend(names.iter().filter(|name| name.starts_with(prefix)).map(|name| hierarchy.join(name)));
    }
    Ok(groups)
}

/// Kills every process in a control group and those below it. A container outlives a killed systemd-nspawn.
pub(super) fn kill_group(group: &Path) -> Result<()> {
    for name in names_in(group)? {
        let path = group.join(&name);
        if path.is_dir() {
            kill_group(&path)?;
        } else if name == "cgroup.procs" {
            let list =
                fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            for pid in list.lines().filter_map(|pid| pid.parse().ok()).filter_map(Pid::from_raw) {
                // Gone in between is as good.
                let _ = kill_process(pid, Signal::KILL);
            }
        }
    }
    Ok(())
}

/// Removes a control group and those below it, once the last process has left.
pub(super) fn remove_group(group: &Path) -> Result<()> {
    if !group.exists() {
        return Ok(());
    }
    for entry in fs::read_dir(group).with_context(|| format!("cannot list {}", group.display()))?.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_group(&entry.path())?;
        }
    }
    let mut last = None;
    let gone = wait::until("a control group is empty", Duration::from_secs(20), || {
        Ok(match fs::remove_dir(group) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                last = Some(error);
                None
            }
            _ => Some(()),
        })
    });
    match (gone, last) {
        (Ok(()), _) => Ok(()),
        (Err(_), Some(error)) => Err(error).with_context(|| format!("cannot remove {}", group.display())),
        (Err(error), None) => bail!(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_pid_and_start_time() {
        let me = process_identity(std::process::id()).unwrap();
        assert!(is_running(&me));
        assert!(!is_running(&format!("{} 1", std::process::id())));
        assert!(!is_running(""));
    }

    #[test]
    fn only_mounts_below_the_folder_are_found() {
        assert!(mounts_under(Path::new("/proc")).unwrap().contains(&"/proc".to_owned()));
        assert!(mounts_under(Path::new("/no/such")).unwrap().is_empty());
    }
}
