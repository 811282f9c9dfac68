//! Machines and their network, used as a library.

use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use builder::rehearse::{End, Lan, Mac, Machine, MachineSpec, Qemu, RehearseError, boot, mac};
use tempfile::TempDir;

use crate::card;
use crate::fixture::{Recipe, at, run};
use crate::guest::{Then, device_tree, kernel, pi_kernel};

/// How long a guest may take that does next to nothing.
const SOON: Duration = Duration::from_secs(60);

fn qemu() -> Qemu {
    Qemu::find().unwrap_or_else(|error| panic!("{error}; apt-get install qemu-system-arm"))
}

/// What `apt upgrade` would do on the Pi.
fn replace_kernel(card: &Path, folder: &Path, kernel: &[u8]) {
    let file = folder.join("kernel");
    std::fs::write(&file, kernel).unwrap();
    let drive = at(card, Recipe::boot_offset());
    run(Command::new("mcopy").args(["-o", "-i", &drive]).arg(&file).arg("::/kernel8.img"));
}

/// The remarks and the guest's lines, without their times.
fn log(folder: &Path, name: &str) -> Vec<String> {
    let text = std::fs::read_to_string(folder.join(format!("{name}.log"))).unwrap();
    text.lines().map(|line| line.split_once(' ').unwrap().1.to_owned()).collect()
}

fn lan(folder: &TempDir, ports: usize) -> Lan {
    Lan::start(&qemu(), folder.path(), ports, None).unwrap()
}

fn spec(folder: &TempDir, name: &str, index: usize, disk: PathBuf) -> MachineSpec {
    MachineSpec {
        name: name.to_owned(),
        index,
        disk,
        folder: folder.path().to_owned(),
        memory_mib: 128,
        cpus: 1,
        clock: None,
        follower: None,
    }
}

#[test]
fn reads_what_the_firmware_would_start() {
    let folder = tempfile::tempdir().unwrap();
    let card = card(folder.path(), "red00.img", kernel("hello", Then::Stay));
    let boot = boot::read(&card).unwrap();
    assert_eq!(boot.kernel, kernel("hello", Then::Stay));
    assert_eq!(boot.initramfs.unwrap(), b"initramfs");
    assert!(boot.cmdline.starts_with("console=serial0,115200 ") && boot.cmdline.ends_with(" resize"));

    run(Command::new("mdel").args(["-i", &at(&card, Recipe::boot_offset()), "::/kernel8.img"]));
    assert_eq!(boot::read(&card).unwrap_err().to_string(), "its boot partition has no kernel8.img");
}

#[test]
fn a_reboot_boots_what_the_card_says_then() {
    let folder = tempfile::tempdir().unwrap();
    let disk = card(folder.path(), "red00.img", kernel("first", Then::Reboot));
    let lan = lan(&folder, 1);
    let mut machine = Machine::start(&qemu(), &lan, spec(&folder, "red00", 0, disk.clone())).unwrap();
    assert_eq!(machine.wait(SOON), Some(End::Reboot));
    assert_eq!(machine.ended(), Some(End::Reboot), "it stays off");

    replace_kernel(&disk, folder.path(), &kernel("second", Then::PowerOff));
    machine.power_on().unwrap();
    assert_eq!(machine.wait(SOON), Some(End::PowerOff));
    assert_eq!(
        log(folder.path(), "red00"),
        [
            "[builder] power on",
            "first",
            "[builder] reboot",
            "[builder] power on",
            "second",
            "[builder] power off"
        ]
    );
}

#[test]
fn one_of_the_pis_own_kernels_gets_a_pi_three() {
    let folder = tempfile::tempdir().unwrap();
    let disk = card(folder.path(), "red00.img", pi_kernel("on a Pi", Then::Reboot));
    let drive = at(&disk, Recipe::boot_offset());
    let lan = lan(&folder, 1);
    let error = Machine::start(&qemu(), &lan, spec(&folder, "red00", 0, disk.clone())).unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(cause, "its boot partition has no bcm2710-rpi-3-b.dtb");

    let file = folder.path().join("bcm2710-rpi-3-b.dtb");
    std::fs::write(&file, device_tree(folder.path())).unwrap();
    run(Command::new("mcopy").args(["-i", &drive]).arg(&file).arg("::/"));
    let mut machine = Machine::start(&qemu(), &lan, spec(&folder, "red00", 0, disk.clone())).unwrap();
    assert_eq!(machine.wait(SOON), Some(End::Reboot));
    replace_kernel(&disk, folder.path(), &pi_kernel("off", Then::PowerOff));
    machine.power_on().unwrap();
    assert_eq!(machine.wait(SOON), Some(End::PowerOff));
    let expected =
        ["power on", "reboot", "power on", "power off"].map(|remark| format!("[builder] {remark}"));
    let log = log(folder.path(), "red00");
    assert_eq!(
        log.iter().filter(|line| line.starts_with('[')).collect::<Vec<_>>(),
        expected.iter().collect::<Vec<_>>()
    );
    assert!(log.contains(&"on a Pi".to_owned()) && log.contains(&"off".to_owned()), "{log:?}");
}

#[test]
fn a_pulled_plug_is_no_reboot_and_the_network_takes_the_machine_back() {
    let folder = tempfile::tempdir().unwrap();
    let disk = card(folder.path(), "red00.img", kernel("up", Then::Stay));
    let lan = lan(&folder, 2);
    let mut machine = Machine::start(&qemu(), &lan, spec(&folder, "red00", 1, disk)).unwrap();
    let up = |times: usize| {
        let deadline = Instant::now() + SOON;
        while log(folder.path(), "red00").iter().filter(|line| *line == "up").count() < times {
            assert!(Instant::now() < deadline, "{:?}", log(folder.path(), "red00"));
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    up(1);
    assert_eq!(machine.ended(), None);
    machine.kill();
    assert_eq!(machine.ended(), Some(End::Died));
    machine.power_on().unwrap();
    up(2);
    assert_eq!(machine.ended(), None);
}

/// A machine without QEMU: what it sends and gets are Ethernet frames.
struct Wire(UnixStream);

impl Wire {
    fn join(lan: &Lan, port: usize) -> Self {
        let stream = UnixStream::connect(lan.socket(port)).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        Self(stream)
    }

    /// Asks everybody who has an address.
    fn ask(&mut self, own: (Mac, Ipv4Addr), wanted: Ipv4Addr) {
        let (Mac(mac), ip) = own;
        let header = [0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1];
        let frame =
            [&[0xff; 6][..], &mac, &header, &mac, &ip.octets(), &[0; 6], &wanted.octets(), &[0; 18]].concat();
        self.0.write_all(&u32::try_from(frame.len()).unwrap().to_be_bytes()).unwrap();
        self.0.write_all(&frame).unwrap();
    }

    /// The sender's address in the next ARP frame of this kind: 1 asks, 2 answers.
    fn hear(&mut self, operation: u8) -> Ipv4Addr {
        loop {
            let mut length = [0; 4];
            self.0.read_exact(&mut length).unwrap();
            let mut frame = vec![0; usize::try_from(u32::from_be_bytes(length)).unwrap()];
            self.0.read_exact(&mut frame).unwrap();
            if frame[12..14] == [8, 6] && frame[21] == operation {
                return Ipv4Addr::new(frame[28], frame[29], frame[30], frame[31]);
            }
        }
    }
}

#[test]
fn machines_hear_each_other_and_the_router_also_after_a_power_cut() {
    let folder = tempfile::tempdir().unwrap();
    let lan = lan(&folder, 2);
    let (own, router) = (Ipv4Addr::new(192, 168, 76, 15), lan.network.router);
    let mut other = Wire::join(&lan, 1);
    // Who has an answer is connected.
    other.ask((mac(1), lan.network.name_server), router);
    assert_eq!(other.hear(2), router);
    for last in [15, 16] {
        // The one before has lost its power.
        let ip = Ipv4Addr::from_bits(own.to_bits() - 15 + last);
        let mut machine = Wire::join(&lan, 0);
        machine.ask((mac(0), ip), router);
        assert_eq!(machine.hear(2), router);
        assert_eq!(other.hear(1), ip);
        let deadline = Instant::now() + SOON;
        while lan.address_of(mac(0)) != Some(ip) {
            assert!(Instant::now() < deadline, "{:?}", lan.address_of(mac(0)));
            std::thread::yield_now();
        }
    }
    assert_eq!(lan.address_of(mac(2)), None);
}

#[test]
fn a_port_is_forwarded_to_whom_it_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let lan = lan(&folder, 0);
    let here = lan.forward(lan.network.first_lease, 8377).unwrap();
    assert!(here.ip().is_loopback());
    std::net::TcpStream::connect(here).unwrap();
    let another = lan.forward(lan.network.first_lease, 8377).unwrap();
    assert_ne!(here, another);
}

#[test]
fn qemus_own_words_say_why_it_does_not_start() {
    let folder = tempfile::tempdir().unwrap();
    let disk = card(folder.path(), "red00.img", kernel("x", Then::Stay));
    let lan = lan(&folder, 1);
    let spec = MachineSpec { cpus: 9999, ..spec(&folder, "red00", 0, disk) };
    let error = Machine::start(&qemu(), &lan, spec).unwrap_err();
    let RehearseError::Refused { name, said } = &error else { panic!("{error}") };
    assert!(name == "red00" && said.contains("9999"), "{error}");
}
