//! What the machine is made of. Everything may be missing; nothing here fails.

use std::path::Path;

use cluster::wire::{Facts, Mark, Stage};

use crate::host::Host;

/// Reads the facts that the kernel tells.
pub(super) fn read(host: &dyn Host) -> Facts {
    Facts {
        model: device_tree(host, "/proc/device-tree/model"),
        serial: device_tree(host, "/proc/device-tree/serial-number"),
        temperature_millicelsius: text(host, "/sys/class/thermal/thermal_zone0/temp")
            .and_then(|text| text.trim().parse().ok()),
        memory_bytes: text(host, "/proc/meminfo").as_deref().and_then(memory),
        disk_free_bytes: rustix::fs::statvfs("/").ok().map(|fs| fs.f_bavail.saturating_mul(fs.f_frsize)),
        engine: None,
        boot: text(host, "/proc/sys/kernel/random/boot_id").map(|id| id.trim().to_owned()),
        clock_synced: None,
        uptime_ms: text(host, "/proc/uptime").as_deref().and_then(uptime),
        memory_cgroup: crate::memory_cgroup::is_on(host),
    }
}

fn text(host: &dyn Host, path: &str) -> Option<String> {
    String::from_utf8(host.read(Path::new(path)).ok()??).ok()
}

/// Strings of the device tree end with a zero byte.
fn device_tree(host: &dyn Host, path: &str) -> Option<String> {
    let text = text(host, path)?;
    let text = text.trim_end_matches('\0').trim();
    (!text.is_empty()).then(|| text.to_owned())
}

fn memory(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

/// A mark for a stage that ends now.
pub(super) fn mark(host: &dyn Host, stage: Stage) -> Mark {
    Mark { stage, unix_ms: unix_ms(host), uptime_ms: uptime_ms(host) }
}

/// The clock in milliseconds since 1970.
pub(super) fn unix_ms(host: &dyn Host) -> u64 {
    let since = host.now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn uptime_ms(host: &dyn Host) -> u64 {
    text(host, "/proc/uptime").as_deref().and_then(uptime).unwrap_or_default()
}

/// Seconds with two decimals.
fn uptime(text: &str) -> Option<u64> {
    let (seconds, hundredths) = text.split_whitespace().next()?.split_once('.')?;
    Some(seconds.parse::<u64>().ok()? * 1000 + hundredths.parse::<u64>().ok()? * 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_kernel_writes() {
        assert_eq!(memory("MemTotal:        8032588 kB\nMemFree: 1 kB\n"), Some(8_225_370_112));
        assert_eq!(uptime("71.05 130.20\n"), Some(71_050));
        assert_eq!(uptime(""), None);
    }
}
