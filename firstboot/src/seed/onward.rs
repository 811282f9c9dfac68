//! From the boot that ran the seed stage on to the normal one, without a reboot.
//!
//! systemd stopped at `kernel-command-line.target`, before network, login and any service of the distribution, so little
//! has looked at what the seed stage changed: what has is told here. What cannot be told is left to a reboot.

use std::path::Path;

use cluster::card::{Card, Start};

use super::SeedError;
use crate::adopt::UNIT;
use crate::host::{Host, Program};

/// Where systemd's run-generator would have us stay; never the way on.
const HOOK_TARGET: &str = "kernel-command-line.target";
/// Debian's default, which pulls in multi-user.target where there is no desktop.
const DEFAULT_TARGET: &str = "graphical.target";
/// Switches every radio on that rfkill has off: the state that was saved for them has been restored already.
const UNBLOCK: &str = r#"for radio in /sys/class/rfkill/*; do
    read -r kind <"$radio/type" || continue
    if [ "$kind" = wlan ]; then echo 0 >"$radio/soft"; fi
done"#;
/// Loaded the image's layout onto the console before the seed stage.
const KEYBOARD: &str = "keyboard-setup.service";
/// Pulls in all of cloud-init.
const CLOUD_INIT: &str = "cloud-init.target";
/// Units that are gone with the next boot (systemd.unit(5)).
const RUNTIME_UNITS: &str = "/run/systemd/system";

/// Goes on to the target that this system boots into by itself. Everything is tried, whatever failed before.
///
/// Power lost here: the next boot is a normal one.
///
/// # Errors
/// The first thing that failed; then only a reboot brings a boot that is as it should be.
pub fn go_on(root: &dyn Host, card: &Card) -> Result<(), SeedError> {
    let run = |name: &str, args: &[&str]| -> Result<(), SeedError> {
        let args = args.iter().map(|&arg| arg.to_owned()).collect();
        root.run(&Program { args, ..Program::new(name, []) })?;
        Ok(())
    };
    let mut results = Vec::new();
    // The kernel still has the image's name, and DHCP would carry it.
    results.push(run("hostname", &[card.node.as_str()]));
    if card.wifi.is_some() {
        results.push(run("sh", &["-c", UNBLOCK]));
    }
    if card.start == Start::Hook {
        results.push(skip_cloud_init(root));
    }
    // systemd has not seen the agent's unit, nor what is masked and enabled now.
    results.push(run("systemctl", &["daemon-reload"]));
    if card.keymap.is_some() && is_packaged(root, KEYBOARD) {
        results.push(run("systemctl", &["--no-block", "restart", KEYBOARD]));
    }
    // Where cloud-init started us, all of the normal boot is there but what systemd has just learned of.
    let next = match card.start {
        Start::CloudInit => UNIT.to_owned(),
        Start::Hook => normal_target(root),
    };
    results.push(run("systemctl", &["--no-block", "start", &next]));
    results.into_iter().collect()
}

/// The default target of the files; what says otherwise are the words on the kernel command line.
fn normal_target(root: &dyn Host) -> String {
    let said = root.run(&Program::new("systemctl", ["get-default"])).unwrap_or_default();
    let said = String::from_utf8_lossy(&said).trim().to_owned();
    if said.ends_with(".target") && said != HOOK_TARGET { said } else { DEFAULT_TARGET.to_owned() }
}

/// Masks cloud-init until the next boot. Its generator has enabled it before the seed stage switched it off, and enables it
/// again at the reload, since `ds-identify` answers from its cache in `/run`. Its services would then be skipped one by one,
/// but only in their order: sshd and the login would wait for the network.
fn skip_cloud_init(root: &dyn Host) -> Result<(), SeedError> {
    if is_packaged(root, CLOUD_INIT) {
        root.link(Path::new("/dev/null"), &Path::new(RUNTIME_UNITS).join(CLOUD_INIT))?;
    }
    Ok(())
}

/// Whether the image has this unit.
fn is_packaged(root: &dyn Host, unit: &str) -> bool {
    let packaged =
        ["/usr/lib/systemd/system", "/lib/systemd/system"].map(|folder| Path::new(folder).join(unit));
    packaged.iter().any(|path| matches!(root.read(path), Ok(Some(_))))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use std::time::UNIX_EPOCH;

    use super::super::tests::pi;
    use super::*;
    use crate::host::fake::{FakeHost, Fault, Files, Power};

    /// A machine that says this of its default target, and can do everything else.
    fn machine(power: &Arc<Power>, default: &'static str, files: Files) -> FakeHost {
        FakeHost::new(Arc::clone(power), files, UNIX_EPOCH).with_programs(move |program, _| {
            let asked = program.args.first().is_some_and(|arg| arg == "get-default");
            Ok(if asked { default.into() } else { Vec::new() })
        })
    }

    fn went_on(default: &'static str, card: &Card, files: Files) -> Vec<String> {
        let power: Arc<Power> = Arc::default();
        go_on(&machine(&power, default, files), card).unwrap();
        power.log()
    }

    #[test]
    fn the_name_comes_before_anything_that_could_tell_it() {
        let card = Card { wifi: None, keymap: None, ..pi::card() };
        assert_eq!(
            went_on("multi-user.target\n", &card, BTreeMap::new()),
            [
                "run hostname red03",
                "run systemctl daemon-reload",
                "run systemctl get-default",
                "run systemctl --no-block start multi-user.target"
            ]
        );
    }

    #[test]
    fn a_radio_and_a_keyboard_are_told_where_there_are_any() {
        let keyboard = pi::disk(&[("/usr/lib/systemd/system/keyboard-setup.service", b"")]);
        let log = went_on("graphical.target\n", &pi::card(), keyboard).join("\n");
        assert!(log.contains("run sh -c for radio in /sys/class/rfkill/*"), "{log}");
        assert!(log.contains("run systemctl --no-block restart keyboard-setup.service"), "{log}");
        let log = went_on("graphical.target\n", &pi::card(), BTreeMap::new()).join("\n");
        assert!(!log.contains("keyboard-setup"), "{log}");
    }

    #[test]
    fn the_hooks_own_target_is_never_the_way_on() {
        for default in ["kernel-command-line.target\n", "", "Failed to get default target"] {
            let log = went_on(default, &pi::card(), BTreeMap::new());
            assert_eq!(log.last().unwrap(), "run systemctl --no-block start graphical.target", "{default}");
        }
    }

    #[test]
    fn after_cloud_init_only_the_agent_is_missing() {
        let card = Card { start: Start::CloudInit, ..pi::card() };
        let log = went_on("graphical.target\n", &card, BTreeMap::new());
        assert_eq!(log.last().unwrap(), "run systemctl --no-block start firstboot.service");
    }

    #[test]
    fn whatever_fails_is_told_and_the_rest_is_done() {
        let card = Card { keymap: None, ..pi::card() };
        for (k, is_told) in [(0, true), (1, true), (2, true), (3, false), (4, true)] {
            let power = Power::with(Fault::FailAt(k));
            let result = go_on(&machine(&power, "multi-user.target", BTreeMap::new()), &card);
            assert_eq!(result.is_err(), is_told, "{:?}", power.log());
            // Without an answer about the default there still is one.
            let target = if k == 3 { DEFAULT_TARGET } else { "multi-user.target" };
            assert_eq!(power.log().last().unwrap(), &format!("run systemctl --no-block start {target}"));
        }
    }
}
