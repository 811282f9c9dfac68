//! The user with id 1000: name, login shell, password, keys, sudo.
//!
//! Pi OS ships a locked `pi` and its own program to rename it, which knows where else the name is written. Whatever
//! that did or left undone (it may have been cut short), the account is looked at again and the rest is done here.

use std::path::Path;

use super::{Seed, SeedError};
use crate::host::{Owner, Program};

/// The first user's id, and that of the user's own group, on every Debian.
pub(super) const FIRST: u32 = 1000;
/// Pi OS's own renaming program (userconf-pi).
const USERCONF: &str = "/usr/lib/userconf-pi/userconf";
/// A crypt(5) field that no password matches. Unlike `!` it does not make sshd think the account locked.
const NO_PASSWORD: &str = "*";
/// The login shell of an account that has none. Debian's `bash` is essential: every image has it.
const SHELL: &str = "/bin/bash";
/// The login shells of a machine, one a line (shells(5)).
const SHELLS: &str = "/etc/shells";

/// A line of `/etc/passwd`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Account {
    /// Login name.
    pub(super) name: String,
    /// User and group id.
    pub(super) owner: Owner,
    /// Home folder.
    home: String,
    /// Login shell. An empty field stands for `/bin/sh` (passwd(5)).
    shell: String,
}

/// The first account of `/etc/passwd` that fits.
pub(super) fn account(passwd: &str, fits: impl Fn(&Account) -> bool) -> Option<Account> {
    let parse = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?.to_owned();
        let user = fields.nth(1)?.parse().ok()?;
        let group = fields.next()?.parse().ok()?;
        let home = fields.nth(1)?.to_owned();
        let shell = fields.next().unwrap_or_default().to_owned();
        Some(Account { name, owner: Owner { user, group }, home, shell })
    };
    passwd.lines().filter_map(parse).find(fits)
}

/// The name of a group.
fn group_name(groups: &str, id: u32) -> Option<&str> {
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(id)).then_some(name)
    })
}

/// Whether a user is listed in a group; `None` when there is no such group.
fn is_member(groups: &str, group: &str, user: &str) -> Option<bool> {
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == group)
            .then(|| fields.nth(2).is_some_and(|list| list.split(',').any(|name| name == user)))
    })
}

/// Whether an account with this shell can be used over SSH and on the console. `shells` is the text of [`SHELLS`]; without it
/// only the programs that refuse every login are known.
fn is_login_shell(shell: &str, shells: &str) -> bool {
    let refuses = shell.is_empty() || shell.ends_with("/nologin") || shell.ends_with("/false");
    !refuses && (shells.is_empty() || shells.lines().any(|line| line.trim() == shell))
}

/// `authorized_keys` with our keys at the end, each once, and what was there before kept.
fn merge_keys(present: &str, ours: &[String]) -> String {
    let mut lines: Vec<&str> = present.lines().collect();
    for key in ours {
        if !lines.contains(&key.as_str()) {
            lines.push(key);
        }
    }
    lines.iter().flat_map(|line| [line, "\n"]).collect()
}

/// Runs a program of the root file system.
fn run(seed: &Seed<'_>, name: &str, args: &[&str]) -> Result<(), SeedError> {
    let args = args.iter().map(|&arg| arg.to_owned()).collect();
    seed.root.run(&Program { args, ..Program::new(name, []) })?;
    Ok(())
}

fn first_user(seed: &Seed<'_>) -> Result<Option<Account>, SeedError> {
    Ok(account(&seed.read_text("/etc/passwd")?, |account| account.owner.user == FIRST))
}

/// The wanted account, when it is there under its name.
pub(super) fn find(seed: &Seed<'_>) -> Result<Account, SeedError> {
    let wanted = seed.card.user.name.as_str();
    let found = first_user(seed)?.filter(|account| account.name == wanted);
    found.ok_or_else(|| SeedError::NoUser(wanted.to_owned()))
}

/// Power lost here: whatever is already renamed stays so, and a second run does what is left.
pub(super) fn settle_account(seed: &Seed<'_>) -> Result<(), SeedError> {
    let wanted = seed.card.user.name.as_str();
    match first_user(seed)? {
        None => {
            let id = FIRST.to_string();
            run(seed, "useradd", &["--create-home", "--user-group", "--uid", &id, "--shell", SHELL, wanted])?;
        }
        Some(account) if account.name != wanted => {
            let renamed = if seed.has(USERCONF)? { run_userconf(seed, wanted) } else { Ok(()) };
            if find(seed).is_err() {
                let again = run(seed, "usermod", &["--login", wanted, &account.name]);
                // When both fail, the first says more.
                again.map_err(|error| renamed.err().unwrap_or(error))?;
            }
        }
        Some(_) => {}
    }
    let account = find(seed)?;
    let home = format!("/home/{wanted}");
    if account.home != home {
        run(seed, "usermod", &["--move-home", "--home", &home, wanted])?;
    }
    let groups = seed.read_text("/etc/group")?;
    if let Some(group) = group_name(&groups, FIRST).filter(|&group| group != wanted) {
        run(seed, "groupmod", &["--new-name", wanted, group])?;
    }
    Ok(())
}

/// Has Pi OS rename its user. Never with the hash, which its tools pass on as an argument: `chpasswd` reads it from its input.
///
/// userconf also enables, disables, reloads and starts units, and each of its four `systemctl` calls would make PID 1 read every
/// unit again: seconds on a Pi. With `SYSTEMD_OFFLINE` systemctl only edits the links (systemd's `docs/ENVIRONMENT.md`); the one
/// reload after the seed stage covers them all.
fn run_userconf(seed: &Seed<'_>, wanted: &str) -> Result<(), SeedError> {
    let mut userconf = Program::new(USERCONF, [wanted]);
    userconf.env.push(("SYSTEMD_OFFLINE".to_owned(), "1".to_owned()));
    seed.root.run(&userconf)?;
    Ok(())
}

/// Gives the first user a login shell, whatever its name, unless it has one already. Images since April 2026 ship `pi` with
/// `nologin` (pi-gen 4b9cd15c), and only Pi OS's own user set-up, which is masked later, would change that.
///
/// Power lost here: done again.
pub(super) fn give_shell(seed: &Seed<'_>) -> Result<(), SeedError> {
    // Without an account the part that makes it has failed and said so.
    let Some(account) = first_user(seed)? else { return Ok(()) };
    if is_login_shell(&account.shell, &seed.read_text(SHELLS)?) {
        return Ok(());
    }
    run(seed, "usermod", &["--shell", SHELL, &account.name])
}

/// Power lost here: set again by a second run, as long as the secrets are still on the card.
pub(super) fn set_password(seed: &Seed<'_>) -> Result<(), SeedError> {
    let Some(hash) = seed.password_hash()? else { return Ok(()) };
    let hash = hash.as_ref().map_or(NO_PASSWORD, |hash| hash.expose());
    if hash.is_empty() || hash.contains([':', '\n']) {
        return Err(SeedError::Unfit { what: "password hash", value: "(secret)".to_owned() });
    }
    let account = find(seed)?;
    let mut chpasswd = Program::new("chpasswd", ["--encrypted"]);
    chpasswd.stdin = format!("{}:{hash}\n", account.name).into_bytes();
    seed.root.run(&chpasswd)?;
    Ok(())
}

/// Power lost here: the file is old or new.
pub(super) fn authorize_keys(seed: &Seed<'_>) -> Result<(), SeedError> {
    let account = find(seed)?;
    let (home, owner) = (Path::new(&account.home), Some(account.owner));
    if seed.root.list(home)?.is_empty() {
        seed.root.make_folder(home, 0o700, owner)?;
    }
    seed.root.make_folder(&home.join(".ssh"), 0o700, owner)?;
    let path = home.join(".ssh/authorized_keys");
    let present = seed.root.read(&path)?.unwrap_or_default();
    let keys = merge_keys(&String::from_utf8_lossy(&present), &seed.card.user.authorized_keys);
    Ok(seed.root.write(&path, keys.as_bytes(), 0o600, owner)?)
}

/// Lets the user become root without a password: newer images do not, and `builder` needs it for nodes that run.
/// Power lost here: done again.
pub(super) fn allow_sudo(seed: &Seed<'_>) -> Result<(), SeedError> {
    let user = find(seed)?.name;
    if !seed.has("/etc/sudoers")? {
        return Err(SeedError::NotInImage("sudo".to_owned()));
    }
    seed.root.make_folder(Path::new("/etc/sudoers.d"), 0o755, None)?;
    seed.write_text(
        &format!("/etc/sudoers.d/010_{user}"),
        &format!("{user} ALL=(ALL) NOPASSWD: ALL\n"),
        0o440,
    )?;
    if is_member(&seed.read_text("/etc/group")?, "sudo", &user) == Some(false) {
        seed.root.run(&Program::new("usermod", ["--append", "--groups", "sudo", &user]))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/bash\nbroken line\npi:x:1000:1000:,,,:/home/pi:/bin/bash\n";

    #[test]
    fn finds_an_account_past_lines_it_does_not_understand() {
        let pi = account(PASSWD, |account| account.owner.user == 1000).unwrap();
        assert_eq!((pi.name.as_str(), pi.home.as_str(), pi.shell.as_str()), ("pi", "/home/pi", "/bin/bash"));
        assert_eq!(account(PASSWD, |account| account.name == "red"), None);
    }

    #[test]
    fn replaces_shells_that_refuse_logins_and_keeps_the_owners() {
        let shells = "# /etc/shells: valid login shells\n/bin/sh\n/bin/bash\n/usr/bin/fish\n";
        for usable in ["/bin/bash", "/bin/sh", "/usr/bin/fish"] {
            assert!(is_login_shell(usable, shells), "{usable}");
        }
        for refusing in ["", "/usr/sbin/nologin", "/sbin/nologin", "/bin/false", "/usr/bin/gone", "/bin/bas"]
        {
            assert!(!is_login_shell(refusing, shells), "{refusing}");
        }
        // Even if somebody lists it.
        assert!(!is_login_shell("/usr/sbin/nologin", "/usr/sbin/nologin\n"));
        assert!(is_login_shell("/opt/shell", "") && !is_login_shell("/bin/false", ""));
    }

    #[test]
    fn reads_groups() {
        let groups = "sudo:x:27:pi,red\npi:x:1000:\n";
        assert_eq!(group_name(groups, 1000), Some("pi"));
        assert_eq!(is_member(groups, "sudo", "red"), Some(true));
        assert_eq!(is_member(groups, "sudo", "re"), Some(false));
        assert_eq!(is_member(groups, "docker", "red"), None);
    }

    #[test]
    fn keeps_keys_that_are_there_and_adds_ours_once() {
        let ours = ["ssh-ed25519 AAAA one".to_owned(), "ssh-ed25519 BBBB two".to_owned()];
        let merged = merge_keys("ssh-rsa CCCC old\nssh-ed25519 AAAA one", &ours);
        assert_eq!(merged, "ssh-rsa CCCC old\nssh-ed25519 AAAA one\nssh-ed25519 BBBB two\n");
        assert_eq!(merge_keys(&merged, &ours), merged);
    }
}
