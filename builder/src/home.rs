//! Whose home folder is meant. `sudo` gives root's home to what it starts; but the keys, the images and the cache are those of
//! the invoking user, as they were for `builder plan` a minute before.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use directories::{BaseDirs, ProjectDirs};
use nix::unistd::User;

use crate::privilege;

/// Caches in a home folder, as `directories` has it on each system.
const CACHES: &str = if cfg!(target_os = "macos") { "Library/Caches" } else { ".cache" };
/// Settings in a home folder, likewise.
const CONFIGS: &str = if cfg!(target_os = "macos") { "Library/Application Support" } else { ".config" };

/// The operator's home folder: under `sudo` that of the invoking user, by the user database, else `HOME`.
pub(crate) fn home() -> Option<PathBuf> {
    match privilege::invoking_user() {
        Some(user) => home_of(User::from_uid(user).ok().flatten()),
        None => Some(BaseDirs::new()?.home_dir().to_owned()),
    }
}

/// The folder for our cache in the operator's home, or in `XDG_CACHE_HOME` where the system has that.
pub(crate) fn cache() -> Option<PathBuf> {
    match privilege::invoking_user() {
        Some(_) => Some(ours_in(&home()?, CACHES, env::var_os("XDG_CACHE_HOME"))),
        None => Some(ProjectDirs::from("", "", "builder")?.cache_dir().to_owned()),
    }
}

/// The folder for our settings in the operator's home, or in `XDG_CONFIG_HOME` where the system has that.
pub(crate) fn config() -> Option<PathBuf> {
    match privilege::invoking_user() {
        Some(_) => Some(ours_in(&home()?, CONFIGS, env::var_os("XDG_CONFIG_HOME"))),
        None => Some(ProjectDirs::from("", "", "builder")?.config_dir().to_owned()),
    }
}

fn home_of(user: Option<User>) -> Option<PathBuf> {
    Some(user?.dir).filter(|home| home.is_absolute())
}

/// Our folder in `usual`, a folder in that home, or in the one that the environment names.
fn ours_in(home: &Path, usual: &str, xdg: Option<OsString>) -> PathBuf {
    let xdg = xdg.map(PathBuf::from).filter(|folder| folder.is_absolute() && !cfg!(target_os = "macos"));
    xdg.unwrap_or_else(|| home.join(usual)).join("builder")
}

#[cfg(test)]
mod tests {
    use nix::unistd::Uid;

    use super::*;

    #[test]
    fn the_home_is_the_one_in_the_user_database() {
        let root = User::from_uid(Uid::from_raw(0)).unwrap().unwrap();
        assert_eq!(home_of(Some(User { dir: "/home/ada".into(), ..root.clone() })), Some("/home/ada".into()));
        assert_eq!(home_of(Some(User { dir: PathBuf::new(), ..root })), None);
        assert_eq!(home_of(None), None);
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
