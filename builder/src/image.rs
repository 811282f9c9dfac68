//! Reading OS images: partitions, the FAT, the release, the root partition. An image is looked at and its edits are
//! computed; it is never written.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;
use time::{Date, Time};

use self::fat::{Edited, Fat, FatError, Stamp};
use self::overlay::Window;
use self::partitions::PartitionError;
use self::release::{BootFiles, Recognised, Refusal, Release, SEED_FILES};
use self::root::names::{self, Names};
use self::root::{CloudInit, Root, RootError};
use crate::elf::Arch;
use crate::regular;

pub mod decode;
pub mod fat;
pub mod overlay;
pub mod partitions;
pub mod release;
pub mod root;

/// The kernel command line on the FAT.
pub const CMDLINE: &str = "cmdline.txt";
/// The same where a release keeps several kernels: that of the one to boot.
const CURRENT_CMDLINE: &str = "current/cmdline.txt";

/// Bytes read of a text file on the FAT at most: far more than any of them has.
const TEXT_LIMIT: u64 = 256 * 1024;

/// Why no card can be made from an image.
#[derive(Debug, Error)]
pub enum ImageError {
    /// The file.
    #[error("cannot open {path}")]
    Open {
        /// Which one.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Its partition table.
    #[error(transparent)]
    Partitions(PartitionError),
    /// Its boot partition.
    #[error(transparent)]
    Fat(FatError),
    /// Its root partition.
    #[error(transparent)]
    Root(RootError),
    /// It is readable, but not what cards are made from.
    #[error(transparent)]
    Refused(Refusal),
}

impl ImageError {
    /// What to do about it.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Refused(refusal) => refusal.hint(),
            Self::Fat(FatError::Full { .. }) => {
                "delete what does not belong on the image's boot partition, or take the image as it was published"
            }
            Self::Open { .. } => "check that the file is there and that you may read it",
            Self::Partitions(error) if let Some(hint) = error.hint() => hint,
            Self::Partitions(_) | Self::Fat(_) | Self::Root(_) => {
                "check that it is an image of Raspberry Pi OS or Ubuntu Server and download it again"
            }
        }
    }
}

/// An image that cards can be made from: Raspberry Pi OS or Ubuntu Server as published.
#[derive(Debug)]
pub struct Image {
    file: File,
    fat: Fat,
    /// Its release, on which FAT and root partition agree.
    pub release: Release,
    /// The day it was made.
    pub date: Option<Date>,
    /// Debian's or Ubuntu's name for it, such as `trixie`.
    pub codename: String,
    /// What a person calls it.
    pub name: String,
    /// For which processor its programs are.
    pub arch: Arch,
    /// The kernel command line, without the line's end.
    pub cmdline: String,
    /// What a person should know of it before cards are made: what is repaired on them, and what was not tried.
    pub remarks: Vec<String>,
    seed: [Option<String>; 3],
    root: Window,
}

impl Image {
    /// Looks at a decompressed image, and refuses what no card can be made from.
    pub fn open(path: &Path) -> Result<Self, ImageError> {
        let open_error = |source| ImageError::Open { path: path.to_owned(), source };
        let file = regular::open(path).map_err(open_error)?;
        let size = file.metadata().map_err(open_error)?.len();
        let partitions = partitions::find(&file, size).map_err(ImageError::Partitions)?;
        let fat = Fat::open(&file, partitions.boot).map_err(ImageError::Fat)?;
        let boot = boot_files(&file, &fat).map_err(ImageError::Fat)?;
        let recognised = release::recognise(&boot).map_err(ImageError::Refused)?;
        let root = root::read(&file, partitions.root).map_err(ImageError::Root)?;
        // Which system it is comes first: of one that is not supported nobody wants to know what is customised.
        let remark = confirm(recognised.release, &root).map_err(ImageError::Refused)?;
        release::check_untouched(&recognised, &boot).map_err(ImageError::Refused)?;
        confirm_fresh(recognised.release, &root).map_err(ImageError::Refused)?;
        let Recognised { release, cmdline, date } = recognised;
        let name = match release {
            Release::Ubuntu => root.name,
            release => format!("Raspberry Pi OS {release}"),
        };
        let (codename, arch, seed) = (root.codename, root.arch, boot.seed);
        let remarks =
            fat.repairs().iter().map(ToString::to_string).chain(remark.map(str::to_owned)).collect();
        let root = partitions.root;
        Ok(Self { file, fat, release, date, codename, name, arch, cmdline, remarks, seed, root })
    }

    /// The names that its root partition knows.
    pub fn names(&self) -> Result<Names, ImageError> {
        names::read(&self.file, self.root).map_err(ImageError::Root)
    }

    /// What the image has in a text file that a card may have otherwise; `None` when the file is new.
    pub fn original(&self, path: &str) -> Option<String> {
        if path == CMDLINE {
            return Some(format!("{}\n", self.cmdline));
        }
        let index = SEED_FILES.iter().position(|name| *name == path)?;
        self.seed.get(index)?.clone()
    }

    /// Midnight (UTC) of the day it was made, in seconds since 1970; 0 when that is not known.
    pub fn made_at(&self) -> u64 {
        let midnight = self.date.map(|date| date.with_time(Time::MIDNIGHT).assume_utc().unix_timestamp());
        midnight.and_then(|seconds| u64::try_from(seconds).ok()).unwrap_or(0)
    }

    /// Whether files would fit on its FAT.
    pub fn check_room(&self, files: &[(&str, &[u8])]) -> Result<(), ImageError> {
        self.fat.check_room(files).map_err(ImageError::Fat)
    }

    /// Computes what changes in the image when files are put on its FAT.
    pub fn edit(&self, files: &[(&str, &[u8])], stamp: &'static Stamp) -> Result<Edited, ImageError> {
        self.fat.edit(&self.file, files, stamp).map_err(ImageError::Fat)
    }
}

fn boot_files(file: &File, fat: &Fat) -> Result<BootFiles, FatError> {
    let text = |name: &str| -> Result<Option<String>, FatError> {
        let bytes = fat.read(file, name, TEXT_LIMIT)?;
        Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    };
    let [user_data, network_config, meta_data] = SEED_FILES;
    Ok(BootFiles {
        label: fat.label(file)?,
        names: fat.names(file)?,
        cmdline: text(CMDLINE)?.map_or_else(|| text(CURRENT_CMDLINE), |line| Ok(Some(line)))?,
        config: text("config.txt")?,
        issue: text("issue.txt")?,
        seed: [text(user_data)?, text(network_config)?, text(meta_data)?],
    })
}

/// The root partition has to agree with what the FAT suggests: the mount point is part of the kernel command line,
/// and a wrong one would leave the Pi without its seed stage.
/// Gives what is to be said of the release.
fn confirm(release: Release, root: &Root) -> Result<Option<&'static str>, Refusal> {
    let contradiction = |root: String| Refusal::Contradiction { release, root };
    if release.codename().is_some_and(|codename| codename != root.codename) {
        return Err(contradiction(format!("holds {}", root.codename)));
    }
    if root.mount != release.mount() {
        return Err(contradiction(format!("mounts it at {}", root.mount)));
    }
    if release != Release::Ubuntu {
        return Ok(None);
    }
    let remark = match root.id.as_str() {
        "ubuntu" if root.has_desktop => return Err(release::desktop()),
        "ubuntu" => release::check_ubuntu(&root.codename, &root.name)?,
        // Debian with the same arrangement serves as well.
        "debian" => None,
        _ => return Err(contradiction(format!("holds {}", root.name))),
    };
    match root.cloud_init {
        CloudInit::Absent => Err(contradiction("has no cloud-init".to_owned())),
        CloudInit::Fresh | CloudInit::Ran => Ok(remark),
    }
}

/// Refuses a system that was started.
fn confirm_fresh(release: Release, root: &Root) -> Result<(), Refusal> {
    if release == Release::Ubuntu && root.cloud_init == CloudInit::Ran {
        return Err(Refusal::Booted("cloud-init has run in it: it has /var/lib/cloud/instance"));
    }
    if root.has_machine_id {
        return Err(Refusal::Booted("its /etc/machine-id is drawn"));
    }
    Ok(())
}
