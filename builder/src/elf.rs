//! What a program file says of itself: for which processor it is, and whether it runs without libraries.

use std::fmt;

use goblin::elf::header::{EM_AARCH64, EM_ARM, EM_X86_64};
use goblin::elf::{Elf, Header};
use thiserror::Error;

/// A processor architecture, as a userland sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arch {
    /// 64-bit Pis.
    Aarch64,
    /// 32-bit Raspberry Pi OS. Nothing is built for it yet.
    Arm32,
    /// Virtual Pis on a PC.
    X86_64,
}

impl Arch {
    /// The name used in the agent's file name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Aarch64 => "aarch64",
            Self::Arm32 => "armv7",
            Self::X86_64 => "x86_64",
        }
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a file is not a program we know.
#[derive(Debug, Error)]
pub enum ElfError {
    /// Not in the ELF format.
    #[error("it is not a Linux program (ELF)")]
    NotElf(#[source] goblin::error::Error),
    /// For a processor that no supported Pi has.
    #[error("it is for another processor (ELF machine {0})")]
    Machine(u16),
}

/// The architecture, from a file's first [`HEADER_BYTES`].
pub fn arch(start: &[u8]) -> Result<Arch, ElfError> {
    known(&Elf::parse_header(start).map_err(ElfError::NotElf)?)
}

/// How much of a file [`arch`] needs.
pub const HEADER_BYTES: u64 = 64;

/// A whole program's architecture, and whether it is static: it asks for no interpreter and no library.
pub fn program(bytes: &[u8]) -> Result<(Arch, bool), ElfError> {
    let elf = Elf::parse(bytes).map_err(ElfError::NotElf)?;
    Ok((known(&elf.header)?, elf.interpreter.is_none() && elf.libraries.is_empty()))
}

fn known(header: &Header) -> Result<Arch, ElfError> {
    match header.e_machine {
        EM_AARCH64 => Ok(Arch::Aarch64),
        EM_ARM => Ok(Arch::Arm32),
        EM_X86_64 => Ok(Arch::X86_64),
        other => Err(ElfError::Machine(other)),
    }
}

#[cfg(test)]
#[path = "../tests/fixture/elf.rs"]
pub(crate) mod fixture;

#[cfg(test)]
mod tests {
    use super::fixture::tiny;
    use super::*;

    #[test]
    fn tells_architectures_and_static_from_dynamic() {
        assert!(matches!(program(&tiny(EM_AARCH64, false)), Ok((Arch::Aarch64, true))));
        assert!(matches!(program(&tiny(EM_X86_64, true)), Ok((Arch::X86_64, false))));
        assert!(matches!(arch(&tiny(EM_ARM, false)[..64]), Ok(Arch::Arm32)));
        assert!(matches!(arch(&tiny(243, false)), Err(ElfError::Machine(243))));
        assert!(matches!(arch(b"#!/bin/sh\n"), Err(ElfError::NotElf(_))));
        assert!(matches!(program(b""), Err(ElfError::NotElf(_))));
    }
}
