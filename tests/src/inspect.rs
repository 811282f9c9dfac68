//! Looking into a card after its machine is off, with programs that are not ours.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::desk::FAT_OFFSET;

/// The FAT partition, as mtools sees it.
#[derive(Debug)]
pub struct Fat {
    card: PathBuf,
}

impl Fat {
    /// That of a card with the layout of the images made here.
    pub fn of(card: &Path) -> Self {
        Self { card: card.to_owned() }
    }

    fn drive(&self) -> String {
        format!("{}@@{FAT_OFFSET}", self.card.display())
    }

    /// Paths of all files, one a line.
    pub fn files(&self) -> Result<String> {
        Ok(String::from_utf8(images::capture("mdir", ["-/", "-b", "-i", &self.drive(), "::"])?)?)
    }

    /// A file's text.
    pub fn text(&self, path: &str) -> Result<String> {
        let name = format!("::{path}");
        Ok(String::from_utf8(images::capture("mtype", ["-i", &self.drive(), &name])?)?)
    }

    /// Whether a text is in any sector of the partition, deleted files included.
    pub fn holds_anywhere(&self, needle: &str) -> Result<bool> {
        const SCRIPT: &str = r#"dd if="$1" bs=1M iflag=skip_bytes,count_bytes skip="$2" count=512M status=none | grep -aqF -e "$3""#;
        let mut bash = Command::new("bash");
        bash.args(["-c", SCRIPT, "bash"]).arg(&self.card).args([&FAT_OFFSET.to_string(), needle]);
        Ok(bash.status()?.success())
    }
}

/// The root partition, mounted. The journal of an interrupted run is replayed, so the card is written to.
#[derive(Debug)]
pub struct Root {
    folder: tempfile::TempDir,
}

impl Root {
    /// Mounts the second partition of a card with an MBR.
    ///
    /// # Errors
    /// Without root, or when there is no such file system.
    pub fn mount(card: &Path) -> Result<Self> {
        let mut start = [0; 4];
        // First sector of the second entry of the table.
        let file = fs::File::open(card).with_context(|| format!("cannot open {}", card.display()))?;
        file.read_exact_at(&mut start, 446 + 16 + 8)?;
        let offset = u64::from(u32::from_le_bytes(start)) * 512;
        let folder = tempfile::tempdir()?;
        let options = format!("loop,offset={offset}");
        let mounted = Command::new("mount")
            .args(["-t", "ext4", "-o", &options])
            .arg(card)
            .arg(folder.path())
            .output()?;
        ensure!(mounted.status.success(), "mount: {}", String::from_utf8_lossy(&mounted.stderr));
        Ok(Self { folder })
    }

    /// Where a file of the card is.
    pub fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    /// A file's text.
    pub fn text(&self, path: &str) -> Result<String> {
        fs::read_to_string(self.path(path)).with_context(|| format!("cannot read {path} of the card"))
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        // If this fails, umount has said why; the folder then stays, for it cannot be removed either.
        drop(Command::new("umount").arg(self.folder.path()).status());
    }
}
