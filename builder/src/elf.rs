//! What a program file says of itself: for which processor it is, and whether it runs without libraries.

use std::fmt;

use goblin::elf::header::{EM_AARCH64, EM_ARM, EM_X86_64};
use goblin::elf::{Elf, Header};
use thiserror::Error;

/// The type of the section with an ARM program's build attributes.
const SHT_ARM_ATTRIBUTES: u32 = 0x7000_0003;

/// A processor architecture, as a userland sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arch {
    /// 64-bit Pis.
    Aarch64,
    /// 32-bit systems. Their own programs may be for ARMv6; an agent has to be for ARMv7.
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
    /// For a 32-bit ARM that no supported Pi has.
    #[error("it is for {0}, and only ARMv7 and newer run Docker")]
    OldArm(&'static str),
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
    let arch = known(&elf.header)?;
    if arch == Arch::Arm32 {
        let section = elf.section_headers.iter().find(|header| header.sh_type == SHT_ARM_ATTRIBUTES);
        let attributes = section.and_then(|header| bytes.get(header.file_range()?));
        check_arm(attributes.and_then(cpu_arch))?;
    }
    Ok((arch, elf.interpreter.is_none() && elf.libraries.is_empty()))
}

/// Tag_CPU_arch of the build attributes ("Addenda to, and Errata in, the ABI for the Arm Architecture", 3.3.2): the
/// least processor the program was made for.
fn check_arm(cpu_arch: Option<u64>) -> Result<(), ElfError> {
    match cpu_arch {
        // 10 is v7; 11 to 13 and 16, 17, 21 are microcontrollers without Linux; the others are v8 and v9.
        Some(10 | 14 | 15 | 18..=20 | 22..) => Ok(()),
        Some(6..=9) => Err(ElfError::OldArm("ARMv6")),
        Some(_) => Err(ElfError::OldArm("a processor older than ARMv6 or without Linux")),
        None => Err(ElfError::OldArm("an ARM processor that it does not name")),
    }
}

/// Finds Tag_CPU_arch in the section's content: a version, then subsections by vendor, of which "aeabi" holds lists of
/// tags, the first of them for the whole file.
fn cpu_arch(section: &[u8]) -> Option<u64> {
    let mut rest = section.strip_prefix(b"A")?;
    while let Some((length, _)) = rest.split_first_chunk::<4>() {
        let (subsection, next) = rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
        if let Some(lists) = subsection.get(4..)?.strip_prefix(b"aeabi\0") {
            // One byte for the tag "whole file", four for the list's length.
            let ([1, ..], length) = (lists, lists.get(1..5)?) else { return None };
            let length = u32::from_le_bytes(length.try_into().ok()?);
            return find_cpu_arch(lists.get(5..usize::try_from(length).ok()?)?);
        }
        rest = next;
    }
    None
}

fn find_cpu_arch(mut list: &[u8]) -> Option<u64> {
    loop {
        match take_number(&mut list)? {
            6 => return take_number(&mut list),
            // Tag_compatibility is a number and a text; up to it the texts are named, after it they have odd tags.
            32 => {
                take_number(&mut list)?;
                take_text(&mut list)?;
            }
            4 | 5 => take_text(&mut list)?,
            tag if tag > 32 && tag % 2 == 1 => take_text(&mut list)?,
            _ => drop(take_number(&mut list)?),
        }
    }
}

/// ULEB128.
fn take_number(list: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..63).step_by(7) {
        let (byte, rest) = list.split_first()?;
        *list = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn take_text(list: &mut &[u8]) -> Option<()> {
    let end = list.iter().position(|byte| *byte == 0)?;
    *list = list.get(end + 1..)?;
    Some(())
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
    use super::fixture::{arm, tiny};
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

    #[test]
    fn tells_armv7_from_what_docker_does_not_run_on() {
        let ours = |cpu_arch| program(&arm(Some(cpu_arch)));
        for newer in [10, 14, 22] {
            assert!(matches!(ours(newer), Ok((Arch::Arm32, true))), "{newer}");
        }
        for v6 in [6, 7, 9] {
            assert!(matches!(ours(v6), Err(ElfError::OldArm("ARMv6"))), "{v6}");
        }
        assert!(matches!(ours(4), Err(ElfError::OldArm(_))));
        assert!(matches!(program(&arm(None)), Err(ElfError::OldArm(_))), "stripped of what it is for");
    }

    #[test]
    fn attributes_are_read_past_other_vendors_and_texts_and_never_beyond_their_end() {
        let list = b"\x05cortex\0\x20\x01gnu\0\x41\x00\x06\x0a";
        let whole =
            [b"\x01".as_slice(), &u32::try_from(5 + list.len()).unwrap().to_le_bytes(), list].concat();
        let sub = |vendor: &[u8], content: &[u8]| {
            let length = u32::try_from(4 + vendor.len() + content.len()).unwrap();
            [&length.to_le_bytes(), vendor, content].concat()
        };
        let section = [b"A".to_vec(), sub(b"gnu\0", b"\x06\x06"), sub(b"aeabi\0", &whole)].concat();
        assert_eq!(cpu_arch(&section), Some(10));
        for end in 0..section.len() {
            assert_eq!(cpu_arch(&section[..end]), None, "{end}");
        }
    }
}
