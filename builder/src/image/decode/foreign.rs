//! What builder does not unpack, and the programs that do. A valid archive of another kind is not a damaged one: it is
//! named, with the command that unpacks it.

use std::fmt;

use super::Format;

/// A kind of file that builder does not unpack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Foreign {
    /// A 7z archive.
    SevenZip,
    /// A RAR archive.
    Rar,
    /// A bzip2 file.
    Bzip2,
    /// An lz4 frame.
    Lz4,
    /// An lzip file.
    Lzip,
    /// A file in the format before xz.
    Lzma,
    /// A file made by compress(1).
    Compress,
    /// A tar archive, whatever it is packed in.
    Tar,
    /// A virtual machine's disk; the name of its format.
    Disk(&'static str),
    /// An Android sparse image, as rpi-image-gen writes.
    Sparse,
    /// An archive in an archive: the outer one, and what it holds.
    Nested(Format, &'static str),
    /// A zip archive whose image is packed by this method (APPNOTE.TXT, section 4.4.5).
    ZipMethod(u16),
    /// A zip archive whose image is encrypted; the method.
    ZipEncrypted(u16),
    /// A zstd frame with a larger window than [`super::ZSTD_WINDOW_LOG`].
    ZstdWindow,
    /// An xz file that takes more memory than [`super::xz::MEMORY_AT_MOST`].
    XzMemory,
    /// An xz file with a filter that this builder's liblzma does not know.
    XzFilter,
}

/// Deflate64: what Windows' Explorer uses for files of 2 GiB and more.
const DEFLATE64: u16 = 9;
const ZIP_BZIP2: u16 = 12;
const ZIP_AES: u16 = 99;

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::SevenZip => "it is a 7z archive",
            Self::Rar => "it is a RAR archive",
            Self::Bzip2 => "it is packed by bzip2",
            Self::Lz4 => "it is packed by lz4",
            Self::Lzip => "it is packed by lzip",
            Self::Lzma => "it is packed as .lzma",
            Self::Compress => "it is packed by compress",
            Self::Tar => "it is a tar archive",
            Self::Disk(format) => return write!(f, "it is the disk of a virtual machine ({format})"),
            Self::Sparse => "it is an Android sparse image, as rpi-image-gen makes",
            Self::Nested(outer, inner) => return write!(f, "it is packed twice: {outer} holds {inner}"),
            Self::ZipMethod(method) => {
                return write!(f, "the image in the zip archive is packed by {}", ZipMethod(*method));
            }
            Self::ZipEncrypted(_) => "the image in the zip archive is encrypted",
            Self::ZstdWindow => {
                return write!(
                    f,
                    "its zstd window is larger than {} MiB (zstd --long)",
                    1 << (super::ZSTD_WINDOW_LOG - 20)
                );
            }
            Self::XzMemory => {
                return write!(
                    f,
                    "its xz dictionary needs more than {} MiB of memory",
                    super::xz::MEMORY_AT_MOST >> 20
                );
            }
            Self::XzFilter => "it is packed with an xz filter that this builder does not know",
        };
        f.write_str(name)
    }
}

/// A compression method by its name.
struct ZipMethod(u16);

impl fmt::Display for ZipMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            DEFLATE64 => "Deflate64 (method 9)",
            ZIP_BZIP2 => "bzip2 (method 12)",
            14 => "LZMA (method 14)",
            20 | 93 => "zstd (method 93)",
            95 => "xz (method 95)",
            98 => "PPMd (method 98)",
            method => return write!(f, "method {method}"),
        })
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.short())
    }
}

impl Foreign {
    /// Recognises a file by its first bytes. Signatures: the formats' own descriptions, as file(1) knows them too.
    pub(super) fn recognise(first: &[u8]) -> Option<Self> {
        match first {
            [b'7', b'z', 0xbc, 0xaf, 0x27, 0x1c, ..] => Some(Self::SevenZip),
            [b'R', b'a', b'r', b'!', 0x1a, 7, ..] => Some(Self::Rar),
            // The digits of pi begin a block, those of its square root end the file.
            [b'B', b'Z', b'h', b'1'..=b'9', 0x31, 0x41, 0x59, 0x26, 0x53, 0x59, ..]
            | [b'B', b'Z', b'h', b'1'..=b'9', 0x17, 0x72, 0x45, 0x38, 0x50, 0x90, ..] => Some(Self::Bzip2),
            [0x04, 0x22, 0x4d, 0x18, ..] => Some(Self::Lz4),
            [b'L', b'Z', b'I', b'P', ..] => Some(Self::Lzip),
            // Properties of every common preset, a dictionary of a power of two, an unknown or a plausible size.
            [0x5d, 0, 0, _, _, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, ..]
            | [0x5d, 0, 0, _, _, _, _, _, _, _, 0, 0, 0, ..] => Some(Self::Lzma),
            [0x1f, 0x9d, ..] => Some(Self::Compress),
            [b'Q', b'F', b'I', 0xfb, ..] => Some(Self::Disk("qcow2")),
            [b'K', b'D', b'M', b'V', ..] => Some(Self::Disk("VMDK")),
            [b'v', b'h', b'd', b'x', b'f', b'i', b'l', b'e', ..] => Some(Self::Disk("VHDX")),
            // AOSP, system/core/libsparse/sparse_format.h.
            [0x3a, 0xff, 0x26, 0xed, ..] => Some(Self::Sparse),
            // POSIX.1, pax: the header block's "magic" field.
            _ if first.get(257..262) == Some(b"ustar") => Some(Self::Tar),
            _ => None,
        }
    }

    /// Recognises what an archive holds by its first unpacked bytes.
    pub(super) fn within(outer: Format, first: &[u8]) -> Option<Self> {
        match (Self::recognise(first), Format::detect(first)) {
            (Some(Self::Tar), _) if outer != Format::Zip => Some(Self::Tar),
            (Some(inner), _) => Some(Self::Nested(outer, inner.short())),
            (None, Some(inner @ (Format::Xz | Format::Gzip | Format::Zstd | Format::Zip))) => {
                Some(Self::Nested(outer, inner.short()))
            }
            (None, _) => None,
        }
    }

    /// Recognises an image in a zip archive that is packed by another method, or encrypted, by the archive's first entry
    /// (APPNOTE.TXT, section 4.3.7).
    pub(super) fn first_entry(first: &[u8]) -> Option<Self> {
        let field = |at: usize| Some(u16::from_le_bytes(*first.get(at..)?.first_chunk()?));
        let (flags, method, length) = (field(6)?, field(8)?, field(26)?);
        let name = first.get(30..30 + usize::from(length))?;
        is_image(&String::from_utf8_lossy(name)).then(|| Self::entry(flags & 1 == 1, method))?
    }

    /// Why an entry of a zip archive cannot be unpacked, if so.
    pub(super) const fn entry(is_encrypted: bool, method: u16) -> Option<Self> {
        const STORED: u16 = 0;
        const DEFLATED: u16 = 8;
        match method {
            _ if is_encrypted => Some(Self::ZipEncrypted(method)),
            STORED | DEFLATED => None,
            method => Some(Self::ZipMethod(method)),
        }
    }

    /// The shell command that unpacks `file`.
    pub fn command(&self, file: &str) -> String {
        let word = crate::error::quote;
        let from = word(file);
        let to = |ending: &str| word(&target(file, ending));
        match self {
            Self::SevenZip | Self::ZipEncrypted(ZIP_AES) => format!("7z x {from}"),
            Self::ZipMethod(DEFLATE64 | ZIP_BZIP2) | Self::ZipEncrypted(_) => format!("unzip {from}"),
            Self::ZipMethod(_) => format!("7z x {from}"),
            Self::Rar => format!("unrar x {from}"),
            Self::Bzip2 => format!("bzip2 -dc {from} > {}", to(".img")),
            Self::Lz4 => format!("lz4 -dc {from} > {}", to(".img")),
            Self::Lzip => format!("lzip -dc {from} > {}", to(".img")),
            Self::Lzma => format!("xz --format=lzma -dc {from} > {}", to(".img")),
            Self::Compress | Self::Nested(Format::Gzip, _) => format!("gzip -dc {from} > {}", to("")),
            Self::Tar => format!("tar -xf {from}"),
            Self::Disk(_) => format!("qemu-img convert -O raw {from} {}", to(".img")),
            Self::Sparse => format!("simg2img {from} {}", to(".img")),
            Self::Nested(Format::Xz, _) | Self::XzMemory | Self::XzFilter => {
                format!("xz -dc {from} > {}", to(""))
            }
            Self::ZstdWindow | Self::Nested(Format::Zstd, _) => {
                format!("zstd -dc --long=31 {from} > {}", to(""))
            }
            Self::Nested(Format::Zip | Format::Raw, _) => format!("unzip {from}"),
        }
    }

    const fn short(&self) -> &'static str {
        match self {
            Self::SevenZip => "7z",
            Self::Rar => "RAR",
            Self::Bzip2 => "bzip2",
            Self::Lz4 => "lz4",
            Self::Lzip => "lzip",
            Self::Lzma => "lzma",
            Self::Compress => "compress",
            Self::Tar => "tar",
            Self::Disk(format) => format,
            Self::Sparse => "an Android sparse image",
            // Not recognised by first bytes.
            _ => "another archive",
        }
    }
}

impl Format {
    const fn short(self) -> &'static str {
        match self {
            Self::Raw => "a disk image",
            Self::Xz => "xz",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Zip => "zip",
        }
    }
}

/// Whether an entry of an archive is the image by its name. macOS adds a folder of attributes in which every file appears
/// once more.
pub(super) fn is_image(name: &str) -> bool {
    name.to_ascii_lowercase().ends_with(".img") && !name.starts_with("__MACOSX/")
}

/// The name of the unpacked file: without the ending of the archive, in the current folder, never the archive itself.
fn target(file: &str, ending: &str) -> String {
    const ENDINGS: [&str; 12] =
        [".bz2", ".gz", ".lz", ".lz4", ".lzma", ".qcow2", ".simg", ".sparse", ".vhdx", ".xz", ".Z", ".zst"];
    let name = file.rsplit('/').next().unwrap_or(file);
    match ENDINGS.iter().find_map(|packed| name.strip_suffix(packed)) {
        Some(stem) if stem.ends_with(ending) || stem.contains(".img") => stem.to_owned(),
        Some(stem) => format!("{stem}{ending}"),
        None => format!("{name}.unpacked.img"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_never_overwrite_the_archive() {
        for (foreign, file, command) in [
            (Foreign::Tar, "/srv/os.tar.gz", "tar -xf /srv/os.tar.gz"),
            (Foreign::Bzip2, "os.img.bz2", "bzip2 -dc os.img.bz2 > os.img"),
            (Foreign::Bzip2, "os.img", "bzip2 -dc os.img > os.img.unpacked.img"),
            (Foreign::Lz4, "my os.lz4", "lz4 -dc 'my os.lz4' > 'my os.img'"),
            (Foreign::ZstdWindow, "os.img.zst", "zstd -dc --long=31 os.img.zst > os.img"),
            (Foreign::Nested(Format::Gzip, "xz"), "os.img.xz.gz", "gzip -dc os.img.xz.gz > os.img.xz"),
            (Foreign::Disk("qcow2"), "os.qcow2", "qemu-img convert -O raw os.qcow2 os.img"),
            (Foreign::ZipEncrypted(8), "os.zip", "unzip os.zip"),
            (Foreign::ZipEncrypted(99), "os.zip", "7z x os.zip"),
            (Foreign::ZipMethod(14), "os.zip", "7z x os.zip"),
        ] {
            assert_eq!(foreign.command(file), command);
        }
    }

    #[test]
    fn an_image_is_not_taken_for_another_format() {
        let mut sectors = vec![0; 1024];
        sectors[510..512].copy_from_slice(&[0x55, 0xaa]);
        assert_eq!(Foreign::recognise(&sectors), None);
        assert_eq!(Foreign::within(Format::Xz, &sectors), None);
        assert_eq!(Foreign::recognise(b""), None);
    }
}
