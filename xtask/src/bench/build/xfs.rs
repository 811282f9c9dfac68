//! A file system that copies by reference, in a file.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::bench::command::run;

/// Room for an unpacked image twice, in case copies were not by reference.
const GIB: u64 = 12;

/// A mounted XFS. Unmounted and removed when dropped; `mount -o loop` gives the loop device back by itself.
pub(super) struct Mounted {
    folder: TempDir,
    mounted: bool,
}

impl Mounted {
    pub(super) fn make(parent: &Path) -> Result<Self> {
        let folder = tempfile::tempdir_in(parent)?;
        let file = folder.path().join("xfs.img");
        File::create(&file)?;
        // A sparse file under a loop device is many times slower than a real disk.
        run(Command::new("fallocate").args(["-l", &format!("{GIB}GiB")]).arg(&file))?;
        run(Command::new("mkfs.xfs").args(["-q", "-m", "reflink=1"]).arg(&file))?;
        let mut this = Self { folder, mounted: false };
        fs::create_dir(this.path())?;
        run(Command::new("mount").args(["-o", "loop"]).arg(&file).arg(this.path()))
            .context("cannot mount XFS: run as root")?;
        this.mounted = true;
        Ok(this)
    }

    pub(super) fn path(&self) -> PathBuf {
        self.folder.path().join("mnt")
    }

    pub(super) fn unmount(mut self) -> Result<()> {
        self.mounted = false;
        run(Command::new("umount").arg(self.path()))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if self.mounted {
            // The error that led here is the one to show. Left mounted, nothing inside may be removed.
            let _left = run(Command::new("umount").arg("--lazy").arg(self.path()));
        }
    }
}
