//! The product of an earlier commit, for benches that compare with it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::agents;
use crate::setup::{self, Checkout};

/// Builds `builder` and the agents for `architectures` as they were at `revision`, in a worktree that is removed
/// afterwards, and returns the path of `builder`. What was built stays in the cache, by commit.
///
/// # Errors
/// When git does not know `revision`, or the commit does not build.
pub(crate) fn product(revision: &str, architectures: &[&str]) -> Result<PathBuf> {
    let commit = commit(revision)?;
    let folder = setup::cache()?.join("baseline").join(&commit);
    let builder = folder.join("target/release/builder");
    let whole = folder.join("whole");
    if whole.exists() {
        return Ok(builder);
    }
    setup::say(&format!("building the product of {revision}"));
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let worktree = Worktree::add(&commit, &folder.join("source"))?;
    let checkout = Checkout { source: worktree.0.clone(), target: folder.join("target") };
    let built = agents::product_of(&checkout, architectures)?;
    std::fs::write(&whole, "").with_context(|| format!("cannot write {}", whole.display()))?;
    Ok(built)
}

/// The full name of a commit.
fn commit(revision: &str) -> Result<String> {
    let output = git(["rev-parse", "--verify", "--quiet", &format!("{revision}^{{commit}}")])
        .output()
        .context("cannot start git")?;
    ensure!(output.status.success(), "git knows no commit {revision} here. Type: git fetch --unshallow");
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// A worktree beside this one. Removed when dropped.
struct Worktree(PathBuf);

impl Worktree {
    fn add(commit: &str, folder: &Path) -> Result<Self> {
        // An interrupted run may have left one.
        Self::remove(folder);
        setup::run(git(["worktree", "add", "--quiet", "--force", "--detach"]).arg(folder).arg(commit))?;
        Ok(Self(folder.to_owned()))
    }

    fn remove(folder: &Path) {
        if folder.exists() {
            let removed = git(["worktree", "remove", "--force"]).arg(folder).status();
            if !removed.is_ok_and(|status| status.success()) {
                setup::say(&format!("cannot remove the worktree {}", folder.display()));
            }
        }
    }
}

impl Drop for Worktree {
    fn drop(&mut self) {
        Self::remove(&self.0);
    }
}

fn git<'a>(args: impl IntoIterator<Item = &'a str>) -> Command {
    let mut git = Command::new("git");
    git.current_dir(setup::workspace()).args(args);
    git
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_revision_is_an_error_with_the_command_to_type() {
        let error = commit("no-such-revision").unwrap_err().to_string();
        assert_eq!(error, "git knows no commit no-such-revision here. Type: git fetch --unshallow");
        assert_eq!(commit("HEAD").unwrap().len(), 40);
    }
}
