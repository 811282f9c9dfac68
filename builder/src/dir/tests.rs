use std::cell::{Cell, RefCell};
use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::sync::mpsc::channel;

use super::*;

type Hook = Box<dyn FnOnce(&Path)>;

thread_local! {
    static BETWEEN: RefCell<Option<Hook>> = const { RefCell::new(None) };
    static WITHOUT_LOCKS: Cell<bool> = const { Cell::new(false) };
}

/// Runs something in this thread as on a file system without locks.
pub(crate) fn without_locks<T>(run: impl FnOnce() -> T) -> T {
    WITHOUT_LOCKS.set(true);
    let result = run();
    WITHOUT_LOCKS.set(false);
    result
}

pub(super) fn is_without_locks() -> bool {
    WITHOUT_LOCKS.get()
}

/// What happens once between the making of a folder in this thread and its opening, or before a file of a dead run is removed.
pub(crate) fn meanwhile(act: impl FnOnce(&Path) + 'static) {
    BETWEEN.with_borrow_mut(|between| *between = Some(Box::new(act)));
}

pub(crate) fn between_make_and_open(path: &Path) {
    if let Some(act) = BETWEEN.take() {
        act(path);
    }
}

fn bench() -> (tempfile::TempDir, Dir) {
    let folder = tempfile::tempdir().unwrap();
    let dir = Dir::open(folder.path()).unwrap();
    (folder, dir)
}

fn refusal<T: std::fmt::Debug>(result: io::Result<T>) -> Refusal {
    let error = result.unwrap_err();
    Refusal::of(&error).unwrap_or_else(|| panic!("{error}")).clone()
}

/// A folder that holds a folder of another user, and the name of that.
fn foreign(folder: &Path) -> (Dir, &'static str) {
    if !rustix::process::geteuid().is_root() {
        return (Dir::open(Path::new("/")).unwrap(), "usr");
    }
    let path = folder.join("theirs");
    fs::create_dir(&path).unwrap();
    fs::write(path.join("file"), "theirs").unwrap();
    for path in [path.join("file"), path] {
        chown(path, Some(4242), Some(4242)).unwrap();
    }
    (Dir::open(folder).unwrap(), "theirs")
}

#[test]
fn a_folder_replaced_by_a_link_is_not_opened() {
    let (folder, dir) = bench();
    let elsewhere = folder.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    let there = elsewhere.clone();
    meanwhile(move |made| {
        fs::remove_dir(made).unwrap();
        symlink(there, made).unwrap();
    });
    assert_eq!(refusal(dir.make_sub("new", PRIVATE_FOLDER)), Refusal::Link);
    let there = elsewhere.clone();
    meanwhile(move |made| {
        fs::remove_dir(made).unwrap();
        symlink(there, made).unwrap();
    });
    assert_eq!(refusal(Dir::make(&folder.path().join("other"), FOLDER)), Refusal::Link);
    meanwhile(|made| fs::remove_dir(made).unwrap());
    assert_eq!(refusal(dir.make_sub("gone", FOLDER)), Refusal::Replaced);
}

#[test]
fn another_users_folder_is_not_opened() {
    let (folder, dir) = bench();
    let (parent, theirs) = foreign(folder.path());
    assert!(matches!(refusal(parent.open_sub(theirs)), Refusal::Owner { .. }));
    if parent.path() == Path::new("/") {
        return;
    }
    // Root alone can play the other user, who puts a folder in the place of the new one.
    let theirs = folder.path().join(theirs);
    meanwhile(move |made| {
        fs::remove_dir(made).unwrap();
        fs::rename(theirs, made).unwrap();
    });
    let refused = refusal(dir.make_sub("new", PRIVATE_FOLDER));
    assert_eq!(refused, Refusal::Owner { found: 4242, wanted: 0 });
    assert_eq!(refused.to_string(), "it belongs to user 4242, not to root");
    let theirs = Dir::open(&folder.path().join("new")).unwrap();
    for refused in [theirs.create("file"), theirs.lock("file", || ())] {
        assert!(matches!(refusal(refused), Refusal::Owner { found: 4242, .. }));
    }
}

#[test]
fn a_folder_that_is_moved_away_keeps_what_is_made_in_it() {
    let (folder, dir) = bench();
    let (made, is_new) = dir.make_sub("new", PRIVATE_FOLDER).unwrap();
    assert!(is_new && !dir.make_sub("new", PRIVATE_FOLDER).unwrap().1);
    fs::rename(made.path(), folder.path().join("moved")).unwrap();
    symlink("/", made.path()).unwrap();
    made.create("file").unwrap().write_all(b"ours").unwrap();
    assert_eq!(fs::read(folder.path().join("moved/file")).unwrap(), b"ours");
}

#[test]
fn links_and_pipes_are_neither_read_nor_written() {
    let (folder, dir) = bench();
    let outside = tempfile::NamedTempFile::new().unwrap();
    fs::write(outside.path(), "outside").unwrap();
    symlink(outside.path(), folder.path().join("link")).unwrap();
    symlink(folder.path().join("nowhere"), folder.path().join("dangling")).unwrap();
    fs::create_dir(folder.path().join("folder")).unwrap();
    rustix::fs::mknodat(&dir, "pipe", rustix::fs::FileType::Fifo, PRIVATE_FILE, 0).unwrap();
    for (name, reason) in [
        ("link", Refusal::Link),
        ("dangling", Refusal::Link),
        ("folder", Refusal::NotAFile),
        ("pipe", Refusal::NotAFile),
    ] {
        assert_eq!(refusal(dir.create(name)), reason, "{name}");
        assert_eq!(refusal(dir.read(name)), reason, "{name}");
        assert_eq!(refusal(dir.lock(name, || ())), reason, "{name}");
    }
    assert_eq!(refusal(dir.open_sub("link")), Refusal::Link);
    assert_eq!(refusal(dir.make_sub("pipe", FOLDER)), Refusal::NotAFolder);
    assert_eq!(fs::read(outside.path()).unwrap(), b"outside");
    assert!(!folder.path().join("nowhere").exists());
    dir.remove("link").unwrap();
    assert!(outside.path().exists() && fs::symlink_metadata(folder.path().join("link")).is_err());
}

#[test]
fn a_file_with_another_name_is_not_written() {
    let (folder, dir) = bench();
    fs::write(folder.path().join("precious"), "text").unwrap();
    fs::hard_link(folder.path().join("precious"), folder.path().join("ours")).unwrap();
    assert_eq!(refusal(dir.create("ours")), Refusal::HardLink);
    assert_eq!(fs::read(folder.path().join("precious")).unwrap(), b"text");
}

#[test]
fn files_are_for_their_owner_alone() {
    let (folder, dir) = bench();
    dir.create("file").unwrap();
    fs::write(folder.path().join("lock"), "").unwrap();
    fs::set_permissions(folder.path().join("lock"), fs::Permissions::from_mode(0o644)).unwrap();
    let (_old, _new) = (dir.lock("lock", || ()).unwrap(), dir.lock("new-lock", || ()).unwrap());
    for name in ["file", "lock", "new-lock"] {
        let mode = fs::metadata(folder.path().join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{name}");
    }
}

#[test]
fn a_lock_says_that_it_waits_and_is_taken_under_its_name() {
    let (folder, dir) = bench();
    let first = dir.lock("lock", || panic!("nobody else has it")).unwrap();
    let (told, waits) = channel();
    let (path, other) = (folder.path().join("lock"), dir.clone());
    let second = std::thread::spawn(move || other.lock("lock", || told.send(()).unwrap()).unwrap());
    waits.recv().unwrap();
    fs::remove_file(&path).unwrap();
    drop(first);
    let second = second.join().unwrap().metadata().unwrap();
    assert_eq!(dir.look("lock").unwrap().unwrap().id, (second.dev(), second.ino()));
}

#[test]
fn new_folders_go_unless_something_came_into_them() {
    let (folder, _dir) = bench();
    let path = folder.path().join("a/b");
    let (_inner, made) = Dir::make(&path, FOLDER).unwrap();
    assert_eq!((made.0.len(), Dir::make(&path, FOLDER).unwrap().1.0.len()), (2, 0));
    drop(made);
    assert!(!folder.path().join("a").exists());
    let (inner, made) = Dir::make(&path, FOLDER).unwrap();
    inner.create("file").unwrap();
    drop(made);
    assert!(path.join("file").exists());
}
