use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::sync::mpsc::channel;

use tempfile::TempDir;

use super::*;
use crate::dir::tests::meanwhile;
use crate::error::Failure;

fn bench() -> (TempDir, PathBuf) {
    let outside = tempfile::tempdir().unwrap();
    let path = outside.path().join("red.secrets");
    (outside, path)
}

fn create(path: &Path) -> Result<Folder, PkiError> {
    let lock = lock(path, Missing::Make)?;
    Folder::create(&lock, path.to_owned(), &[NewFile::new("a", "1"), NewFile::new("nodes/b.pem", "1")])
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn overwrites_a_file_only_to_replace_it() {
    let (_outside, path) = bench();
    let folder = create(&path).unwrap();
    assert!(folder.write_all(&[NewFile::new("a", "2")]).is_err());
    assert_eq!(folder.read("a").unwrap().unwrap(), "1");
    folder.write_all(&[NewFile { replaces: true, ..NewFile::new("a", "3") }]).unwrap();
    assert_eq!(folder.read("a").unwrap().unwrap(), "3");
}

#[test]
fn everything_is_private_from_its_creation() {
    let (outside, path) = bench();
    let folder = create(&path).unwrap();
    let mode = |name: &str| fs::metadata(folder.path(name)).unwrap().permissions().mode() & 0o777;
    let modes = ["", NODES, "a", "nodes/b.pem", LOCK].map(mode);
    assert_eq!(modes, [0o700, 0o700, 0o600, 0o600, 0o600]);
    assert_eq!(names(outside.path()), ["red.secrets"], "nothing is beside it");
}

#[test]
fn what_a_killed_first_run_left_is_removed() {
    let (outside, path) = bench();
    let partial = outside.path().join("red.secrets.partial");
    for folder in [partial.clone(), partial.join(NODES)] {
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
    }
    for name in ["ca-key.pem", ".new-1a2b3c", "nodes/red00-ssh-host-key"] {
        fs::write(partial.join(name), "half").unwrap();
    }
    let folder = create(&path).unwrap();
    assert!(!partial.exists());
    assert_eq!(names(&path), [LOCK, "a", NODES]);
    assert!(folder.read("ca-key.pem").unwrap().is_none());
}

#[test]
fn a_folder_in_the_making_with_other_files_is_left_alone() {
    let (outside, path) = bench();
    let partial = outside.path().join("red.secrets.partial");
    fs::create_dir(&partial).unwrap();
    fs::set_permissions(&partial, fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(partial.join("ca-key.pem"), "half").unwrap();
    fs::write(partial.join("letter.txt"), "text").unwrap();
    let text = Failure::from(create(&path).err().unwrap()).render();
    assert!(text.contains("letter.txt") && text.contains("hint: move the folder away: mv "), "{text}");
    assert_eq!(names(&partial), [LOCK, "ca-key.pem", "letter.txt"]);
    assert!(!path.exists());
}

#[test]
fn the_hint_names_the_exposed_folder_in_the_making() {
    let (outside, path) = bench();
    let partial = outside.path().join("red.secrets.partial");
    fs::create_dir(&partial).unwrap();
    fs::set_permissions(&partial, fs::Permissions::from_mode(0o755)).unwrap();
    let text = Failure::from(create(&path).err().unwrap()).render();
    assert!(text.contains(&format!("hint: chmod -R go-rwx {}\n", partial.display())), "{text}");
}

#[test]
fn a_link_in_the_place_of_a_new_folder_is_refused() {
    let (outside, path) = bench();
    let elsewhere = outside.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    let there = elsewhere.clone();
    meanwhile(move |made| {
        fs::remove_dir(made).unwrap();
        symlink(there, made).unwrap();
    });
    assert!(matches!(create(&path), Err(PkiError::Link { .. })));
    assert!(names(&elsewhere).is_empty() && !path.exists());
}

#[test]
fn another_users_folder_is_refused() {
    if !rustix::process::geteuid().is_root() {
        // Only root can make one; `another_users_folder_is_not_opened` has the check itself.
        return;
    }
    let (outside, path) = bench();
    meanwhile(|made| chown(made, Some(4242), Some(4242)).unwrap());
    assert!(matches!(create(&path), Err(PkiError::OtherOwner { .. })));
    fs::remove_dir(outside.path().join("red.secrets.partial")).unwrap();

    let folder = create(&path).unwrap();
    chown(path.join("a"), Some(4242), Some(4242)).unwrap();
    assert!(matches!(folder.read("a"), Err(PkiError::OtherOwner { .. })));
    chown(&path, Some(4242), Some(4242)).unwrap();
    let text = Failure::from(Folder::open(path.clone()).err().unwrap()).render();
    assert!(text.contains("red.secrets belongs to user 4242, not to root\n"), "{text}");
    assert!(text.contains(": sudo -u '#4242' builder ...\n") && !text.contains("chown"), "{text}");
}

#[test]
fn a_link_among_the_files_is_refused() {
    let (outside, path) = bench();
    let folder = create(&path).unwrap();
    fs::write(outside.path().join("outside"), "text").unwrap();
    symlink(outside.path().join("outside"), path.join("link")).unwrap();
    assert!(matches!(folder.read("link"), Err(PkiError::Link { .. })));
    symlink(outside.path(), path.join(REVOKED)).unwrap();
    assert!(matches!(folder.names(REVOKED), Err(PkiError::Link { .. })));
    let moved = [("b.pem".to_owned(), "b.1.pem".to_owned())];
    assert!(matches!(folder.revoke(&moved), Err(PkiError::Link { .. })));
    assert!(path.join("nodes/b.pem").exists());
}

#[test]
fn the_second_of_two_first_runs_finds_the_folder_of_the_first() {
    let (outside, path) = bench();
    let first = lock(&path, Missing::Make).unwrap();
    let (told, waits) = channel();
    let second = {
        let path = path.clone();
        std::thread::spawn(move || {
            told.send(()).unwrap();
            let second = lock(&path, Missing::Make).unwrap();
            (second.partial.is_none(), Folder::open(path).unwrap().is_some())
        })
    };
    waits.recv().unwrap();
    Folder::create(&first, path.clone(), &[]).unwrap();
    drop(first);
    assert_eq!(second.join().unwrap(), (true, true));
    assert_eq!(names(outside.path()), ["red.secrets"]);
}

#[test]
fn a_run_that_fails_before_it_writes_leaves_nothing() {
    let (outside, path) = bench();
    drop(lock(&path, Missing::Make).unwrap());
    assert!(matches!(lock(&path, Missing::Refuse), Err(PkiError::Absent { .. })));
    assert!(names(outside.path()).is_empty());
}
