//! Which disks there are, as the kernel tells.

use std::fmt;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::refusal::Refusal;

/// Where the kernel tells. Another place in tests only.
#[derive(Debug, Clone)]
pub struct Kernel {
    /// `/sys`.
    pub sys: PathBuf,
    /// `/proc`.
    pub proc: PathBuf,
    /// `/dev`.
    pub dev: PathBuf,
}

impl Default for Kernel {
    fn default() -> Self {
        Self { sys: "/sys".into(), proc: "/proc".into(), dev: "/dev".into() }
    }
}

/// What the kernel calls a block device, whatever its name: major and minor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Number(pub u32, pub u32);

impl Number {
    /// From a file's device number.
    pub fn of(rdev: u64) -> Self {
        Self(rustix::fs::major(rdev), rustix::fs::minor(rdev))
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.0, self.1)
    }
}

impl std::str::FromStr for Number {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        let (major, minor) = text.trim().split_once(':').ok_or(())?;
        Ok(Self(major.parse().map_err(|_| ())?, minor.parse().map_err(|_| ())?))
    }
}

/// How a disk is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Bus {
    /// A card reader, a stick or a disk at USB.
    Usb,
    /// A slot for SD cards, or a soldered eMMC.
    Mmc,
    /// NVM Express.
    Nvme,
    /// SATA.
    Ata,
    /// A virtual machine's disk.
    Virtio,
    /// A file that is made to look like a disk.
    Loop,
    /// Anything else.
    Other,
}

impl fmt::Display for Bus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Usb => "usb",
            Self::Mmc => "mmc",
            Self::Nvme => "nvme",
            Self::Ata => "ata",
            Self::Virtio => "virtio",
            Self::Loop => "loop",
            Self::Other => "other",
        })
    }
}

/// A disk, or a reader without a card.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Disk {
    /// The name under which it is opened, such as `/dev/sdb`.
    pub path: PathBuf,
    /// The kernel's number.
    #[serde(skip)]
    pub number: Number,
    /// Bytes; 0 for a reader without a card.
    pub size: u64,
    /// How it is connected.
    pub bus: Bus,
    /// Maker and model, as far as it says.
    pub model: Option<String>,
    /// Its serial number; of a loop device the file behind it.
    pub serial: Option<String>,
    /// Whether it, or the card in it, is made to be taken out.
    pub removable: bool,
    /// Whether it is write-protected.
    pub read_only: bool,
    /// Another one with every disk and every card put in (since Linux 5.15).
    #[serde(skip)]
    pub sequence: Option<u64>,
    /// Its partitions, as the kernel knows them.
    pub partitions: Vec<Partition>,
}

/// A partition of a [`Disk`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Partition {
    /// Such as `/dev/sdb1`.
    pub path: PathBuf,
    /// The kernel's number.
    #[serde(skip)]
    pub number: Number,
    /// Bytes.
    pub size: u64,
}

/// Sectors of sysfs are always of 512 bytes (Documentation/ABI/stable/sysfs-block).
const SYSFS_SECTOR: u64 = 512;

impl Kernel {
    /// All disks a card could be, or be taken for, sorted by name. Empty loop devices and memory disks are left out.
    ///
    /// # Errors
    /// When sysfs cannot be read.
    pub fn disks(&self) -> io::Result<Vec<Disk>> {
        let mut disks = Vec::new();
        for entry in std::fs::read_dir(self.sys.join("block"))? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            let virtual_kind = ["ram", "zram", "dm-", "md", "sr", "fd", "mtdblock", "nbd"];
            if virtual_kind.iter().any(|kind| name.starts_with(kind)) || name.contains("boot") {
                continue;
            }
            match self.disk(&name) {
                Some(disk) if disk.bus == Bus::Loop && disk.size == 0 => {}
                Some(disk) => disks.push(disk),
                None => {}
            }
        }
        disks.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(disks)
    }

    /// The whole disk that a path leads to.
    ///
    /// # Errors
    /// When it leads to something else, with the reason.
    pub fn disk_at(&self, given: &Path) -> Result<Disk, Refusal> {
        let metadata = std::fs::metadata(given)
            .map_err(|source| Refusal::Absent { path: given.to_owned(), source: source.into() })?;
        if !metadata.file_type().is_block_device() {
            return Err(Refusal::NoBlockDevice(given.to_owned()));
        }
        let number = Number::of(metadata.rdev());
        let folder = self.folder(number).ok_or_else(|| Refusal::Unknown(given.to_owned()))?;
        if folder.join("partition").exists() {
            let whole = folder.parent().and_then(Path::file_name).unwrap_or_default();
            return Err(Refusal::Partition { path: given.to_owned(), whole: self.dev.join(whole) });
        }
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let disk = self.disk(&name).filter(|disk| disk.number == number);
        disk.ok_or_else(|| Refusal::Unknown(given.to_owned()))
    }

    /// Where the kernel tells of a block device.
    pub(super) fn folder(&self, number: Number) -> Option<PathBuf> {
        self.sys.join("dev/block").join(number.to_string()).canonicalize().ok()
    }

    fn disk(&self, name: &str) -> Option<Disk> {
        let folder = self.sys.join("block").join(name).canonicalize().ok()?;
        let bus = bus(&folder, name);
        let text = |file: &str| read(&folder.join(file));
        let soldered = bus == Bus::Mmc && text("device/type").as_deref() != Some("SD");
        let removable = match bus {
            Bus::Mmc => !soldered,
            // Here the kernel's bit need not mean the medium: at ports that may be unplugged it was set for the whole
            // disk by many releases (drivers/ata/libata-scsi.c).
            Bus::Ata | Bus::Nvme | Bus::Virtio => false,
            _ => text("removable").as_deref() == Some("1"),
        };
        let usb = folder.ancestors().find(|ancestor| ancestor.join("idVendor").exists());
        let serial = match bus {
            Bus::Loop => text("loop/backing_file"),
            Bus::Usb => usb.and_then(|usb| read(&usb.join("serial"))),
            _ => text("device/serial").or_else(|| text("serial")).or_else(|| unit_serial(&folder)),
        };
        let words = [text("device/vendor"), text("device/model").or_else(|| text("device/name"))];
        let model = words.into_iter().flatten().collect::<Vec<_>>().join(" ");
        Some(Disk {
            path: self.dev.join(name),
            number: text("dev")?.parse().ok()?,
            size: text("size")?.parse::<u64>().ok()?.saturating_mul(SYSFS_SECTOR),
            bus,
            model: (!model.is_empty()).then_some(model),
            serial,
            removable,
            read_only: text("ro").as_deref() == Some("1"),
            sequence: text("diskseq").and_then(|number| number.parse().ok()),
            partitions: self.partitions(&folder),
        })
    }

    fn partitions(&self, folder: &Path) -> Vec<Partition> {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let mut partitions: Vec<_> = entries
            .filter_map(|entry| {
                let path = entry.path();
                read(&path.join("partition"))?;
                Some(Partition {
                    path: self.dev.join(entry.file_name()),
                    number: read(&path.join("dev"))?.parse().ok()?,
                    size: read(&path.join("size"))?.parse::<u64>().ok()?.saturating_mul(SYSFS_SECTOR),
                })
            })
            .collect();
        partitions.sort_by_key(|partition| partition.number);
        partitions
    }
}

impl Disk {
    /// The disk itself and its partitions.
    pub(super) fn numbers(&self) -> impl Iterator<Item = Number> {
        std::iter::once(self.number).chain(self.partitions.iter().map(|partition| partition.number))
    }

    /// What it is to a person: model, bus, size.
    pub fn describe(&self) -> String {
        let model = self.model.as_deref().unwrap_or("disk");
        format!("{model}, {}, {}", self.bus, crate::report::Bytes(self.size))
    }
}

/// A line of sysfs, without the spaces that pad it; `None` if it is absent or empty.
fn read(path: &Path) -> Option<String> {
    printable(&std::fs::read_to_string(path).ok()?)
}

/// The serial number of a SATA or SCSI disk, which is behind four bytes of header (SPC, "Unit Serial Number VPD page").
fn unit_serial(folder: &Path) -> Option<String> {
    let page = std::fs::read(folder.join("device/vpd_pg80")).ok()?;
    printable(&String::from_utf8_lossy(page.get(4..)?))
}

fn printable(text: &str) -> Option<String> {
    // It comes from the device, and goes to a terminal.
    let text: String = text.chars().filter(|c| !c.is_control()).collect();
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

fn bus(folder: &Path, name: &str) -> Bus {
    let has = |part: &str| folder.components().any(|c| c.as_os_str().to_string_lossy().starts_with(part));
    match name {
        _ if has("usb") => Bus::Usb,
        _ if name.starts_with("mmcblk") => Bus::Mmc,
        _ if name.starts_with("nvme") => Bus::Nvme,
        _ if name.starts_with("loop") => Bus::Loop,
        _ if has("virtio") => Bus::Virtio,
        _ if has("ata") => Bus::Ata,
        _ => Bus::Other,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A tree as the kernel's, with a reader at USB that holds a card of two partitions.
    pub(crate) fn kernel(root: &Path) -> Kernel {
        let kernel = Kernel { sys: root.join("sys"), proc: root.join("proc"), dev: "/dev".into() };
        put(&kernel.proc.join("self/mountinfo"), "22 1 259:2 / / rw - ext4 /dev/nvme0n1p2 rw\n");
        put(&kernel.proc.join("swaps"), "Filename Type Size Used Priority\n");
        add_reader(&kernel, "sdb", 16);
        kernel
    }

    /// Another one like it, of that name and minor number.
    pub(crate) fn add_reader(kernel: &Kernel, name: &str, minor: u32) {
        let usb = kernel.sys.join("devices/pci0000:00/usb1").join(format!("1-{minor}"));
        let disk = usb.join(format!("1-2:1.0/host6/target6:0:0/6:0:0:0/block/{name}"));
        put(&usb.join("idVendor"), "0bda\n");
        put(&usb.join("serial"), "2012\u{1b}0926\n");
        for (file, text) in [
            ("size", "62333952\n"),
            ("removable", "1\n"),
            ("ro", "0\n"),
            ("diskseq", "41\n"),
            ("device/vendor", "Generic \n"),
            ("device/model", "USB3.0 CRW   -SD\n"),
        ] {
            put(&disk.join(file), text);
        }
        put(&disk.join("dev"), &format!("8:{minor}\n"));
        for (number, sectors) in [(1, 1_048_576), (2, 8192)] {
            let part = disk.join(format!("{name}{number}"));
            put(&part.join("partition"), &format!("{number}\n"));
            put(&part.join("dev"), &format!("8:{}\n", minor + number));
            put(&part.join("size"), &format!("{sectors}\n"));
        }
        let link = |to: &Path, from: PathBuf| {
            std::fs::create_dir_all(from.parent().unwrap()).unwrap();
            std::os::unix::fs::symlink(to, from).unwrap();
        };
        link(&disk, kernel.sys.join("block").join(name));
        for (number, part) in [(0, String::new()), (1, format!("{name}1")), (2, format!("{name}2"))] {
            link(&disk.join(part), kernel.sys.join("dev/block").join(format!("8:{}", minor + number)));
        }
    }

    /// A disk that is built in, with the bit the kernel sets for some of them.
    pub(crate) fn add_fixed(kernel: &Kernel, at: &str, name: &str, (file, serial): (&str, &str)) {
        let disk = kernel.sys.join("devices/pci0000:00").join(at).join("block").join(name);
        for (file, text) in
            [("size", "468862128\n"), ("removable", "1\n"), ("ro", "0\n"), ("dev", "8:0\n"), (file, serial)]
        {
            put(&disk.join(file), text);
        }
        std::os::unix::fs::symlink(&disk, kernel.sys.join("block").join(name)).unwrap();
    }

    fn put(path: &Path, text: &str) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    #[test]
    fn a_card_reader_is_told_with_what_is_printed_on_it() {
        let root = tempfile::tempdir().unwrap();
        let disks = kernel(root.path()).disks().unwrap();
        let [disk] = disks.as_slice() else { panic!("{disks:?}") };
        assert_eq!(disk.describe(), "Generic USB3.0 CRW   -SD, usb, 29.7 GiB");
        assert_eq!(disk.serial.as_deref(), Some("20120926"), "no control characters reach the terminal");
        assert!(disk.removable && !disk.read_only);
        assert_eq!((disk.number, disk.sequence), (Number(8, 16), Some(41)));
        let sizes: Vec<_> =
            disk.partitions.iter().map(|part| (part.path.to_str().unwrap(), part.size)).collect();
        assert_eq!(sizes, [("/dev/sdb1", 512 << 20), ("/dev/sdb2", 4 << 20)]);
    }

    #[test]
    fn memory_and_mapped_disks_are_no_readers() {
        let root = tempfile::tempdir().unwrap();
        let kernel = kernel(root.path());
        for name in ["ram0", "zram0", "dm-0", "md127", "sr0", "mmcblk0boot0"] {
            std::os::unix::fs::symlink(
                kernel.sys.join("block/sdb").canonicalize().unwrap(),
                kernel.sys.join("block").join(name),
            )
            .unwrap();
        }
        assert_eq!(kernel.disks().unwrap().len(), 1);
    }
}
