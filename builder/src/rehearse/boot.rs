//! Reads what boots out of a card's FAT, as the Pi's firmware does. The card is not written.

use std::io::{self, Read};
use std::path::Path;

use flate2::read::GzDecoder;
use thiserror::Error;

use super::firmware::{Config, Files};
use crate::error::{Hint, builder, hint};
use crate::image::fat::{Fat, FatError};
use crate::image::partitions::{self, PartitionError};
use crate::regular;

/// Largest kernel or initramfs, in bytes: the whole FAT has no more.
const LIMIT: u64 = 512 << 20;
/// Bytes read of a text file.
const TEXT_LIMIT: u64 = 256 << 10;
/// What is before the version in every Linux kernel.
const BANNER: &[u8] = b"Linux version ";

/// What the firmware would start.
#[derive(Clone, PartialEq, Eq)]
pub struct Boot {
    /// The kernel, as it is on the card.
    pub kernel: Vec<u8>,
    /// The initramfs.
    pub initramfs: Option<Vec<u8>>,
    /// The kernel command line: the first line of the file.
    pub cmdline: String,
    /// What the kernel has drivers for.
    pub board: Board,
}

/// A board that QEMU imitates.
#[derive(Clone, PartialEq, Eq)]
pub enum Board {
    /// QEMU's own, which any kernel for servers knows.
    Virt,
    /// A Raspberry Pi 3 Model B, the largest Pi with a network that QEMU has.
    Pi3 {
        /// Its description for the kernel, from the card.
        device_tree: Vec<u8>,
    },
}

/// Names that the description of the Pi 3 has: Raspberry Pi's and Linux's own.
const DEVICE_TREES: [&str; 2] = ["bcm2710-rpi-3-b.dtb", "bcm2837-rpi-3-b.dtb"];
/// What is in the version of a kernel that has no drivers for [`Board::Virt`]: Raspberry Pi's, Ubuntu's for it.
const PI_KERNELS: [&str; 2] = ["rpi", "raspi"];

impl std::fmt::Debug for Boot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let initramfs = self.initramfs.as_ref().map(Vec::len);
        write!(
            f,
            "Boot(kernel of {} bytes, initramfs of {initramfs:?}, {:?})",
            self.kernel.len(),
            self.cmdline
        )
    }
}

impl std::fmt::Debug for Board {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Virt => "virt",
            Self::Pi3 { .. } => "Pi 3",
        })
    }
}

/// Why a card cannot be booted.
#[derive(Debug, Error)]
pub enum BootError {
    /// The file.
    #[error("cannot read it")]
    Read(#[source] io::Error),
    /// Its partition table.
    #[error(transparent)]
    Partitions(PartitionError),
    /// Its boot partition.
    #[error(transparent)]
    Fat(FatError),
    /// A file that the firmware would load.
    #[error("its boot partition has no {0}")]
    Missing(String),
    /// A 32-bit system.
    #[error("its config.txt asks for a 32-bit kernel, and only 64-bit systems can be rehearsed")]
    ThirtyTwoBit,
}

impl BootError {
    /// What to do about it.
    pub fn hint(&self) -> Hint {
        match self {
            Self::ThirtyTwoBit => "rehearse a card made from a 64-bit image".into(),
            Self::Read(_) | Self::Partitions(_) | Self::Fat(_) | Self::Missing(_) => {
                hint!["make it again: ", builder(["build", "--force"])]
            }
        }
    }
}

/// Reads kernel, initramfs and command line. The machine must be off.
///
/// # Errors
/// When a file is missing, or the kernel could not run in a virtual machine.
pub fn read(card: &Path) -> Result<Boot, BootError> {
    let file = regular::open(card).map_err(BootError::Read)?;
    let size = file.metadata().map_err(BootError::Read)?.len();
    let partitions = partitions::find(&file, size).map_err(BootError::Partitions)?;
    let fat = Fat::open(&file, partitions.boot).map_err(BootError::Fat)?;
    let get = |name: &str, limit| fat.read(&file, name, limit).map_err(BootError::Fat);
    let need = |name: &str, limit| get(name, limit)?.ok_or_else(|| BootError::Missing(name.to_owned()));

    let config = get("config.txt", TEXT_LIMIT)?.unwrap_or_default();
    let config = Config::parse(&String::from_utf8_lossy(&config));
    if config.wants_32_bit {
        return Err(BootError::ThirtyTwoBit);
    }
    // One byte tells whether a file is there.
    let Files { prefix, kernel, initramfs, cmdline } =
        config.files(|name| matches!(get(name, 1), Ok(Some(_))));
    let kernel = need(&kernel, LIMIT)?;
    let mut parts = Vec::new();
    for (name, optional) in initramfs {
        let part = if optional { get(&name, LIMIT)? } else { Some(need(&name, LIMIT)?) };
        parts.extend(part.unwrap_or_default());
    }
    let cmdline = need(&cmdline, TEXT_LIMIT)?;
    let cmdline = String::from_utf8_lossy(&cmdline).lines().next().unwrap_or_default().trim().to_owned();
    let version = kernel_version(&kernel).unwrap_or_default();
    let board = if PI_KERNELS.iter().any(|word| version.contains(word)) {
        let [name, other] = DEVICE_TREES.map(|name| format!("{prefix}{name}"));
        let device_tree = match get(&other, LIMIT)? {
            Some(device_tree) => device_tree,
            None => need(&name, LIMIT)?,
        };
        Board::Pi3 { device_tree }
    } else {
        Board::Virt
    };
    Ok(Boot { kernel, initramfs: (!parts.is_empty()).then_some(parts), cmdline, board })
}

/// `6.12.47+rpt-rpi-v8` of a kernel that is packed with gzip or not at all.
fn kernel_version(kernel: &[u8]) -> Option<String> {
    let mut unpacked = Vec::new();
    let image = if kernel.starts_with(&[0x1f, 0x8b]) {
        // What was unpacked before an error may well hold the version.
        let _damaged = GzDecoder::new(kernel).take(LIMIT).read_to_end(&mut unpacked);
        &unpacked
    } else {
        kernel
    };
    let mut rest = image;
    while let Some(at) = rest.iter().position(|byte| Some(byte) == BANNER.first()) {
        rest = rest.get(at..)?;
        if let Some(version) = rest.strip_prefix(BANNER) {
            let word = version.split(u8::is_ascii_whitespace).next()?;
            // Elsewhere the same text is a format with a `%s`.
            if word.first().is_some_and(u8::is_ascii_digit) {
                return Some(String::from_utf8_lossy(word).into_owned());
            }
        }
        rest = rest.get(1..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn finds_the_version_in_a_kernel_packed_or_not() {
        let image = b"MZ\0LLinux\0Linux version %s (%s)\0\0Linux version 6.12.47+rpt-rpi-v8 (serge@raspberrypi.com)\0";
        assert_eq!(kernel_version(image).unwrap(), "6.12.47+rpt-rpi-v8");
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(image).unwrap();
        assert_eq!(kernel_version(&packed.finish().unwrap()).unwrap(), "6.12.47+rpt-rpi-v8");
        assert_eq!(kernel_version(b"no kernel, Linux version "), None);
        assert_eq!(kernel_version(b""), None);
    }
}
