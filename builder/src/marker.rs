//! Which folders are ours. A folder with the right name may be somebody's work, or come with a repository: only what
//! builder made is cleaned, made private, or filled without being named.

use std::io;

use cluster::name::Hostname;
use rustix::fs::Mode;

use crate::dir::{Dir, Refusal};
use crate::scratch::{self, Existing, Scratch, ScratchError};

/// A file that tells what a folder of ours is for.
#[derive(Debug)]
pub(crate) struct Marker {
    file: &'static str,
    text: &'static str,
    /// Whether it is a folder of a builder that wrote no marker, by what only builder writes.
    is_older: fn(&Dir) -> io::Result<bool>,
}

/// How builder knows that a folder is its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// By the marker.
    Marked,
    /// An older builder made it.
    Older,
    /// Nothing is in it.
    Empty,
}

/// The cache. Backup programs know the file, too: <https://bford.info/cachedir/>.
pub(crate) const CACHE: Marker = Marker {
    file: "CACHEDIR.TAG",
    text: "Signature: 8a477f597d28d172789f06886806bc55\n\
           # This is builder's cache. Anything in it may be deleted at any time.\n",
    is_older: is_older_cache,
};

/// Card images, which hold private keys: no commit should contain them.
pub(crate) const CARDS: Marker = Marker {
    file: ".gitignore",
    text: "# Card images of builder. They hold private keys.\n*\n",
    is_older: is_older_cards,
};

/// The folder of a rehearsal.
pub(crate) const REHEARSAL: Marker = Marker {
    file: ".gitignore",
    text: "# A rehearsal of builder. The next one removes its files.\n*\n",
    is_older: is_older_rehearsal,
};

impl Marker {
    /// Tells how a folder is known to be ours. Nothing is written.
    ///
    /// # Errors
    /// [`Refusal::NotOurs`].
    pub(crate) fn check(&self, folder: &Dir) -> io::Result<Standing> {
        // A marker that is a link is none. Further lines could have git take what the marker keeps from it.
        let is_marked =
            folder.read(self.file).is_ok_and(|text| text.is_some_and(|text| text == self.text.as_bytes()));
        match () {
            () if is_marked => Ok(Standing::Marked),
            () if is_vacant(folder)? => Ok(Standing::Empty),
            () if (self.is_older)(folder)? => Ok(Standing::Older),
            () => Err(Refusal::NotOurs.into()),
        }
    }

    /// Marks a folder.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn put(&self, folder: &Dir) -> io::Result<()> {
        // Whole or absent: another builder may be looking at the folder.
        let put = || -> Result<(), ScratchError> {
            let scratch = Scratch::new_in(folder)?;
            scratch.write(self.text.as_bytes())?;
            scratch.publish(self.file, Existing::Replace)
        };
        put().map_err(ScratchError::into_source)
    }

    /// Marks a folder of ours that has no marker yet.
    ///
    /// # Errors
    /// As [`Self::check`] and [`Self::put`].
    pub(crate) fn claim(&self, folder: &Dir) -> io::Result<()> {
        if self.check(folder)? == Standing::Marked { Ok(()) } else { self.put(folder) }
    }
}

/// Whether nothing is in it but what another builder is about to give its name, or what a new file system has (mke2fs(8)).
fn is_vacant(folder: &Dir) -> io::Result<bool> {
    Ok(folder.names()?.iter().all(|name| scratch::is_temporary(name) || name == "lost+found"))
}

/// Since 6bc94bb every run made all of them.
fn is_older_cache(folder: &Dir) -> io::Result<bool> {
    for name in ["images", "sources", "downloads"] {
        if !folder.look(name)?.is_some_and(|found| found.kind.is_dir()) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Since 6bc94bb: nothing but images with names of nodes, which only their owner can read.
fn is_older_cards(folder: &Dir) -> io::Result<bool> {
    for name in folder.names()?.into_iter().filter(|name| !scratch::is_temporary(name)) {
        let node = name.to_str().and_then(|name| name.strip_suffix(".img"));
        let is_card = node.is_some_and(|node| Hostname::try_from(node).is_ok());
        let is_private = folder.look(&name)?.is_some_and(|found| {
            found.kind.is_file()
                && !found.mode.intersects(Mode::RWXG | Mode::RWXO)
                && found.uid == rustix::process::geteuid().as_raw()
        });
        if !is_card || !is_private {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Since 6bc94bb: an empty `.lock` and this `.gitignore` were written before anything else.
fn is_older_rehearsal(folder: &Dir) -> io::Result<bool> {
    let is_lock = folder.look(".lock")?.is_some_and(|found| found.kind.is_file() && found.size == 0);
    Ok(is_lock && folder.read(".gitignore").is_ok_and(|text| text.as_deref() == Some(b"*\n")))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn bench() -> (tempfile::TempDir, Dir) {
        let folder = tempfile::tempdir().unwrap();
        let dir = Dir::open(folder.path()).unwrap();
        (folder, dir)
    }

    fn standing(marker: &Marker, dir: &Dir) -> Option<Standing> {
        match marker.check(dir) {
            Ok(standing) => Some(standing),
            Err(error) => {
                assert_eq!(Refusal::of(&error), Some(&Refusal::NotOurs));
                None
            }
        }
    }

    #[test]
    fn folders_are_known_by_their_marker() {
        for marker in [CACHE, CARDS, REHEARSAL] {
            let (folder, dir) = bench();
            assert_eq!(standing(&marker, &dir), Some(Standing::Empty));
            fs::create_dir(folder.path().join("lost+found")).unwrap();
            assert_eq!(standing(&marker, &dir), Some(Standing::Empty), "a new file system");
            fs::remove_dir(folder.path().join("lost+found")).unwrap();
            fs::write(folder.path().join("letter.txt"), "").unwrap();
            assert_eq!(standing(&marker, &dir), None);
            assert!(marker.claim(&dir).is_err());
            assert_eq!(dir.names().unwrap(), ["letter.txt"], "a refusal wrote something");
            marker.put(&dir).unwrap();
            assert_eq!(standing(&marker, &dir), Some(Standing::Marked));
        }
        let (folder, dir) = bench();
        CARDS.put(&dir).unwrap();
        assert_eq!(standing(&REHEARSAL, &dir), None, "cards are not a rehearsal");
        fs::write(folder.path().join(CARDS.file), format!("{}!*.img\n", CARDS.text)).unwrap();
        assert_eq!(standing(&CARDS, &dir), None, "git would take these cards");
    }

    #[test]
    fn folders_of_older_builders_are_known_by_what_they_wrote() {
        let (folder, dir) = bench();
        for name in ["images", "sources", "downloads"] {
            assert_ne!(standing(&CACHE, &dir), Some(Standing::Older));
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        assert_eq!(standing(&CACHE, &dir), Some(Standing::Older));

        let (folder, dir) = bench();
        let card = folder.path().join("red00.img");
        dir.create("red00.img").unwrap();
        assert_eq!(standing(&CARDS, &dir), Some(Standing::Older));
        fs::set_permissions(&card, fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(standing(&CARDS, &dir), None, "builder's cards are private");
        fs::remove_file(&card).unwrap();
        symlink("/dev/null", &card).unwrap();
        assert_eq!(standing(&CARDS, &dir), None);

        let (folder, dir) = bench();
        fs::write(folder.path().join(".lock"), "").unwrap();
        fs::write(folder.path().join("red00.log"), "").unwrap();
        assert_eq!(standing(&REHEARSAL, &dir), None);
        fs::write(folder.path().join(".gitignore"), "*\n").unwrap();
        assert_eq!(standing(&REHEARSAL, &dir), Some(Standing::Older));
        fs::write(folder.path().join(".lock"), "text").unwrap();
        assert_eq!(standing(&REHEARSAL, &dir), None);
    }
}
