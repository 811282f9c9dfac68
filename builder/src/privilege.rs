//! Whose rights builder uses. Writing cards takes root, but only to open the device; files are the invoking user's.
//!
//! Under `sudo`, [`drop_to_invoking_user`] gives up root's rights before anything else happens and before there are threads.
//! Only the saved user id stays root, and [`as_root`] takes those rights back for one thread that ends with its work.
//! Programs that builder starts do not inherit the saved user id (execve(2)).

use std::env;
use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::sync::OnceLock;

use nix::unistd::{self, Gid, Uid, User};
use thiserror::Error;

use crate::dir::Refusal;
use crate::error::{Command, Failure, Hint, Kind, again, hint};

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
        Self::new(Kind::Failed, error).hint(hint!["to do everything as root: ", as_roots_own(again(["..."]))])
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

/// Adds what to type where files belong to another user than the one that builder acts as.
pub(crate) fn advise(failure: Failure) -> Failure {
    let causes = failure.causes().filter_map(|cause| cause.downcast_ref::<io::Error>());
    let advice = causes.filter_map(|error| match Refusal::of(error) {
        Some(Refusal::Owner { found, .. }) => to_act_as(*found),
        _ if error.kind() == io::ErrorKind::PermissionDenied => to_act_as(0),
        _ => None,
    });
    match advice.collect::<Vec<_>>().pop() {
        Some(advice) => failure.hint_once(advice),
        None => failure,
    }
}

/// How to act as the owner of a file, where that is not what builder does; `None` where a change of the owner helps.
pub(crate) fn to_act_as(owner: u32) -> Option<Hint> {
    let me = unistd::geteuid();
    to_act_as_from(me, invoking_user().is_some(), Uid::from_raw(owner), again(["..."]))
}

fn to_act_as_from(me: Uid, is_sudo: bool, owner: Uid, again: Command) -> Option<Hint> {
    let name = |user: Uid| User::from_uid(user).ok().flatten().map(|user| user.name);
    match (me.is_root(), owner.is_root()) {
        // In a shell of root's (su, doas, a root login), `chown` would make the user's files root's.
        (true, false) => {
            let named = name(owner).unwrap_or_else(|| format!("#{owner}"));
            let text = format!("builder acts as root; to act as the owner ({named}): ");
            let mut starter = vec!["sudo".to_owned(), "-u".to_owned(), named];
            if again.has_word("flash") {
                // The cards are opened as root, everything else is the user's.
                starter.push("sudo".to_owned());
            }
            Some(hint![text, again.started_by(starter)])
        }
        (false, true) if is_sudo => {
            let me = name(me).unwrap_or_else(|| me.to_string());
            let text = format!("under sudo, builder acts as {me}; to act as root: ");
            Some(hint![text, as_roots_own(again)])
        }
        _ => None,
    }
}

/// Starts a command as root that does not give up root's rights.
fn as_roots_own(command: Command) -> Command {
    command.started_by(["sudo", "env", "-u", "SUDO_UID"])
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
    fn advises_to_act_as_the_owner_of_a_file() {
        let advice = |me: u32, is_sudo, owner: u32, words: &[&str]| {
            let again = crate::error::builder(words.iter().copied());
            let hint = to_act_as_from(Uid::from_raw(me), is_sudo, Uid::from_raw(owner), again);
            hint.map(|hint| hint.show(None).text)
        };
        let text = advice(0, false, 4242, &["status"]).unwrap();
        assert!(text.ends_with(": sudo -u '#4242' builder status"), "{text}");
        let text = advice(0, false, 4242, &["flash", "red00"]).unwrap();
        assert!(text.ends_with(": sudo -u '#4242' sudo builder flash red00"), "{text}");
        let text = advice(4242, true, 0, &["status"]).unwrap();
        assert_eq!(
            text,
            "under sudo, builder acts as 4242; to act as root: sudo env -u SUDO_UID builder status"
        );
        for (me, is_sudo, owner) in [(4242, false, 0), (4242, true, 4243), (0, false, 0)] {
            assert_eq!(advice(me, is_sudo, owner, &["status"]), None, "{me} {is_sudo} {owner}");
        }
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
