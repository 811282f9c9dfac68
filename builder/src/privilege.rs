//! Whose rights builder uses. Writing cards takes root, but only to open the device; files are the invoking user's.
//!
//! Under `sudo`, [`drop_to_invoking_user`] gives up root's rights before anything else happens and before there are threads.
//! Only the saved user id stays root, and [`as_root`] takes those rights back for one thread that ends with its work.
//! Programs that builder starts do not inherit the saved user id (execve(2)).

use std::env;
use std::ffi::{CString, OsStr, OsString};
use std::sync::OnceLock;

use nix::unistd::{self, Gid, Uid, User};
use thiserror::Error;

use crate::error::{Failure, Kind};

/// The invoking user, if root's rights were given up.
static INVOKING_USER: OnceLock<Uid> = OnceLock::new();

/// Why root's rights cannot be given up.
#[derive(Debug, Error)]
pub(crate) enum PrivilegeError {
    #[error("sudo did not tell your group (SUDO_GID), and there is no user {0} in the user database")]
    NoGroup(Uid),
    #[error("cannot act as the invoking user ({user})")]
    Drop { user: Uid, source: nix::Error },
}

impl From<PrivilegeError> for Failure {
    fn from(error: PrivilegeError) -> Self {
        Self::new(Kind::Failed, error).hint("to do everything as root: sudo env --unset=SUDO_UID builder ...")
    }
}

/// Under `sudo`, acts as the user who ran it from now on. Everywhere else nothing changes.
///
/// To be called while there is one thread.
///
/// # Errors
/// When the system does not allow it. Then nothing should be done as root instead.
pub(crate) fn drop_to_invoking_user() -> Result<(), PrivilegeError> {
    let is_root = unistd::getuid().is_root() && unistd::geteuid().is_root();
    let Some(user) = invoking_user_of(is_root, env::var_os("SUDO_UID").as_deref()) else { return Ok(()) };
    let known = User::from_uid(user).ok().flatten();
    let group = known.as_ref().map(|known| known.gid).or_else(|| group_of(env::var_os("SUDO_GID")));
    let group = group.ok_or(PrivilegeError::NoGroup(user))?;
    become_user(user, group, known.map(|known| known.name))
        .map_err(|source| PrivilegeError::Drop { user, source })?;
    let _set_before = INVOKING_USER.set(user);
    Ok(())
}

/// The user who ran `sudo`, if [`drop_to_invoking_user`] acts as that one.
pub(crate) fn invoking_user() -> Option<Uid> {
    INVOKING_USER.get().copied()
}

/// Whether devices can be opened with root's rights.
pub(crate) fn has_root() -> bool {
    invoking_user().is_some() || unistd::geteuid().is_root()
}

/// The user whose number `sudo` left in `SUDO_UID` (sudo(8), "Environment").
fn invoking_user_of(is_root: bool, sudo_uid: Option<&OsStr>) -> Option<Uid> {
    // Without root's rights the variable is left from a shell further up, and there is nothing to give up.
    let uid = sudo_uid.filter(|_| is_root)?.to_str()?.parse::<u32>().ok()?;
    // The largest number stands for "unchanged" in the system calls.
    (uid != 0 && uid != u32::MAX).then(|| Uid::from_raw(uid))
}

fn group_of(sudo_gid: Option<OsString>) -> Option<Gid> {
    let gid = sudo_gid?.to_str()?.parse::<u32>().ok()?;
    (gid != 0 && gid != u32::MAX).then(|| Gid::from_raw(gid))
}

/// Groups first: changing them takes root.
#[cfg(target_os = "linux")]
fn become_user(user: Uid, group: Gid, name: Option<String>) -> nix::Result<()> {
    match name.and_then(|name| CString::new(name).ok()) {
        Some(name) => unistd::initgroups(&name, group)?,
        None => unistd::setgroups(&[group])?,
    }
    unistd::setresgid(group, group, group)?;
    // The real user id is the user's, too: a shell that finds another one than the effective takes that back (bash(1), "-p").
    unistd::setresuid(user, user, Uid::from_raw(0))
}

/// Without a way back: devices are written on Linux only.
#[cfg(not(target_os = "linux"))]
fn become_user(user: Uid, group: Gid, _name: Option<String>) -> nix::Result<()> {
    unistd::setgid(group)?;
    unistd::setuid(user)
}

/// Runs `work` with root's rights where `sudo` gave them. Only for opening devices and for programs that do that.
#[cfg(target_os = "linux")]
pub(crate) fn as_root<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    use rustix::process::Uid;
    if invoking_user().is_none() {
        return work();
    }
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            // The bare system call changes this thread alone, and the thread ends here: nothing has to be given up again.
            // If it fails, so does the work, with a message about the device.
            let _refused = rustix::thread::set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT);
            work()
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Runs `work`.
#[cfg(not(target_os = "linux"))]
pub(crate) fn as_root<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    work()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(is_root: bool, sudo_uid: Option<&str>) -> Option<u32> {
        invoking_user_of(is_root, sudo_uid.map(OsStr::new)).map(Uid::as_raw)
    }

    #[test]
    fn finds_the_user_who_ran_sudo() {
        assert_eq!(user(true, Some("1234")), Some(1234));
        assert_eq!(group_of(Some("1235".into())).map(Gid::as_raw), Some(1235));
    }

    #[test]
    fn stays_as_it_is_without_sudo() {
        assert_eq!(user(true, None), None, "root's own shell");
        assert_eq!(user(true, Some("0")), None, "root's sudo");
        assert_eq!(user(false, Some("1234")), None, "sudo -u somebody");
        for wrong in ["", "-1", "ada", "4294967295", "4294967296"] {
            assert_eq!(user(true, Some(wrong)), None, "{wrong}");
            assert_eq!(group_of(Some(wrong.into())), None, "{wrong}");
        }
    }
}
