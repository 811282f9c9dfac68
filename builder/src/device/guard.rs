//! The reasons not to erase a disk. Nothing lifts them but the disk being another, or being named by its serial number
//! where it is not made to be taken out.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use thiserror::Error;

use super::list::{Disk, Kernel, Number};
use crate::error::{Failure, Kind};
use crate::report::Bytes;

/// What is wanted of a disk, and what the user said of it.
#[derive(Debug, Clone, Default)]
pub struct Demand {
    /// The serial number the user gave, if any.
    pub serial: Option<String>,
    /// Bytes of the image.
    pub needed: u64,
    /// Bytes above which a disk is no card, unless the user says so.
    pub limit: u64,
    /// The image's file, which a loop device may hide.
    pub image: Option<PathBuf>,
}

/// Larger cards are rarer than backup disks: 256 GiB.
pub const LIMIT: u64 = 256 << 30;

/// Why a disk is not erased.
#[derive(Debug, Clone, Error)]
pub enum Refusal {
    /// Nothing there.
    #[error("there is no {}", path.display())]
    Absent {
        /// The path.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: Arc<io::Error>,
    },
    /// A file, a folder, a terminal.
    #[error("{} is no disk", .0.display())]
    NoBlockDevice(PathBuf),
    /// A block device the kernel does not describe.
    #[error("the kernel tells nothing of {}", .0.display())]
    Unknown(PathBuf),
    /// A part of a disk.
    #[error("{} is a partition of {}", path.display(), whole.display())]
    Partition {
        /// The partition.
        path: PathBuf,
        /// Its disk.
        whole: PathBuf,
    },
    /// A fixed disk that was not named by its serial.
    #[error("{} is not made to be taken out", path.display())]
    Fixed {
        /// The disk.
        path: PathBuf,
        /// Its serial.
        serial: Option<String>,
    },
    /// The serial is another disk's.
    #[error("{} has the serial {}, not {given}", path.display(), serial.as_deref().unwrap_or("(none)"))]
    OtherSerial {
        /// The disk.
        path: PathBuf,
        /// Its serial.
        serial: Option<String>,
        /// What the user gave.
        given: String,
    },
    /// A lock on the card, or of the system.
    #[error("{} is write-protected", .0.display())]
    ReadOnly(PathBuf),
    /// A reader without a card.
    #[error("there is no card in {}", .0.display())]
    Empty(PathBuf),
    /// Part of the running system.
    #[error("{} is mounted at {}", path.display(), at.display())]
    Mounted {
        /// The disk or partition.
        path: PathBuf,
        /// Where.
        at: PathBuf,
    },
    /// Swapping.
    #[error("{} is used as swap", .0.display())]
    Swap(PathBuf),
    /// LVM, RAID, encryption or another loop device on top.
    #[error("{} is in use by {holder}", path.display())]
    Held {
        /// The disk or partition.
        path: PathBuf,
        /// By what.
        holder: String,
    },
    /// A part of a volume that is not in use at the moment.
    #[error("{} belongs to a volume of several disks ({kind})", path.display())]
    Member {
        /// The disk or partition.
        path: PathBuf,
        /// Such as `LVM2_member`.
        kind: String,
    },
    /// Its contents cannot be looked at.
    #[error("cannot tell what is on {}", path.display())]
    Opaque {
        /// The disk or partition.
        path: PathBuf,
        /// Why.
        #[source]
        source: Arc<io::Error>,
    },
    /// The card would be made from itself.
    #[error("{} is the image the card is made from", .0.display())]
    IsTheImage(PathBuf),
    /// The image does not fit.
    #[error("{} has {size}, the image needs {needed}", path.display())]
    TooSmall {
        /// The disk.
        path: PathBuf,
        /// What it has.
        size: Bytes,
        /// What is needed.
        needed: Bytes,
    },
    /// Rather a backup disk than a card.
    #[error("{} has {size}, more than a card usually has", path.display())]
    TooLarge {
        /// The disk.
        path: PathBuf,
        /// What it has.
        size: Bytes,
    },
    /// Somebody has it.
    #[error("cannot open {} for ourselves alone", path.display())]
    Open {
        /// The disk.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: Arc<io::Error>,
    },
    /// It is another disk now than the one that was looked at.
    #[error("{} changed while it was looked at", .0.display())]
    Changed(PathBuf),
    /// The same disk twice.
    #[error("{} is named twice", .0.display())]
    Twice(PathBuf),
}

impl Refusal {
    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::Absent { .. } | Self::Unknown(_) => "builder devices lists the card readers".to_owned(),
            Self::NoBlockDevice(_) => {
                "name a card reader such as /dev/sdb; card images as files are made by: builder build"
                    .to_owned()
            }
            Self::Partition { whole, .. } => format!("name the whole disk: --device {}", whole.display()),
            Self::Fixed { path, serial: Some(serial) } => {
                format!("if it really is to be erased, name it twice: --device '{}={serial}'", path.display())
            }
            Self::Fixed { serial: None, .. } => "take a card reader; builder devices lists them".to_owned(),
            Self::OtherSerial { .. } => "builder devices --all shows every disk's serial".to_owned(),
            Self::ReadOnly(_) => "slide the lock at the card's side, or take another card".to_owned(),
            Self::Empty(_) => "put a card in".to_owned(),
            Self::Mounted { at, .. } if at == Path::new("/") => {
                "this computer runs from it; take a card reader; builder devices lists them".to_owned()
            }
            Self::Mounted { at, .. } => {
                format!("if nothing on it is needed any more: umount '{}'", at.display())
            }
            Self::Swap(path) => format!("if it is the right one: swapoff {}", path.display()),
            Self::Held { .. } => "stop what uses it, or take another card".to_owned(),
            Self::Member { path, .. } => format!(
                "if it is the right one and nothing on it is needed any more: wipefs --all {}",
                path.display()
            ),
            Self::Opaque { path, source } if source.kind() == io::ErrorKind::PermissionDenied => {
                format!("reading and writing {} takes root: put sudo before the command", path.display())
            }
            Self::Opaque { .. } => "install util-linux, whose blkid tells".to_owned(),
            Self::IsTheImage(_) => "take another card".to_owned(),
            Self::TooSmall { .. } => "take a larger card".to_owned(),
            Self::TooLarge { size, .. } => {
                format!("if it is the right one, say so: --max-size {}GiB", size.0.div_ceil(1 << 30))
            }
            Self::Open { source, path } if source.kind() == io::ErrorKind::PermissionDenied => {
                format!("writing {} takes root: put sudo before the command", path.display())
            }
            Self::Open { .. } => "close what uses it: lsblk shows what is mounted".to_owned(),
            Self::Changed(_) => "run the command again".to_owned(),
            Self::Twice(_) => "name each card reader once".to_owned(),
        }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let hint = refusal.hint();
        Self::new(Kind::DeviceRefused, refusal).hint(hint)
    }
}

impl Kernel {
    /// Every reason against erasing a disk, the worst first. Only looks.
    pub fn refusals(&self, disk: &Disk, demand: &Demand) -> Vec<Refusal> {
        let path = || disk.path.clone();
        let mut refusals = self.uses(disk);
        if let Some(image) = demand.image.as_deref().filter(|image| is_behind(self, disk, image)) {
            refusals.push(Refusal::IsTheImage(image.to_owned()));
        }
        match &demand.serial {
            Some(given) if disk.serial.as_deref() != Some(given) => refusals.push(Refusal::OtherSerial {
                path: path(),
                serial: disk.serial.clone(),
                given: given.clone(),
            }),
            None if !disk.removable => {
                refusals.push(Refusal::Fixed { path: path(), serial: disk.serial.clone() });
            }
            _ => {}
        }
        if disk.size == 0 {
            refusals.push(Refusal::Empty(path()));
            return refusals;
        }
        if disk.read_only {
            refusals.push(Refusal::ReadOnly(path()));
        }
        if disk.size < demand.needed {
            let (size, needed) = (Bytes(disk.size), Bytes(demand.needed));
            refusals.push(Refusal::TooSmall { path: path(), size, needed });
        }
        if disk.size > demand.limit {
            refusals.push(Refusal::TooLarge { path: path(), size: Bytes(disk.size) });
        }
        refusals.extend(disk.paths().find_map(|path| membership(path).transpose()).map(flatten));
        refusals
    }

    /// Who uses a disk at this moment: mounts, swap, and what the kernel or a loop device has put on top.
    pub(super) fn uses(&self, disk: &Disk) -> Vec<Refusal> {
        let mut refusals = Vec::new();
        let is_ours =
            |number: Option<Number>| number.is_some_and(|number| disk.numbers().any(|n| n == number));
        let name = |number: Option<Number>| {
            let part = disk.partitions.iter().find(|part| Some(part.number) == number);
            part.map_or_else(|| disk.path.clone(), |part| part.path.clone())
        };
        for mount in self.mounts() {
            if let Some(number) = mount.numbers.into_iter().find(|number| is_ours(*number)) {
                refusals.push(Refusal::Mounted { path: name(number), at: mount.at });
            }
        }
        let swaps = std::fs::read_to_string(self.proc.join("swaps")).unwrap_or_default();
        for line in swaps.lines().skip(1) {
            let path = PathBuf::from(unescape(line.split_whitespace().next().unwrap_or_default()));
            let number = number_of(&path);
            if is_ours(number) {
                refusals.push(Refusal::Swap(name(number)));
            }
        }
        for number in disk.numbers() {
            let Some(folder) = self.folder(number) else { continue };
            for holder in std::fs::read_dir(folder.join("holders")).into_iter().flatten().flatten() {
                let holder = holder.file_name().to_string_lossy().into_owned();
                refusals.push(Refusal::Held { path: name(Some(number)), holder });
            }
        }
        for (holder, file) in self.loops() {
            let number = number_of(&file);
            if is_ours(number) {
                refusals.push(Refusal::Held { path: name(number), holder });
            }
        }
        // The running system first: that is what matters most to who reads only one line.
        refusals
            .sort_by_key(|refusal| !matches!(refusal, Refusal::Mounted { at, .. } if at == Path::new("/")));
        refusals
    }

    fn mounts(&self) -> Vec<Mount> {
        let text = std::fs::read_to_string(self.proc.join("self/mountinfo")).unwrap_or_default();
        text.lines().filter_map(Mount::parse).collect()
    }

    /// Loop devices and the files behind them.
    fn loops(&self) -> Vec<(String, PathBuf)> {
        let entries = std::fs::read_dir(self.sys.join("block")).into_iter().flatten().flatten();
        let backing = entries.filter_map(|entry| {
            let file = std::fs::read_to_string(entry.path().join("loop/backing_file")).ok()?;
            Some((entry.file_name().to_string_lossy().into_owned(), PathBuf::from(file.trim_end())))
        });
        backing.collect()
    }
}

impl Disk {
    fn paths(&self) -> impl Iterator<Item = &Path> {
        std::iter::once(&*self.path).chain(self.partitions.iter().map(|part| &*part.path))
    }
}

/// A line of mountinfo (proc(5)).
struct Mount {
    at: PathBuf,
    /// By number, and by the name of the source: btrfs has numbers of its own.
    numbers: [Option<Number>; 2],
}

impl Mount {
    fn parse(line: &str) -> Option<Self> {
        let (mount, source) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(2);
        let number = fields.next()?.parse().ok();
        let at = PathBuf::from(unescape(fields.nth(1)?));
        let source = PathBuf::from(unescape(source.split(' ').nth(1)?));
        Some(Self { at, numbers: [number, number_of(&source)] })
    }
}

fn number_of(path: &Path) -> Option<Number> {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    let metadata = std::fs::metadata(path).ok().filter(|metadata| metadata.file_type().is_block_device())?;
    Some(Number::of(metadata.rdev()))
}

/// Spaces and the like are octal in mountinfo and swaps.
fn unescape(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(text.to_owned(), |text, (escaped, plain)| text.replace(escaped, plain))
}

/// Whether a loop device is made of that file.
fn is_behind(kernel: &Kernel, disk: &Disk, image: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let id = |path: &Path| std::fs::metadata(path).ok().map(|file| (file.dev(), file.ino()));
    let file = kernel.folder(disk.number).map(|folder| folder.join("loop/backing_file"));
    let file = file.and_then(|file| std::fs::read_to_string(file).ok());
    file.is_some_and(|file| id(Path::new(file.trim_end())).is_some_and(|file| Some(file) == id(image)))
}

/// What `blkid` (util-linux) says of a disk or partition.
#[derive(Debug, Default)]
pub(super) struct Signature {
    pub(super) usage: Option<String>,
    pub(super) kind: Option<String>,
    pub(super) label: Option<String>,
}

/// Looks for the marks of file systems and volumes. That `blkid` knows them all is why it is asked.
pub(super) fn signature(path: &Path) -> io::Result<Signature> {
    // It refuses without a word what it may not read.
    drop(std::fs::File::open(path)?);
    let here = std::env::var_os("PATH").unwrap_or_default();
    // Not everybody has the folders of the system's programs in the search path.
    let search = [here.to_string_lossy().as_ref(), "/usr/sbin", "/sbin"].join(":");
    let mut blkid = Command::new("blkid");
    blkid.env("PATH", search).args(["--probe", "--output", "export"]).arg(path);
    let output = blkid.output()?;
    let mut found = Signature::default();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let text = |value: &str| Some(value.chars().filter(|c| !c.is_control()).collect());
        match line.split_once('=') {
            Some(("USAGE", value)) => found.usage = text(value),
            Some(("TYPE", value)) => found.kind = text(value),
            Some(("LABEL", value)) => found.label = text(value),
            _ => {}
        }
    }
    match output.status.code() {
        Some(0 | 2) => Ok(found),
        // Several marks at once: rather refuse than choose.
        Some(8) => {
            Ok(Signature { usage: Some("raid".into()), kind: Some("several marks".into()), label: None })
        }
        _ => Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned())),
    }
}

fn membership(path: &Path) -> Result<Option<Refusal>, Refusal> {
    let found =
        signature(path).map_err(|source| Refusal::Opaque { path: path.to_owned(), source: source.into() })?;
    let is_member = found.usage.as_deref() == Some("raid");
    Ok(is_member.then(|| Refusal::Member { path: path.to_owned(), kind: found.kind.unwrap_or_default() }))
}

fn flatten(result: Result<Refusal, Refusal>) -> Refusal {
    result.unwrap_or_else(|refusal| refusal)
}

#[cfg(test)]
mod tests {
    use super::super::list::tests::kernel;
    use super::*;

    fn demand() -> Demand {
        Demand { needed: 1 << 30, limit: LIMIT, ..Demand::default() }
    }

    /// The reasons but those of a disk's contents, which a tree of text files does not have.
    fn told(kernel: &Kernel, demand: &Demand) -> Vec<String> {
        let disk = kernel.disks().unwrap().remove(0);
        let refusals = kernel.refusals(&disk, demand).into_iter();
        refusals.filter(|r| !matches!(r, Refusal::Opaque { .. })).map(|r| r.to_string()).collect()
    }

    #[test]
    fn a_card_in_a_reader_may_be_erased() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(told(&kernel(root.path()), &demand()), Vec::<String>::new());
    }

    #[test]
    fn every_use_is_a_reason_against_it() {
        let root = tempfile::tempdir().unwrap();
        let kernel = kernel(root.path());
        let put = |file: PathBuf, text: &str| {
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        };
        put(kernel.proc.join("self/mountinfo"), "30 22 8:17 / /media/ada/my\\040card rw - vfat /dev/x rw\n");
        put(kernel.sys.join("block/sdb/sdb2/holders/dm-0"), "");
        assert_eq!(
            told(&kernel, &demand()),
            ["/dev/sdb1 is mounted at /media/ada/my card", "/dev/sdb2 is in use by dm-0"]
        );
    }

    #[test]
    fn size_lock_and_serial_are_looked_at() {
        let root = tempfile::tempdir().unwrap();
        let kernel = kernel(root.path());
        let large = Demand { limit: 1 << 30, ..demand() };
        assert_eq!(told(&kernel, &large), ["/dev/sdb has 29.7 GiB, more than a card usually has"]);
        let small = Demand { needed: 64 << 30, ..demand() };
        assert_eq!(told(&kernel, &small), ["/dev/sdb has 29.7 GiB, the image needs 64.0 GiB"]);
        let other = Demand { serial: Some("7".into()), ..demand() };
        assert_eq!(told(&kernel, &other), ["/dev/sdb has the serial 20120926, not 7"]);
        std::fs::write(kernel.sys.join("block/sdb/ro"), "1\n").unwrap();
        std::fs::write(kernel.sys.join("block/sdb/removable"), "0\n").unwrap();
        assert_eq!(
            told(&kernel, &demand()),
            ["/dev/sdb is not made to be taken out", "/dev/sdb is write-protected"]
        );
        let named = Demand { serial: Some("20120926".into()), ..demand() };
        assert_eq!(told(&kernel, &named), ["/dev/sdb is write-protected"]);
        std::fs::write(kernel.sys.join("block/sdb/size"), "0\n").unwrap();
        assert_eq!(told(&kernel, &named), ["there is no card in /dev/sdb"]);
    }

    #[test]
    fn every_refusal_says_what_to_type() {
        let fixed = Refusal::Fixed { path: "/dev/sda".into(), serial: Some("S1".into()) };
        assert!(fixed.hint().contains("--device '/dev/sda=S1'"));
        let failure = Failure::from(Refusal::TooLarge { path: "/dev/sda".into(), size: Bytes(2 << 40) });
        assert_eq!(failure.kind(), Kind::DeviceRefused);
        assert!(failure.render().contains("--max-size 2048GiB"), "{}", failure.render());
    }
}
