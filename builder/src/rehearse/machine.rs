//! A virtual Pi: one QEMU with a copy of a card.
//!
//! QEMU itself would start again with the kernel command line that it was given, so a reboot of the guest ends it
//! here, and [`Machine::power_on`] starts it with what the card says then.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf, absolute};
use std::sync::mpsc::Sender;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use super::boot::{self, Board, Boot};
use super::console::Console;
use super::error::RehearseError;
use super::folder::new_file;
use super::lan::Lan;
use super::monitor::Stop;
use super::process::{Launch, Process};
use super::qemu::{Accelerator, Qemu};
use super::watch::Mac;

/// What a machine is made of.
#[derive(Debug, Clone)]
pub struct MachineSpec {
    /// Its name: for messages and files.
    pub name: String,
    /// Its number, from 0: the network's port and the MAC address.
    pub index: usize,
    /// Its card. The machine writes to it, so it should be a copy.
    pub disk: PathBuf,
    /// Where its files go: `NAME.log` is the console, `NAME.qemu.log` what QEMU complains of.
    pub folder: PathBuf,
    /// Memory. A Pi 3 has 1024.
    pub memory_mib: u32,
    /// Processors. A Pi 3 has 4.
    pub cpus: u32,
    /// What its clock with a battery says at power-on; this computer's time without it.
    pub clock: Option<SystemTime>,
    /// Who else gets every line of the console, with its time and its end.
    pub follower: Option<Sender<String>>,
}

/// How a machine came to be off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The guest asked for a reboot: switch it on again.
    Reboot,
    /// The guest switched itself off.
    PowerOff,
    /// QEMU ended without the guest having asked for it, or was killed.
    Died,
}

/// A virtual Pi. Dropping it is pulling its plug.
#[derive(Debug)]
pub struct Machine {
    qemu: Qemu,
    spec: MachineSpec,
    lan_folder: PathBuf,
    socket: PathBuf,
    console: Console,
    running: Option<Running>,
    end: Option<End>,
}

#[derive(Debug)]
struct Running {
    process: Process,
    recorder: JoinHandle<()>,
}

/// The MAC address of a machine, one per number. QEMU's network card on USB begins with 40, whatever it is told; and Linux
/// calls it eth0, as on a Pi, because that is no locally administered address.
pub fn mac(index: usize) -> Mac {
    let [.., high, low] = index.to_be_bytes();
    Mac([0x40, b'r', b'h', 0, high, low])
}

impl Machine {
    /// Switches a new machine on.
    ///
    /// # Errors
    /// When its card has nothing to boot, or QEMU does not start.
    pub fn start(qemu: &Qemu, lan: &Lan, spec: MachineSpec) -> Result<Self, RehearseError> {
        let log = spec.folder.join(format!("{}.log", spec.name));
        let console = Console::create(&log, spec.follower.clone()).map_err(|source| RehearseError::File {
            what: "write",
            path: log,
            source,
        })?;
        let mut machine = Self {
            qemu: qemu.clone(),
            socket: lan.socket(spec.index),
            spec,
            lan_folder: lan.folder().to_owned(),
            console,
            running: None,
            end: None,
        };
        machine.power_on()?;
        Ok(machine)
    }

    /// Switches it on again, with what its card says now. A running one loses its power first.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn power_on(&mut self) -> Result<(), RehearseError> {
        self.kill();
        let boot = boot::read(&self.spec.disk)
            .map_err(|source| RehearseError::Boot { card: self.spec.disk.clone(), source })?;
        let files = Files::write(&self.spec, &boot)?;
        let failed = |source| RehearseError::Start { program: self.spec.name.clone(), source };
        let (ours, theirs) = UnixStream::pair().map_err(failed)?;
        let launch = Launch {
            name: &self.spec.name,
            folder: &self.lan_folder,
            complaints: files.complaints.clone(),
            arguments: arguments(&self.qemu, &self.spec, &files, &self.socket, &boot.cmdline),
            output: theirs,
        };
        self.console.remark("power on");
        let recorder = self.console.record(ours);
        let process = Process::start(&self.qemu, launch)?;
        (self.running, self.end) = (Some(Running { process, recorder }), None);
        Ok(())
    }

    /// How it came to be off; `None` while it runs.
    pub fn ended(&mut self) -> Option<End> {
        self.wait(Duration::ZERO)
    }

    /// As [`Self::ended`], but waits for it at most so long.
    pub fn wait(&mut self, limit: Duration) -> Option<End> {
        if let Some(running) = &self.running {
            let end = match running.process.stopped(limit)? {
                Stop::Reset => End::Reboot,
                Stop::Shutdown => End::PowerOff,
                Stop::Other => End::Died,
            };
            self.stop(end);
        }
        self.end
    }

    /// Pulls its plug. What the guest had not written to its card is lost, as on a Pi.
    pub fn kill(&mut self) {
        if self.running.is_some() {
            self.stop(End::Died);
        }
    }

    /// Sets its clock with a battery, from the next time it is powered on.
    pub const fn set_clock(&mut self, to: SystemTime) {
        self.spec.clock = Some(to);
    }

    /// What it is made of.
    pub const fn spec(&self) -> &MachineSpec {
        &self.spec
    }

    fn stop(&mut self, end: End) {
        let Some(Running { process, recorder }) = self.running.take() else { return };
        match end {
            End::Reboot | End::PowerOff => process.quit(),
            End::Died => drop(process),
        }
        // The stream has ended with QEMU, so the recorder has, too.
        let _panicked = recorder.join();
        self.console.remark(match end {
            End::Reboot => "reboot",
            End::PowerOff => "power off",
            End::Died => "power lost",
        });
        self.end = Some(end);
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Files that QEMU is started with.
#[derive(Debug)]
struct Files {
    disk: PathBuf,
    kernel: PathBuf,
    initramfs: Option<PathBuf>,
    /// Of a Pi 3, if it is one.
    device_tree: Option<PathBuf>,
    complaints: PathBuf,
}

impl Files {
    /// QEMU runs in another folder, so its files are named from the root.
    fn write(spec: &MachineSpec, boot: &Boot) -> Result<Self, RehearseError> {
        let full = |path: &Path| {
            absolute(path).map_err(|source| RehearseError::File {
                what: "use",
                path: path.to_owned(),
                source,
            })
        };
        let put = |kind: &str, bytes: &[u8]| {
            let path = full(&spec.folder.join(format!("{}.{kind}", spec.name)))?;
            match write_private(&path, bytes) {
                Ok(()) => Ok(path),
                Err(source) => Err(RehearseError::File { what: "write", path, source }),
            }
        };
        Ok(Self {
            disk: full(&spec.disk)?,
            kernel: put("kernel", &boot.kernel)?,
            initramfs: boot.initramfs.as_ref().map(|bytes| put("initramfs", bytes)).transpose()?,
            device_tree: match &boot.board {
                Board::Virt => None,
                Board::Pi3 { device_tree } => {
                    round_up(&spec.disk)?;
                    Some(put("dtb", device_tree)?)
                }
            },
            complaints: full(&spec.folder.join(format!("{}.qemu.log", spec.name)))?,
        })
    }
}

/// QEMU's SD card controller takes powers of two only.
fn round_up(disk: &Path) -> Result<(), RehearseError> {
    let round = || {
        let file = std::fs::File::options().write(true).open(disk)?;
        let size = file.metadata()?.len();
        if size.is_power_of_two() { Ok(()) } else { file.set_len(size.next_power_of_two()) }
    };
    round().map_err(|source| RehearseError::File { what: "grow", path: disk.to_owned(), source })
}

fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    std::io::Write::write_all(&mut new_file(path)?, bytes)
}

fn arguments(qemu: &Qemu, spec: &MachineSpec, files: &Files, socket: &Path, cmdline: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut say = |parts: &[&str]| words.extend(parts.iter().map(|&part| part.to_owned()));
    // QEMU would start the guest again with its old command line; and a stopped one stays until we know why.
    say(&["-action", "reboot=shutdown,shutdown=pause"]);
    if let Some(clock) = spec.clock {
        let time = humantime::format_rfc3339_seconds(clock).to_string();
        say(&["-rtc", &format!("base={}", time.trim_end_matches('Z'))]);
    }
    say(&["-kernel", &text(&files.kernel)]);
    if let Some(initramfs) = &files.initramfs {
        say(&["-initrd", &text(initramfs)]);
    }
    let disk = text(&files.disk).replace(',', ",,");
    // The disk is a copy that outlives no crash of this computer: the guest's many flushes need not wait for a real disk.
    let disk = format!("format=raw,cache=unsafe,discard=unmap,file={disk}");
    let socket = text(socket).replace(',', ",,");
    say(&["-netdev", &format!("stream,id=lan,server=off,addr.type=unix,addr.path={socket}")]);
    let lan = format!("netdev=lan,mac={}", mac(spec.index));
    // Descriptor 1 is one end of a socket pair of which we have the other.
    let console = "socket,id=console,fd=1";
    match &files.device_tree {
        // The disk is on PCI, which every initramfs has; the network is not, so that it is called eth0, as on a Pi.
        None => {
            say(&["-machine", qemu.accelerator.machine()]);
            say(&qemu.accelerator.arguments());
            say(&["-m", &spec.memory_mib.to_string(), "-smp", &spec.cpus.to_string()]);
            let slow = if qemu.accelerator == Accelerator::Tcg { TRANSLATED } else { "" };
            say(&["-append", &format!("{cmdline}{slow} console=ttyAMA0")]);
            say(&["-drive", &format!("if=none,id=card,{disk}"), "-device", "virtio-blk-pci,drive=card"]);
            say(&["-device", &format!("virtio-net-device,{lan}"), "-device", "virtio-rng-pci"]);
            say(&["-chardev", console, "-serial", "chardev:console"]);
        }
        // Memory and processors are a Pi's. Which of its serial lines the kernel uses is the card's choice.
        Some(device_tree) => {
            say(&["-machine", "raspi3b", "-accel", "tcg,thread=multi", "-dtb", &text(device_tree)]);
            say(&["-append", &format!("{cmdline}{TRANSLATED} {PI3_WORDS}")]);
            say(&["-drive", &format!("if=sd,{disk}"), "-device", &format!("usb-net,{lan}")]);
            say(&["-chardev", &format!("{console},mux=on")]);
            say(&["-serial", "chardev:console", "-serial", "chardev:console"]);
        }
    }
    words
}

/// What the guest is told where QEMU translates. systemd: that a busy computer takes its time, else it would give up on a
/// healthy disk, as it does after 90 seconds, and end in emergency mode. The kernel: not to keep its page tables from its
/// programs, since there is nothing to be kept, and every change of tables throws away what QEMU had found out of them,
/// which costs it a third of its speed (Linux, Documentation/admin-guide/kernel-parameters.txt).
const TRANSLATED: &str = " systemd.default_device_timeout_sec=15min systemd.default_timeout_start_sec=15min kpti=0 mitigations=off";

/// Every name that the console may have, and what the Pi's USB driver must not do in QEMU.
const PI3_WORDS: &str = "console=ttyS0,115200 console=ttyAMA1,115200 console=ttyAMA0,115200 8250.nr_uarts=1 \
    dwc_otg.lpm_enable=0 dwc_otg.fiq_fsm_enable=0";

/// QEMU takes paths as text; where one is not, it says that it cannot open it.
fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> MachineSpec {
        MachineSpec {
            name: "red01".to_owned(),
            index: 1,
            disk: PathBuf::from("/r/a,b/red01.img"),
            folder: PathBuf::from("/r"),
            memory_mib: 1024,
            cpus: 2,
            clock: Some(std::time::UNIX_EPOCH + Duration::from_secs(1_790_000_000)),
            follower: None,
        }
    }

    fn words(accelerator: Accelerator, initramfs: Option<&str>, device_tree: Option<&str>) -> String {
        let files = Files {
            disk: spec().disk,
            kernel: PathBuf::from("/r/red01.kernel"),
            initramfs: initramfs.map(PathBuf::from),
            device_tree: device_tree.map(PathBuf::from),
            complaints: PathBuf::new(),
        };
        let qemu = Qemu { program: "qemu", version: (10, 0), accelerator };
        arguments(&qemu, &spec(), &files, Path::new("/s/1"), "root=PARTUUID=1-02 systemd.run=/x")
            .join(" ")
            .replace(" -", "\n-")
    }

    #[test]
    fn a_machine_boots_with_the_cards_own_words_and_a_console() {
        insta::assert_snapshot!(words(Accelerator::Tcg, Some("/r/red01.initramfs"), None), @r"
        -action reboot=shutdown,shutdown=pause
        -rtc base=2026-09-21T14:13:20
        -kernel /r/red01.kernel
        -initrd /r/red01.initramfs
        -netdev stream,id=lan,server=off,addr.type=unix,addr.path=/s/1
        -machine virt
        -accel tcg,thread=multi
        -cpu cortex-a72
        -m 1024
        -smp 2
        -append root=PARTUUID=1-02 systemd.run=/x systemd.default_device_timeout_sec=15min systemd.default_timeout_start_sec=15min kpti=0 mitigations=off console=ttyAMA0
        -drive if=none,id=card,format=raw,cache=unsafe,discard=unmap,file=/r/a,,b/red01.img
        -device virtio-blk-pci,drive=card
        -device virtio-net-device,netdev=lan,mac=40:72:68:00:00:01
        -device virtio-rng-pci
        -chardev socket,id=console,fd=1
        -serial chardev:console
        ");
        let kvm = words(Accelerator::Kvm, None, None);
        assert!(kvm.contains("-machine virt,gic-version=host\n-accel kvm\n-cpu host\n"), "{kvm}");
        assert!(!kvm.contains("-initrd") && kvm.contains("systemd.run=/x console=ttyAMA0\n"), "{kvm}");
    }

    #[test]
    fn a_pi_three_is_what_the_pis_own_kernels_get() {
        insta::assert_snapshot!(words(Accelerator::Kvm, Some("/r/red01.initramfs"), Some("/r/red01.dtb")), @r"
        -action reboot=shutdown,shutdown=pause
        -rtc base=2026-09-21T14:13:20
        -kernel /r/red01.kernel
        -initrd /r/red01.initramfs
        -netdev stream,id=lan,server=off,addr.type=unix,addr.path=/s/1
        -machine raspi3b
        -accel tcg,thread=multi
        -dtb /r/red01.dtb
        -append root=PARTUUID=1-02 systemd.run=/x systemd.default_device_timeout_sec=15min systemd.default_timeout_start_sec=15min kpti=0 mitigations=off console=ttyS0,115200 console=ttyAMA1,115200 console=ttyAMA0,115200 8250.nr_uarts=1 dwc_otg.lpm_enable=0 dwc_otg.fiq_fsm_enable=0
        -drive if=sd,format=raw,cache=unsafe,discard=unmap,file=/r/a,,b/red01.img
        -device usb-net,netdev=lan,mac=40:72:68:00:00:01
        -chardev socket,id=console,fd=1,mux=on
        -serial chardev:console
        -serial chardev:console
        ");
    }

    #[test]
    fn machines_have_addresses_of_their_own() {
        assert_eq!(mac(0).to_string(), "40:72:68:00:00:00");
        assert_eq!(mac(258).to_string(), "40:72:68:00:01:02");
        assert_eq!(mac(0).0[0] & 3, 0, "eth0 on USB, and of one machine");
    }
}
