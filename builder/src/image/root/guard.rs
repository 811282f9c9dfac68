//! What `ext4-view` 1.0.0 takes on trust, looked at first: it takes memory by the superblock's numbers and by the lengths of
//! files and links, before it could see that the partition ends long before.

use ext4_view::{Ext4, Ext4Error};

use super::{Reader, RootError, SUPERBLOCK, SUPERBLOCK_BYTES};
use crate::image::overlay::ReadAt;

/// Bytes of a file that is read as a whole at most: far more than any of them has.
const FILE_LIMIT: u64 = 16 << 20;
/// Bytes of a link, and links on a way, at most: those of Linux.
const LINK_LIMIT: u64 = 4096;
const LINKS: usize = 40;

/// Loads the file system, if its superblock's numbers are possible.
pub(super) fn load(reader: Reader) -> Result<Ext4, RootError> {
    let mut superblock = [0; SUPERBLOCK_BYTES];
    // One that is not there is the library's to tell of.
    if reader.file.read_exact_at(&mut superblock, reader.window.start + SUPERBLOCK).is_ok() {
        check(&superblock, reader.window.length).map_err(RootError::Damaged)?;
    }
    Ext4::load(Box::new(reader)).map_err(RootError::NotExt4)
}

/// Whether the numbers are possible. What is no superblock at all is the library's to tell of, too.
fn check(superblock: &[u8; SUPERBLOCK_BYTES], length: u64) -> Result<(), &'static str> {
    const MAGIC_AT: usize = 0x38;
    const MAGIC: [u8; 2] = 0xef53_u16.to_le_bytes();
    /// 64 KiB, and the fewest blocks that mke2fs puts in a group.
    const LARGEST_BLOCK: u32 = 6;
    const SMALLEST_GROUP: u32 = 256;
    let field = |at: usize| {
        superblock.get(at..).and_then(<[u8]>::first_chunk).map(|bytes| u32::from_le_bytes(*bytes))
    };
    let (Some(low), Some(high), Some(block), Some(group)) =
        (field(4), field(0x150), field(0x18), field(0x20))
    else {
        return Err("it has no superblock");
    };
    if superblock.get(MAGIC_AT..).is_none_or(|bytes| !bytes.starts_with(&MAGIC)) {
        return Ok(());
    }
    if block > LARGEST_BLOCK {
        return Err("its blocks are larger than there are");
    }
    if group < SMALLEST_GROUP {
        return Err("its groups are smaller than there are");
    }
    let blocks = u64::from(high) << 32 | u64::from(low);
    let bytes = blocks.checked_mul(1024 << block);
    if bytes.is_none_or(|bytes| bytes > length) { Err("it is larger than the partition") } else { Ok(()) }
}

/// A file as a whole.
pub(super) fn read_file(fs: &Ext4, path: &str) -> Result<Vec<u8>, Ext4Error> {
    let path = resolve(fs, path)?;
    if fs.metadata(path.as_str())?.len() > FILE_LIMIT {
        return Err(Ext4Error::FileTooLarge);
    }
    fs.read(path.as_str())
}

/// The way to what is there, without links: the library reads them whole, however long they say they are.
pub(super) fn resolve(fs: &Ext4, path: &str) -> Result<String, Ext4Error> {
    let mut ahead: Vec<String> = path.split('/').rev().map(str::to_owned).collect();
    let (mut behind, mut links) = (String::new(), 0);
    while let Some(name) = ahead.pop() {
        match name.as_str() {
            "" | "." => continue,
            ".." => {
                behind.truncate(behind.rfind('/').unwrap_or(0));
                continue;
            }
            _ => {}
        }
        let here = format!("{behind}/{name}");
        let metadata = fs.symlink_metadata(here.as_str())?;
        if !metadata.is_symlink() {
            behind = here;
            continue;
        }
        links += 1;
        if links > LINKS || metadata.len() > LINK_LIMIT {
            return Err(Ext4Error::TooManySymlinks);
        }
        let target = fs.read_link(here.as_str())?;
        let target = target.to_str().map_err(|_| Ext4Error::MalformedPath)?;
        if target.starts_with('/') {
            behind.clear();
        }
        ahead.extend(target.split('/').rev().map(str::to_owned));
    }
    Ok(behind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_a_superblock_that_asks_for_more_than_there_is() {
        let superblock = |blocks: u32, block: u32, group: u32| {
            let mut superblock = [0; SUPERBLOCK_BYTES];
            for (at, value) in [(4, blocks), (0x18, block), (0x20, group)] {
                superblock[at..at + 4].copy_from_slice(&value.to_le_bytes());
            }
            superblock[0x38..0x3a].copy_from_slice(&[0x53, 0xef]);
            superblock
        };
        assert_eq!(check(&[0; SUPERBLOCK_BYTES], 0), Ok(()), "it is none");
        let length = 400 * 1024;
        assert_eq!(check(&superblock(400, 0, 8192), length), Ok(()));
        assert!(check(&superblock(401, 0, 8192), length).is_err());
        assert!(check(&superblock(u32::MAX, 6, 8192), length).is_err());
        assert!(check(&superblock(1, 21, 8192), length).is_err(), "blocks of 2 GiB");
        assert!(check(&superblock(400, 0, 1), length).is_err(), "a group per block");
    }
}
