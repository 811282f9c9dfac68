//! Whose home folder is meant. Writing cards takes root, and `sudo` gives root's home to what it starts; but the keys, the
//! images and the cache are those of whoever typed it, as they were for `builder plan` a minute before.

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use directories::{BaseDirs, ProjectDirs};
use nix::unistd::{Uid, User};

/// Caches in a home folder, as `directories` has it on each system.
const CACHES: &str = if cfg!(target_os = "macos") { "Library/Caches" } else { ".cache" };
/// Settings in a home folder, likewise.
const CONFIGS: &str = if cfg!(target_os = "macos") { "Library/Application Support" } else { ".config" };

/// The operator's home folder: under `sudo` that of who typed it, by the user database, else `HOME`.
pub(crate) fn home() -> Option<PathBuf> {
    behind_sudo().or_else(|| Some(BaseDirs::new()?.home_dir().to_owned()))
}

/// The folder for our cache in the operator's home, or in `XDG_CACHE_HOME` where the system has that.
pub(crate) fn cache() -> Option<PathBuf> {
    match behind_sudo() {
        Some(home) => Some(ours_in(&home, CACHES, env::var_os("XDG_CACHE_HOME"))),
        None => Some(ProjectDirs::from("", "", "builder")?.cache_dir().to_owned()),
    }
}

/// The folder for our settings in the operator's home, or in `XDG_CONFIG_HOME` where the system has that.
pub(crate) fn config() -> Option<PathBuf> {
    match behind_sudo() {
        Some(home) => Some(ours_in(&home, CONFIGS, env::var_os("XDG_CONFIG_HOME"))),
        None => Some(ProjectDirs::from("", "", "builder")?.config_dir().to_owned()),
    }
}

/// The number of the operator: under `sudo` the invoking user's.
pub(crate) fn uid() -> u32 {
    let own = rustix::process::geteuid();
    uid_behind_sudo(own.is_root(), env::var_os("SUDO_UID").as_deref()).unwrap_or(own.as_raw())
}

fn behind_sudo() -> Option<PathBuf> {
    let is_root = rustix::process::geteuid().is_root();
    home_behind_sudo(is_root, env::var_os("SUDO_UID").as_deref(), |uid| {
        // Without an answer of the user database it is as if nobody had asked.
        Some(User::from_uid(Uid::from_raw(uid)).ok()??.dir)
    })
}

/// The home folder of the user whose number `sudo` left in `SUDO_UID` (sudo(8), "Environment").
fn home_behind_sudo(
    is_root: bool,
    sudo_uid: Option<&OsStr>,
    home_of: impl FnOnce(u32) -> Option<PathBuf>,
) -> Option<PathBuf> {
    home_of(uid_behind_sudo(is_root, sudo_uid)?).filter(|home| home.is_absolute())
}

fn uid_behind_sudo(is_root: bool, sudo_uid: Option<&OsStr>) -> Option<u32> {
    // Whoever is not root cannot have another's files: what stands there is left from a shell further up.
    sudo_uid.filter(|_| is_root)?.to_str()?.parse::<u32>().ok().filter(|uid| *uid != 0)
}

/// Our folder in `usual`, a folder in that home, or in the one that the environment names.
fn ours_in(home: &Path, usual: &str, xdg: Option<OsString>) -> PathBuf {
    let xdg = xdg.map(PathBuf::from).filter(|folder| folder.is_absolute() && !cfg!(target_os = "macos"));
    xdg.unwrap_or_else(|| home.join(usual)).join("builder")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A user database with one user.
    fn ada(uid: u32) -> Option<PathBuf> {
        (uid == 1234).then(|| "/home/ada".into())
    }

    fn found(is_root: bool, sudo_uid: Option<&str>) -> Option<PathBuf> {
        home_behind_sudo(is_root, sudo_uid.map(OsStr::new), ada)
    }

    #[test]
    fn under_sudo_the_home_is_that_of_who_typed_it() {
        assert_eq!(found(true, Some("1234")), Some("/home/ada".into()));
    }

    #[test]
    fn everywhere_else_nobody_is_looked_up() {
        let nobody = |is_root, sudo_uid: Option<&str>| {
            home_behind_sudo(is_root, sudo_uid.map(OsStr::new), |uid| panic!("{uid} was looked up"))
        };
        assert_eq!(nobody(true, None), None, "root's own shell");
        assert_eq!(nobody(true, Some("0")), None, "root's sudo");
        assert_eq!(nobody(false, Some("1234")), None, "sudo -u somebody");
        for wrong in ["", "-1", "ada", "4294967296"] {
            assert_eq!(nobody(true, Some(wrong)), None, "{wrong}");
        }
    }

    #[test]
    fn a_user_the_database_does_not_know_or_without_a_home_has_none() {
        assert_eq!(found(true, Some("4321")), None);
        let homeless = home_behind_sudo(true, Some(OsStr::new("1234")), |_| Some(PathBuf::new()));
        assert_eq!(homeless, None);
    }

    #[test]
    fn the_user_database_of_this_machine_answers() {
        assert_eq!(User::from_uid(Uid::from_raw(0)).unwrap().unwrap().name, "root");
    }

    #[test]
    fn the_cache_is_in_that_home_unless_another_folder_is_named() {
        let cache = |xdg: Option<&str>| ours_in(Path::new("/home/ada"), CACHES, xdg.map(OsString::from));
        let usual = Path::new("/home/ada").join(CACHES).join("builder");
        assert_eq!(cache(None), usual);
        assert_eq!(cache(Some("caches")), usual, "a relative one is to be ignored");
        if cfg!(target_os = "linux") {
            assert_eq!(cache(Some("/srv/caches")), Path::new("/srv/caches/builder"));
        }
    }
}
