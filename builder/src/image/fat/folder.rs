//! Makes a folder in the FAT's root and mends what fatfs 0.3.6 gets wrong in it.
//!
//! fatfs gives `.` and `..` long-name slots and lets the `..` of a first-level folder point at the root's
//! cluster instead of 0. Windows and Linux read that, but `fsck.fat` "repairs" the folder at the Pi's first boot
//! (rust-fatfs issues 99, 100 and 117; mended in its repository). Drop [`mended`] with the next release.

use std::io::{self, Seek, SeekFrom, Write};

use fatfs::FileSystem;

use super::super::overlay::{Overlay, ReadAt};
use super::{Stamp, options};

/// Makes the folder if it is not there.
pub(super) fn create<B: ReadAt>(
    overlay: &mut Overlay<B>,
    name: &str,
    stamp: &'static Stamp,
) -> io::Result<()> {
    let fs = FileSystem::new(&mut *overlay, options(stamp))?;
    fs.root_dir().create_dir(name)?;
    fs.unmount()?;
    // fatfs does not tell where it put the folder, but of what was written only that looks so.
    let made: Vec<_> =
        overlay.changed().filter_map(|(offset, sector)| Some((offset, mended(sector)?))).collect();
    for (offset, sector) in made {
        overlay.seek(SeekFrom::Start(offset))?;
        overlay.write_all(&sector)?;
    }
    overlay.rewind()
}

/// A new folder's first sector as it should be; `None` for any other sector.
fn mended(sector: &[u8; 512]) -> Option<[u8; 512]> {
    let (slots, []) = sector.as_chunks::<32>() else { return None };
    let [dot_name, dot, dot_dot_name, dot_dot, rest @ ..] = slots else { return None };
    let as_written = is_long_name_of(dot_name, b".")
        && dot.starts_with(b".          ")
        && is_long_name_of(dot_dot_name, b"..")
        && dot_dot.starts_with(b"..         ")
        && rest.iter().all(|slot| *slot == [0; 32]);
    if !as_written {
        return None;
    }
    let mut dot_dot = *dot_dot;
    // The high and the low half of the first cluster.
    for at in [20, 21, 26, 27] {
        *dot_dot.get_mut(at)? = 0;
    }
    let mut mended = [0; 512];
    mended.get_mut(..32)?.copy_from_slice(dot);
    mended.get_mut(32..64)?.copy_from_slice(&dot_dot);
    Some(mended)
}

/// Whether a slot is the one and only long-name slot (order 0x41, attributes 0x0f) of an ASCII name.
fn is_long_name_of(slot: &[u8; 32], name: &[u8]) -> bool {
    let [0x41, units @ ..] = slot else { return false };
    let mut letters = units.chunks(2).take(5).map(|unit| unit.first().copied().unwrap_or(0));
    slot.get(11) == Some(&0x0f)
        && name.iter().all(|letter| letters.next() == Some(*letter))
        && letters.next() == Some(0)
}
