//! The text of a cluster file: from the disk, from a pipe, or from standard input.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::ProjectError;

/// Largest cluster file, in bytes: a thousand nodes with a page of words each.
const LIMIT: u64 = 4 * 1024 * 1024;

/// What a pipe or standard input had. It can be read only once, and a command looks at its file more than once: as a list
/// of hosts, then as a cluster file.
static STREAMS: Mutex<Option<HashMap<PathBuf, Vec<u8>>>> = Mutex::new(None);

/// Whether a file is no file on a disk: standard input, a pipe as in `-f <(...)`, or a device.
pub(super) fn is_stream(file: &Path) -> bool {
    is_stdin(file) || fs::metadata(file).is_ok_and(|found| !found.is_file() && !found.is_dir())
}

/// Whether standard input is meant.
fn is_stdin(file: &Path) -> bool {
    file == Path::new("-")
}

/// What messages call a file.
pub(crate) fn name(file: &Path) -> String {
    if is_stdin(file) { "<stdin>".to_owned() } else { file.display().to_string() }
}

/// Reads a file's text.
pub(super) fn text(file: &Path) -> Result<String, ProjectError> {
    let bytes = match bytes(file) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(ProjectError::Absent(file.to_owned()));
        }
        Err(source) => return Err(ProjectError::Read { path: file.to_owned(), source }),
    };
    if u64::try_from(bytes.len()).is_ok_and(|length| length > LIMIT) {
        return Err(ProjectError::TooLong(file.to_owned()));
    }
    if is_utf16(&bytes) {
        return Err(ProjectError::Utf16(file.to_owned()));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
        let line = 1 + valid.iter().filter(|byte| **byte == b'\n').count();
        ProjectError::NotUtf8 { path: file.to_owned(), line }
    })
}

/// Reads at most one byte more than a cluster file may have.
fn bytes(file: &Path) -> io::Result<Vec<u8>> {
    if !is_stream(file) {
        return read(File::open(file)?);
    }
    let mut streams = STREAMS.lock().unwrap_or_else(PoisonError::into_inner);
    let streams = streams.get_or_insert_default();
    if let Some(bytes) = streams.get(file) {
        return Ok(bytes.clone());
    }
    let bytes = if is_stdin(file) { read(io::stdin().lock())? } else { read(File::open(file)?)? };
    streams.insert(file.to_owned(), bytes.clone());
    Ok(bytes)
}

fn read(source: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source.take(LIMIT + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Whether a text is encoded as UTF-16: by its byte order mark, or because every other byte of its beginning is zero.
pub(super) fn is_utf16(bytes: &[u8]) -> bool {
    let beginning = bytes.get(..bytes.len().min(64)).unwrap_or_default();
    let zeros = |offset: usize| {
        beginning.len() >= 4 && beginning.iter().skip(offset).step_by(2).all(|byte| *byte == 0)
    };
    bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") || zeros(0) || zeros(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(bytes: &[u8]) -> String {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("cluster.yaml");
        fs::write(&file, bytes).unwrap();
        text(&file).unwrap_err().to_string().replace(&folder.path().display().to_string(), "FOLDER")
    }

    #[test]
    fn says_which_encoding_a_file_has() {
        let utf16 = |text: &str, big: bool| -> Vec<u8> {
            text.encode_utf16()
                .flat_map(|unit| if big { unit.to_be_bytes() } else { unit.to_le_bytes() })
                .collect()
        };
        for big in [false, true] {
            for mark in ["", "\u{feff}"] {
                let bytes = utf16(&format!("{mark}version: 1\n"), big);
                assert_eq!(refused(&bytes), "FOLDER/cluster.yaml is encoded in UTF-16");
            }
        }
        assert_eq!(refused(b"version: 1\nssid: B\xe4r\n"), "FOLDER/cluster.yaml is not UTF-8: see line 2");
        let long = vec![b'#'; 4 * 1024 * 1024 + 1];
        assert_eq!(refused(&long), "FOLDER/cluster.yaml is longer than 4 MiB");
    }

    #[test]
    fn a_pipe_is_read_once_and_known_afterwards() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR)
            .unwrap();
        let writer = {
            let pipe = pipe.clone();
            std::thread::spawn(move || fs::write(pipe, "version: 1\n").unwrap())
        };
        assert!(is_stream(&pipe));
        assert_eq!(text(&pipe).unwrap(), "version: 1\n");
        writer.join().unwrap();
        assert_eq!(text(&pipe).unwrap(), "version: 1\n");
    }
}
