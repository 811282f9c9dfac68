//! zip: an archive with exactly one image among its files.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use zip::ZipArchive;
use zip::result::ZipError;

use super::foreign::{Foreign, is_image};
use super::{AT_MOST, DecodeError, limit};

/// A zip archive in which exactly one file ends in `.img`.
#[derive(Debug)]
pub struct ImageInZip<'a> {
    archive: ZipArchive<&'a File>,
    index: usize,
}

impl<'a> ImageInZip<'a> {
    /// Opens the archive and finds its image.
    pub fn open(file: &'a File) -> Result<Self, DecodeError> {
        let archive = ZipArchive::new(file).map_err(classify)?;
        ends_with_its_directory(file, &archive)
            .map_err(DecodeError::Read)?
            .ok_or(DecodeError::TrailingGarbage)?;
        let mut images = Vec::new();
        for (index, name) in archive.file_names().enumerate() {
            let name = name.map_err(classify)?.into_owned();
            if is_image(&name) {
                images.push((index, name));
            }
        }
        match images.as_slice() {
            [] => Err(DecodeError::NoImage),
            [(index, _)] => Self { index: *index, archive }.supported(),
            _ => Err(DecodeError::SeveralImages(images.into_iter().map(|(_, name)| name).collect())),
        }
    }

    /// Refuses an image that is packed in a way that is not supported.
    fn supported(mut self) -> Result<Self, DecodeError> {
        let entry = self.archive.by_index_raw(self.index).map_err(classify)?;
        #[expect(deprecated, reason = "the constants have no number for what this library was built without")]
        let method = entry.compression().to_u16();
        let foreign = Foreign::entry(entry.encrypted(), method);
        drop(entry);
        foreign.map_or(Ok(self), |foreign| Err(DecodeError::Unsupported(foreign)))
    }

    /// The size of the image, unpacked, in bytes, as the archive says.
    pub fn size(&mut self) -> Result<u64, DecodeError> {
        self.archive.by_index(self.index).map(|entry| entry.size()).map_err(classify)
    }

    /// The image, unpacked. Its checksum is checked when its end is read.
    pub fn reader(&mut self) -> Result<impl Read + '_, DecodeError> {
        let entry = self.archive.by_index(self.index).map_err(classify)?;
        Ok(limit::Reader::new(entry, AT_MOST))
    }
}

/// Whether the end record is the last thing in the file (APPNOTE.TXT §4.3.16). The reader itself searches backwards for it.
fn ends_with_its_directory(mut file: &File, archive: &ZipArchive<&File>) -> io::Result<Option<()>> {
    const RECORD: u64 = 22;
    let length = RECORD + archive.comment().len() as u64;
    let size = file.seek(SeekFrom::End(0))?;
    let Some(start) = size.checked_sub(length) else { return Ok(None) };
    let mut magic = [0; 4];
    file.seek(SeekFrom::Start(start))?;
    file.read_exact(&mut magic)?;
    Ok((magic == *b"PK\x05\x06" && archive.offset() == 0).then_some(()))
}

fn classify(error: ZipError) -> DecodeError {
    match error {
        ZipError::Io(error) => DecodeError::classify(error),
        // Without its directory, which is at the end, an archive cannot be opened at all.
        ZipError::InvalidArchive(_) => {
            DecodeError::Truncated(io::Error::new(io::ErrorKind::InvalidData, error))
        }
        other => DecodeError::Corrupt(io::Error::other(other)),
    }
}
