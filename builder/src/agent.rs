//! Finds the firstboot binary for an image's architecture and checks its ELF header: a wrong or dynamic one would
//! leave every Pi dead without a word.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::{env, fmt, fs, io};

use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::elf::{self, Arch, ElfError};
use crate::error::{Failure, Kind};
use crate::regular;

/// Largest binary taken, in bytes. Ours has a few megabytes; anything above is some other file.
const LIMIT: u64 = 32 * 1024 * 1024;

/// Where the binary may lie, relative to the folder of the running executable.
const FOLDERS: [&str; 3] = [".", "../share/builder", "../lib/builder"];

/// A firstboot binary that runs on the image.
#[derive(Clone)]
pub struct Agent {
    /// Where it was found.
    pub path: PathBuf,
    /// Its content.
    pub bytes: Vec<u8>,
    /// SHA-256 of the content, hexadecimal.
    pub sha256: String,
}

impl fmt::Debug for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Agent({}, {} bytes)", self.path.display(), self.bytes.len())
    }
}

/// Why there is no agent for the card.
#[derive(Debug, Error)]
pub enum AgentError {
    /// None of the places has it.
    #[error("there is no {name} in {}", list(places))]
    NotFound {
        /// File name looked for.
        name: String,
        /// Folders looked in.
        places: Vec<PathBuf>,
    },
    /// The file is there but cannot be read.
    #[error("cannot read the agent {path}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Too big to be an agent.
    #[error("{path} has {bytes} bytes, too many for the agent (limit {LIMIT})")]
    TooBig {
        /// Which file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// Not a program.
    #[error("{path} is not an agent")]
    NotProgram {
        /// Which file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: ElfError,
    },
    /// For another processor.
    #[error("{path} is for {found}, but the image is for {wanted}")]
    WrongArch {
        /// Which file.
        path: PathBuf,
        /// What it is for.
        found: Arch,
        /// What the image is for.
        wanted: Arch,
    },
    /// Needs libraries that the image may not have.
    #[error("{path} is linked dynamically; it has to run on any release, so it must be static")]
    Dynamic {
        /// Which file.
        path: PathBuf,
    },
}

fn list(places: &[PathBuf]) -> String {
    places.iter().map(|place| place.display().to_string()).collect::<Vec<_>>().join(", ")
}

impl AgentError {
    fn hint(&self) -> &'static str {
        match self {
            Self::NotProgram { source: ElfError::OldArm(_), .. } => {
                "run `cargo xtask agent --arch armv7`; the first Pi and the Pi Zero (ARMv6) cannot be nodes, because \
                 Docker has no packages for them"
            }
            _ => "run `cargo xtask agent` to build it, or pass `--firstboot PATH`",
        }
    }

    /// As shown to the user.
    pub fn into_failure(self) -> Failure {
        let hint = self.hint();
        Failure::new(Kind::Failed, self).hint(hint)
    }
}

/// Finds and checks the agent for an architecture: the file `given`, else `firstboot-<arch>` beside the running
/// executable or where an installation puts it.
pub fn find(arch: Arch, given: Option<&Path>) -> Result<Agent, AgentError> {
    let path = match given {
        Some(path) => path.to_owned(),
        None => search(arch, &own_folder())?,
    };
    check(path, arch)
}

fn own_folder() -> PathBuf {
    let exe = env::current_exe().unwrap_or_default();
    exe.parent().map(Path::to_owned).unwrap_or_default()
}

fn search(arch: Arch, own_folder: &Path) -> Result<PathBuf, AgentError> {
    let name = format!("firstboot-{arch}");
    let places =
        FOLDERS.map(|folder| if folder == "." { own_folder.to_owned() } else { own_folder.join(folder) });
    let found = places.iter().map(|place| place.join(&name)).find(|path| path.is_file());
    found.ok_or_else(|| AgentError::NotFound { name, places: places.into() })
}

fn check(path: PathBuf, wanted: Arch) -> Result<Agent, AgentError> {
    // The size first: what is given by mistake may be a whole image.
    let bytes = match fs::metadata(&path).map(|metadata| metadata.len()) {
        Ok(bytes) if bytes > LIMIT => return Err(AgentError::TooBig { path, bytes }),
        Ok(_) => read(&path),
        Err(error) => Err(error),
    };
    let bytes = match bytes {
        Ok(bytes) => bytes,
        Err(source) => return Err(AgentError::Read { path, source }),
    };
    match elf::program(&bytes) {
        Err(source) => Err(AgentError::NotProgram { path, source }),
        Ok((found, _)) if found != wanted => Err(AgentError::WrongArch { path, found, wanted }),
        Ok((_, false)) => Err(AgentError::Dynamic { path }),
        Ok((_, true)) => Ok(Agent { path, sha256: sha256_hex(&bytes), bytes }),
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    regular::open(path)?.take(LIMIT).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// SHA-256 in lower-case hexadecimal.
pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use goblin::elf::header::{EM_AARCH64, EM_X86_64};

    use super::*;
    use crate::elf::fixture::{arm, tiny};

    fn folder_with(name: &str, content: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        (folder, path)
    }

    #[test]
    fn takes_a_static_binary_for_the_image() {
        let (_folder, path) = folder_with("agent", &tiny(EM_AARCH64, false));
        let agent = find(Arch::Aarch64, Some(&path)).unwrap();
        assert_eq!(agent.bytes, tiny(EM_AARCH64, false));
        assert_eq!(agent.sha256.len(), 64);
    }

    #[test]
    fn finds_it_beside_the_executable_or_where_it_is_installed() {
        let (folder, path) = folder_with("bin/firstboot-x86_64", b"");
        assert_eq!(search(Arch::X86_64, &folder.path().join("bin")).unwrap(), path);
        for place in ["share", "lib"] {
            let (folder, path) = folder_with(&format!("{place}/builder/firstboot-aarch64"), b"");
            fs::create_dir(folder.path().join("bin")).unwrap();
            let found = search(Arch::Aarch64, &folder.path().join("bin")).unwrap();
            assert_eq!(fs::canonicalize(found).unwrap(), fs::canonicalize(path).unwrap());
        }
        let error = search(Arch::Aarch64, folder.path()).unwrap_err();
        assert!(error.to_string().starts_with("there is no firstboot-aarch64 in "), "{error}");
    }

    #[test]
    fn refuses_what_would_not_run() {
        let refused = |content: &[u8]| {
            let (_folder, path) = folder_with("agent", content);
            find(Arch::Aarch64, Some(&path)).unwrap_err()
        };
        assert!(matches!(
            refused(&tiny(EM_X86_64, false)),
            AgentError::WrongArch { found: Arch::X86_64, .. }
        ));
        assert!(matches!(refused(&tiny(EM_AARCH64, true)), AgentError::Dynamic { .. }));
        assert!(matches!(refused(b"#!/bin/sh\n"), AgentError::NotProgram { .. }));
        assert!(matches!(find(Arch::Aarch64, Some(Path::new("/nowhere"))), Err(AgentError::Read { .. })));
    }

    #[test]
    fn a_32_bit_image_takes_an_agent_for_armv7_and_none_for_armv6() {
        let found = |content: &[u8]| {
            let (_folder, path) = folder_with("agent", content);
            find(Arch::Arm32, Some(&path))
        };
        assert!(found(&arm(Some(10))).is_ok());
        assert!(matches!(found(&tiny(EM_AARCH64, false)), Err(AgentError::WrongArch { .. })));
        let said = found(&arm(Some(6))).unwrap_err().into_failure().render();
        assert!(said.contains("it is for ARMv6") && said.contains("Docker has no packages"), "{said}");
        let (folder, path) = folder_with("firstboot-armv7", b"");
        assert_eq!(search(Arch::Arm32, folder.path()).unwrap(), path);
    }

    #[test]
    fn refuses_what_is_too_big_without_reading_it() {
        let (_folder, path) = folder_with("agent", b"");
        fs::File::options().write(true).open(&path).unwrap().set_len(LIMIT + 1).unwrap();
        assert!(
            matches!(find(Arch::Aarch64, Some(&path)), Err(AgentError::TooBig { bytes, .. }) if bytes == LIMIT + 1)
        );
    }
}
