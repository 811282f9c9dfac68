//! The reasons not to erase a disk. Nothing lifts them but the disk being another, or being named by its serial number
//! where it is not made to be taken out.

use std::path::{Path, PathBuf};

use super::list::{Disk, Kernel, Number};
use super::refusal::Refusal;
use super::signature::signature;
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
    pub fn uses(&self, disk: &Disk) -> Vec<Refusal> {
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
    use super::super::list;
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
    fn a_built_in_disk_is_named_by_its_serial_whatever_the_kernel_says_of_taking_it_out() {
        for (at, name, serial) in [
            (
                "0000:00:17.0/ata3/host2/target2:0:0/2:0:0:0",
                "sda",
                ("device/vpd_pg80", "\0\u{7f}\0\u{8}  S2R6 1"),
            ),
            ("0000:01:00.0/nvme/nvme0", "nvme0n1", ("device/serial", "S2R6 1  \n")),
            ("0000:00:05.0/virtio2", "vda", ("serial", "S2R6 1\n")),
        ] {
            let root = tempfile::tempdir().unwrap();
            let kernel = kernel(root.path());
            std::fs::remove_file(kernel.sys.join("block/sdb")).unwrap();
            list::tests::add_fixed(&kernel, at, name, serial);
            assert_eq!(told(&kernel, &demand()), [format!("/dev/{name} is not made to be taken out")]);
            let named = Demand { serial: Some("S2R6 1".into()), ..demand() };
            assert_eq!(told(&kernel, &named), Vec::<String>::new());
        }
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
}
