//! Reads the root partition, ext4, without mounting it: which system it is, where it mounts the FAT, and for
//! which processor its programs are. Read-only by construction.

use std::error::Error;
use std::fs::File;
use std::io;

use ext4_view::{Ext4, Ext4Error, Ext4Read};
use thiserror::Error;

use self::guard::{load, read_file, resolve};
use super::overlay::{ReadAt, Window};
use crate::elf::{self, Arch, ElfError};

mod guard;
pub mod names;

/// Programs every Debian has, best first; links are followed, so a merged /usr is no matter.
const PROGRAMS: [&str; 3] = ["/usr/bin/dpkg", "/bin/sh", "/bin/ls"];

/// Files that every desktop brings, whatever its display server.
const DESKTOP: [&str; 3] = ["/usr/bin/gnome-shell", "/usr/share/wayland-sessions", "/usr/share/xsessions"];

/// What the root partition says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// `ID` of os-release, such as `debian`.
    pub id: String,
    /// `VERSION_CODENAME` of os-release.
    pub codename: String,
    /// `PRETTY_NAME` of os-release, for people.
    pub name: String,
    /// Where fstab mounts the FAT.
    pub mount: String,
    /// For which processor its programs are. The kernel may be for another: 32-bit systems run on 64-bit kernels.
    pub arch: Arch,
    /// Whether it already drew its machine id, which it does when it boots first.
    pub has_machine_id: bool,
    /// How far cloud-init is in it.
    pub cloud_init: CloudInit,
    /// Whether it has a desktop.
    pub has_desktop: bool,
}

/// cloud-init in a root partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloudInit {
    /// Not installed, or switched off.
    Absent,
    /// Installed, and never run.
    Fresh,
    /// It set this system up before.
    Ran,
}

/// Why the root partition could not be read.
#[derive(Debug, Error)]
pub enum RootError {
    /// The image file itself.
    #[error("cannot open it a second time")]
    Reopen(#[source] io::Error),
    /// No ext4.
    #[error("its root partition is no ext4")]
    NotExt4(#[source] Ext4Error),
    /// A superblock with numbers that do not fit together.
    #[error("its root partition is damaged: {0}")]
    Damaged(&'static str),
    /// A file that every Debian has.
    #[error("cannot read {path} on its root partition")]
    Read {
        /// Which file.
        path: &'static str,
        /// Why not.
        #[source]
        source: Ext4Error,
    },
    /// os-release without a code name.
    #[error("its /etc/os-release names no release")]
    NoCodename,
    /// fstab without a FAT.
    #[error("its /etc/fstab mounts no FAT")]
    NoMount,
    /// None of the programs is there.
    #[error("its root partition has no programs")]
    NoPrograms,
    /// Programs for an unknown processor.
    #[error("cannot tell for which processor it is from its {path}")]
    Program {
        /// The program looked at.
        path: &'static str,
        /// Why not.
        #[source]
        source: ElfError,
    },
}

/// The window of the image that holds the file system.
struct Reader {
    file: File,
    window: Window,
    /// What is read in the superblock's place.
    superblock: Option<[u8; SUPERBLOCK_BYTES]>,
}

/// Where ext4's superblock lies, how long it is, and some of its fields (Linux, `Documentation/filesystems/ext4/super.rst`).
const SUPERBLOCK: u64 = 1024;
const SUPERBLOCK_BYTES: usize = 1024;
const INCOMPATIBLE_FEATURES: std::ops::Range<usize> = 0x60..0x64;
const NEEDS_RECOVERY: u32 = 4;
const CHECKSUM: std::ops::Range<usize> = 0x3fc..0x400;

impl Ext4Read for Reader {
    fn read(&mut self, start: u64, target: &mut [u8]) -> Result<(), Box<dyn Error + Send + Sync>> {
        let end = start.checked_add(target.len() as u64);
        if end.is_none_or(|end| end > self.window.length) {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        self.file.read_exact_at(target, self.window.start + start)?;
        for (byte, place) in target.iter_mut().zip(start..) {
            let index = place.checked_sub(SUPERBLOCK).and_then(|index| usize::try_from(index).ok());
            let Some(superblock) = &self.superblock else { break };
            if let Some(other) = index.and_then(|index| superblock.get(index)) {
                *byte = *other;
            }
        }
        Ok(())
    }
}

/// The superblock as if nothing in the journal were waiting; `None` when nothing is.
fn without_journal(file: &File, window: Window) -> Option<[u8; SUPERBLOCK_BYTES]> {
    let mut superblock = [0; SUPERBLOCK_BYTES];
    file.read_exact_at(&mut superblock, window.start + SUPERBLOCK).ok()?;
    let features = superblock.get_mut(INCOMPATIBLE_FEATURES)?;
    let bits = u32::from_le_bytes(features.try_into().ok()?);
    if bits & NEEDS_RECOVERY == 0 {
        return None;
    }
    features.copy_from_slice(&(bits & !NEEDS_RECOVERY).to_le_bytes());
    // ext4 leaves the last inversion of CRC-32C out.
    let sum = !crc::Crc::<u32>::new(&crc::CRC_32_ISCSI).checksum(superblock.get(..CHECKSUM.start)?);
    superblock.get_mut(CHECKSUM)?.copy_from_slice(&sum.to_le_bytes());
    Some(superblock)
}

/// Reads the root partition of an image.
pub fn read(image: &File, window: Window) -> Result<Root, RootError> {
    let file = image.try_clone().map_err(RootError::Reopen)?;
    let fs = load(Reader { file, window, superblock: None })?;
    let text = |path: &'static str| {
        let bytes = read_file(&fs, path).map_err(|source| RootError::Read { path, source })?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let os_release = text("/etc/os-release")?;
    Ok(Root {
        id: value(&os_release, "ID").unwrap_or_default(),
        name: value(&os_release, "PRETTY_NAME").unwrap_or_default(),
        codename: value(&os_release, "VERSION_CODENAME").ok_or(RootError::NoCodename)?,
        mount: fat_mount(&text("/etc/fstab")?).ok_or(RootError::NoMount)?,
        arch: arch(&fs)?,
        has_machine_id: read_file(&fs, "/etc/machine-id").is_ok_and(|id| is_machine_id(&id)),
        cloud_init: cloud_init(&fs),
        has_desktop: DESKTOP.iter().any(|path| resolve(&fs, path).is_ok()),
    })
}

/// Reads some files of a root partition, of an image or a used card; `None` for one that is not there. What a Pi that lost
/// its power had only in its journal may be missing: `ext4-view` replays no journal of a file system without the 64-bit
/// feature, and Raspberry Pi OS has none of these.
pub fn read_files(
    image: &File,
    window: Window,
    paths: &[&'static str],
) -> Result<Vec<Option<Vec<u8>>>, RootError> {
    let superblock = without_journal(image, window);
    let file = image.try_clone().map_err(RootError::Reopen)?;
    let fs = load(Reader { file, window, superblock })?;
    let read = |path: &&'static str| match read_file(&fs, path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(Ext4Error::NotFound) => Ok(None),
        Err(source) => Err(RootError::Read { path, source }),
    };
    paths.iter().map(read).collect()
}

/// A variable of os-release(5).
fn value(os_release: &str, name: &str) -> Option<String> {
    let mut lines = os_release.lines().filter_map(|line| line.trim().split_once('='));
    let (_, value) = lines.find(|(key, _)| *key == name)?;
    Some(value.trim_matches(['"', '\'']).to_owned())
}

fn cloud_init(fs: &Ext4) -> CloudInit {
    let is_there = |path: &str| resolve(fs, path).is_ok();
    if !is_there("/usr/bin/cloud-init") || is_there("/etc/cloud/cloud-init.disabled") {
        CloudInit::Absent
    } else if is_there("/var/lib/cloud/instance") {
        CloudInit::Ran
    } else {
        CloudInit::Fresh
    }
}

/// The second field of the line whose third is `vfat`.
fn fat_mount(fstab: &str) -> Option<String> {
    let lines = fstab.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    let mut mounts = lines.filter_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let (mount, kind) = (fields.next()?, fields.next()?);
        (kind == "vfat" && mount.starts_with("/boot")).then(|| mount.to_owned())
    });
    mounts.next()
}

fn arch(fs: &Ext4) -> Result<Arch, RootError> {
    for path in PROGRAMS {
        let Ok(mut file) = resolve(fs, path).and_then(|path| fs.open(path.as_str())) else { continue };
        let mut header = vec![0; usize::try_from(elf::HEADER_BYTES).unwrap_or(64)];
        let mut length = 0;
        while let Some(rest) = header.get_mut(length..).filter(|rest| !rest.is_empty()) {
            match file.read_bytes(rest).map_err(|source| RootError::Read { path, source })? {
                0 => break,
                count => length += count,
            }
        }
        header.truncate(length);
        return elf::arch(&header).map_err(|source| RootError::Program { path, source });
    }
    Err(RootError::NoPrograms)
}

/// Empty and `uninitialized` both stand for "draw one at the first boot" (machine-id(5)).
fn is_machine_id(content: &[u8]) -> bool {
    let id = content.trim_ascii();
    id.len() == 32 && id.iter().all(u8::is_ascii_hexdigit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_names_with_and_without_quotes() {
        let os_release = "PRETTY_NAME=\"Ubuntu 24.04.1 LTS\"\nVERSION_ID=24.04\nVERSION_CODENAME=noble\nID=ubuntu\nID_LIKE=debian\n";
        let value = |name| value(os_release, name);
        assert_eq!(value("VERSION_CODENAME").as_deref(), Some("noble"));
        assert_eq!(value("ID").as_deref(), Some("ubuntu"));
        assert_eq!(value("PRETTY_NAME").as_deref(), Some("Ubuntu 24.04.1 LTS"));
        assert_eq!(value("NAME"), None);
    }

    #[test]
    fn finds_where_the_fat_is_mounted() {
        let fstab = "# UUID /boot vfat\nproc /proc proc defaults 0 0\nPARTUUID=1-01  /boot/firmware  vfat  defaults  0 2\n";
        assert_eq!(fat_mount(fstab).as_deref(), Some("/boot/firmware"));
        assert_eq!(fat_mount("PARTUUID=1-02 / ext4 defaults 0 1\n"), None);
    }

    #[test]
    fn an_unset_machine_id_is_none() {
        assert!(!is_machine_id(b"") && !is_machine_id(b"uninitialized\n"));
        assert!(is_machine_id(b"0123456789abcdef0123456789abcdef\n"));
    }
}
