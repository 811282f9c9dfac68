//! The FAT partition's files in a folder, and back.
//!
//! The host's kernel may know no FAT, so mtools read and write it. A Pi writes into the partition itself, and what
//! it overwrote in place is gone from the card. Going back file by file would leave the old bytes of a shredded key
//! in free clusters; so each file that was taken out keeps a second name, through which its last content is seen
//! even when it has been removed, and that content is laid over the clusters the file has on the card.

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use sha2::{Digest as _, Sha256};

/// A FAT partition in an image and the folder its files are worked on in.
#[derive(Debug)]
pub(super) struct Fat {
    image: PathBuf,
    /// In bytes.
    offset: u64,
    folder: PathBuf,
    /// Second names of the files as they were taken out.
    before: PathBuf,
    taken: BTreeMap<String, Taken>,
}

/// A file or folder as it was taken out; paths are relative, with `/`.
#[derive(Debug)]
enum Taken {
    Folder,
    File { second_name: PathBuf, length: u64, digest: [u8; 32] },
}

impl Fat {
    /// Takes all files out of the partition at `offset` bytes into `folder`, with the mode bits the OS's mount gives
    /// them.
    pub(super) fn extract(image: &Path, offset: u64, folder: &Path, before: &Path) -> Result<Self> {
        for path in [folder, before] {
            if path.exists() {
                fs::remove_dir_all(path).with_context(|| format!("cannot remove {}", path.display()))?;
            }
            fs::create_dir(path).with_context(|| format!("cannot create {}", path.display()))?;
        }
        let mut fat = Self {
            image: image.to_owned(),
            offset,
            folder: folder.to_owned(),
            before: before.to_owned(),
            taken: BTreeMap::new(),
        };
        let target = folder.to_string_lossy();
        images::run("mcopy", ["-s", "-n", "-m", "-i", &fat.volume(), "::*", &target])?;
        for (name, is_folder) in walk(folder)? {
            let path = folder.join(&name);
            fs::set_permissions(&path, Permissions::from_mode(0o755))
                .with_context(|| at("set the mode of", &path))?;
            let taken = if is_folder { Taken::Folder } else { fat.note(&path)? };
            fat.taken.insert(name, taken);
        }
        Ok(fat)
    }

    fn volume(&self) -> String {
        format!("{}@@{}", self.image.display(), self.offset)
    }

    fn note(&self, path: &Path) -> Result<Taken> {
        let bytes = fs::read(path).with_context(|| at("read", path))?;
        let second_name = self.before.join(self.taken.len().to_string());
        fs::hard_link(path, &second_name).with_context(|| at("link", path))?;
        Ok(Taken::File { second_name, length: bytes.len() as u64, digest: Sha256::digest(&bytes).into() })
    }

    /// Writes what has changed since [`Fat::extract`] back to the partition.
    pub(super) fn write_back(&self) -> Result<()> {
        let now = walk(&self.folder)?;
        for (name, taken) in &self.taken {
            if let Taken::File { second_name, length, digest } = taken {
                let bytes = fs::read(second_name).with_context(|| at("read", second_name))?;
                let overwritten = Sha256::digest(&bytes).as_slice() != digest;
                if overwritten && bytes.len() as u64 == *length {
                    self.overwrite(name, &bytes)?;
                }
                let path = self.folder.join(name);
                if !now.contains_key(name) {
                    images::run("mdel", ["-i", &self.volume(), &format!("::{name}")])?;
                } else if !is_same(&path, second_name)? || bytes.len() as u64 != *length {
                    self.copy_in(name)?;
                }
            }
        }
        // Folders that are gone, the innermost first; then those that are new, the outermost first.
        for (name, taken) in self.taken.iter().rev() {
            if matches!(taken, Taken::Folder) && !now.contains_key(name) {
                images::run("mrd", ["-i", &self.volume(), &format!("::{name}")])?;
            }
        }
        for (name, is_folder) in &now {
            if self.taken.contains_key(name) {
                continue;
            }
            if *is_folder {
                images::run("mmd", ["-i", &self.volume(), &format!("::{name}")])?;
            } else {
                self.copy_in(name)?;
            }
        }
        Ok(())
    }

    fn copy_in(&self, name: &str) -> Result<()> {
        let source = self.folder.join(name).to_string_lossy().into_owned();
        images::run("mcopy", ["-o", "-m", "-i", &self.volume(), &source, &format!("::{name}")])
    }

    /// Lays bytes over the clusters a file has, leaving length, directory and allocation as they are.
    fn overwrite(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let list = images::capture("mshowfat", ["-i", &self.volume(), &format!("::{name}")])?;
        let clusters =
            clusters(&String::from_utf8_lossy(&list)).with_context(|| format!("no clusters of {name}"))?;
        let file = File::options()
            .read(true)
            .write(true)
            .open(&self.image)
            .with_context(|| at("open", &self.image))?;
        let mut sector = [0; 512];
        file.read_exact_at(&mut sector, self.offset).with_context(|| at("read", &self.image))?;
        let layout = Layout::read(&sector)?;
        let pieces = bytes.chunks(usize::try_from(layout.cluster).context("clusters too large")?);
        if clusters.len() < pieces.len() {
            bail!("{name} has fewer clusters than bytes");
        }
        for (cluster, piece) in clusters.into_iter().zip(pieces) {
            let place = self.offset + layout.data + (cluster - 2) * layout.cluster;
            file.write_all_at(piece, place).with_context(|| at("write", &self.image))?;
        }
        Ok(())
    }
}

fn at(verb: &str, path: &Path) -> String {
    format!("cannot {verb} {}", path.display())
}

fn is_same(one: &Path, other: &Path) -> Result<bool> {
    let number = |path: &Path| fs::metadata(path).map(|data| data.ino()).with_context(|| at("look at", path));
    Ok(number(one)? == number(other)?)
}

/// Everything below a folder by its relative path, and whether it is a folder.
fn walk(folder: &Path) -> Result<BTreeMap<String, bool>> {
    let mut found = BTreeMap::new();
    let mut open = vec![String::new()];
    while let Some(prefix) = open.pop() {
        let path = folder.join(&prefix);
        for entry in fs::read_dir(&path).with_context(|| at("list", &path))? {
            let entry = entry.with_context(|| at("list", &path))?;
            let name = entry.file_name();
            let name = name.to_str().context("a name on the FAT is no UTF-8")?;
            let name = if prefix.is_empty() { name.to_owned() } else { format!("{prefix}/{name}") };
            let is_folder = entry.file_type().with_context(|| at("look at", &entry.path()))?.is_dir();
            if is_folder {
                open.push(name.clone());
            }
            found.insert(name, is_folder);
        }
    }
    Ok(found)
}

/// `::/cmdline.txt <8> <10-12>` as mshowfat prints it.
fn clusters(list: &str) -> Option<Vec<u64>> {
    let mut clusters = Vec::new();
    for range in list.split('<').skip(1) {
        let range = range.split('>').next()?;
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        clusters.extend(first.parse::<u64>().ok()?..=last.parse().ok()?);
    }
    Some(clusters)
}

/// Where a FAT32 partition's clusters are, in bytes.
#[derive(Debug, PartialEq, Eq)]
struct Layout {
    /// Of cluster 2, from the start of the partition.
    data: u64,
    cluster: u64,
}

impl Layout {
    /// Reads the boot sector (Microsoft's FAT specification 1.03, section 3).
    fn read(sector: &[u8; 512]) -> Result<Self> {
        let [
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            bytes_low,
            bytes_high,
            per_cluster,
            reserved_low,
            reserved_high,
            fats,
            ..,
        ] = *sector;
        let size: [u8; 4] =
            sector.get(36..40).and_then(|size| size.try_into().ok()).context("no boot sector")?;
        let bytes = u64::from(u16::from_le_bytes([bytes_low, bytes_high]));
        let reserved = u64::from(u16::from_le_bytes([reserved_low, reserved_high]));
        let sectors = reserved + u64::from(fats) * u64::from(u32::from_le_bytes(size));
        if bytes == 0 || per_cluster == 0 {
            bail!("the FAT partition has no boot sector");
        }
        Ok(Self { data: sectors * bytes, cluster: u64::from(per_cluster) * bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &[u8] = b"-----BEGIN PRIVATE KEY----- not for everybody";

    /// A FAT32 of 40 MiB at 1 MiB, with some files.
    fn image(folder: &Path) -> PathBuf {
        let image = folder.join("card.img");
        File::create(&image).unwrap().set_len(41 << 20).unwrap();
        let name = image.to_string_lossy().into_owned();
        images::run("mkfs.fat", ["-F", "32", "-s", "1", "--offset", "2048", &name, "40960"]).unwrap();
        for (file, bytes) in [
            ("cmdline.txt", b"root=x systemd.run=y\n".as_slice()),
            ("key", &SECRET.repeat(40)),
            ("gone", b"bye"),
            ("kept", b"kept"),
        ] {
            fs::write(folder.join(file), bytes).unwrap();
        }
        let volume = format!("{name}@@1048576");
        images::run("mmd", ["-i", &volume, "::swarm"]).unwrap();
        let local = |file: &str| folder.join(file).to_string_lossy().into_owned();
        images::run("mcopy", ["-i", &volume, &local("key"), "::swarm/key"]).unwrap();
        images::run("mcopy", ["-i", &volume, &local("cmdline.txt"), &local("gone"), &local("kept"), "::"])
            .unwrap();
        image
    }

    fn read(image: &Path, name: &str) -> Result<Vec<u8>> {
        images::capture(
            "mcopy",
            ["-n", "-i", &format!("{}@@1048576", image.display()), &format!("::{name}"), "-"],
        )
    }

    #[test]
    fn changed_added_removed_and_shredded_files_reach_the_card() {
        let lab = tempfile::tempdir().unwrap();
        let image = image(lab.path());
        let files = lab.path().join("fat");
        let fat = Fat::extract(&image, 1 << 20, &files, &lab.path().join("before")).unwrap();

        let in_place = File::options().write(true).open(files.join("cmdline.txt")).unwrap();
        in_place.write_all_at(b"root=x              \n", 0).unwrap();
        let shred = File::options().write(true).open(files.join("swarm/key")).unwrap();
        shred.write_all_at(&vec![0; SECRET.len() * 40], 0).unwrap();
        fs::remove_file(files.join("swarm/key")).unwrap();
        fs::remove_file(files.join("gone")).unwrap();
        fs::write(files.join("swarm/status.txt"), "did it").unwrap();
        fs::create_dir(files.join("more")).unwrap();
        fs::write(files.join("more/file"), "new").unwrap();
        fs::write(files.join("kept.new"), "replaced").unwrap();
        fs::rename(files.join("kept.new"), files.join("kept")).unwrap();
        fat.write_back().unwrap();

        assert_eq!(read(&image, "cmdline.txt").unwrap(), b"root=x              \n");
        assert_eq!(read(&image, "swarm/status.txt").unwrap(), b"did it");
        assert_eq!(read(&image, "more/file").unwrap(), b"new");
        assert_eq!(read(&image, "kept").unwrap(), b"replaced");
        assert!(read(&image, "gone").is_err());
        assert!(read(&image, "swarm/key").is_err());
        let bytes = fs::read(&image).unwrap();
        assert!(
            !bytes.windows(27).any(|window| window == &SECRET[..27]),
            "the shredded key is in a free cluster"
        );
        let volume = lab.path().join("volume");
        fs::write(&volume, &bytes[1 << 20..]).unwrap();
        images::run("fsck.fat", ["-n", &volume.to_string_lossy()]).unwrap();
    }

    #[test]
    fn a_key_that_was_only_removed_is_found_on_the_card() {
        let lab = tempfile::tempdir().unwrap();
        let image = image(lab.path());
        let files = lab.path().join("fat");
        let fat = Fat::extract(&image, 1 << 20, &files, &lab.path().join("before")).unwrap();
        fs::remove_file(files.join("swarm/key")).unwrap();
        fat.write_back().unwrap();
        assert!(fs::read(&image).unwrap().windows(27).any(|window| window == &SECRET[..27]));
    }

    #[test]
    fn nothing_changed_writes_nothing() {
        let lab = tempfile::tempdir().unwrap();
        let image = image(lab.path());
        let before = fs::read(&image).unwrap();
        let fat = Fat::extract(&image, 1 << 20, &lab.path().join("fat"), &lab.path().join("before")).unwrap();
        fat.write_back().unwrap();
        assert!(fs::read(&image).unwrap() == before);
    }

    #[test]
    fn reads_the_ranges_mshowfat_prints() {
        assert_eq!(clusters("::/cmdline.txt <8>\n").unwrap(), [8]);
        assert_eq!(clusters("::/run <3-5> <9>\n").unwrap(), [3, 4, 5, 9]);
        assert!(clusters("::/x <a>").is_none());
    }
}
