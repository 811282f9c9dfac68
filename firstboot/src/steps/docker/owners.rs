//! Packages that the owner of the machine had before us. None of them is removed for Docker, and none purged with it.

use std::collections::BTreeSet;

use cluster::card::DockerSource;
use cluster::wire::{Cause, ProblemCode};

use super::apt;
use super::install::failed;
use crate::host::Host;
use crate::steps::StepError;

/// Docker's own packages and Debian's, and what comes with them. Not `iptables`: others use it, too.
pub(crate) const DOCKER: [&str; 7] =
    ["docker-ce", "docker-ce-cli", "containerd.io", "docker.io", "docker-cli", "containerd", "runc"];
/// Those of them with the engine itself.
pub(crate) const ENGINES: [&str; 2] = ["docker-ce", "docker.io"];
/// Debian's packages in whose place Docker's containerd.io comes (its fields Conflicts and Replaces, 1.2 to 2.1).
const DEBIANS: [&str; 2] = ["containerd", "runc"];
/// The same the other way round.
const DOCKERS: [&str; 1] = ["containerd.io"];

/// Which of [`DOCKER`] are installed.
pub(crate) fn installed(host: &dyn Host) -> BTreeSet<String> {
    apt::installed(host, &DOCKER)
}

/// Looks for another packager's containerd, before anything is changed for Docker's.
///
/// # Errors
/// When there is one.
pub(super) fn look(installed: &BTreeSet<String>, source: DockerSource) -> Result<(), StepError> {
    let (rivals, wanted) = match source {
        DockerSource::Docker => (&DEBIANS[..], "docker-ce"),
        DockerSource::Debian => (&DOCKERS[..], "docker.io"),
    };
    let there: Vec<_> =
        rivals.iter().map(|name| (*name).to_owned()).filter(|name| installed.contains(name)).collect();
    if there.is_empty() { Ok(()) } else { Err(refusal(&[wanted], &there)) }
}

/// The error for an installation of packages that would remove others. apt does not say which, so it is asked again.
pub(super) fn explain(host: &dyn Host, packages: &[String], names: &[&str]) -> Result<StepError, StepError> {
    let simulated = host
        .output(&apt::simulate_install(packages))
        .map_err(|source| failed("see what an installation of Docker would remove", source))?;
    Ok(refusal(names, &apt::removals(&simulated.stdout)))
}

fn refusal(wanted: &[&str], there: &[String]) -> StepError {
    let are =
        |packages: &[&str]| !there.is_empty() && there.iter().all(|name| packages.contains(&name.as_str()));
    let other = if wanted.contains(&"docker-ce") && are(&DEBIANS) {
        "take Debian's Docker, which uses them (docker.source: debian in the cluster file), or "
    } else if wanted.contains(&"docker.io") && are(&DOCKERS) {
        "take Docker's own packages, which use it (docker.source: docker in the cluster file), or "
    } else {
        ""
    };
    let message = format!(
        "installing {} would remove {}, so nothing was changed: {other}type on this node: sudo apt-get remove {}",
        wanted.first().copied().unwrap_or("Docker"),
        there.join(", "),
        there.join(" ")
    );
    let cause = Cause::new(ProblemCode::PackageConflict).about(&there.join(", "));
    StepError::Known { cause, message, permanent: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(installed: &[&str], source: DockerSource) -> String {
        let installed = installed.iter().map(|name| (*name).to_owned()).collect();
        look(&installed, source).map_or_else(|error| error.to_string(), |()| String::new())
    }

    #[test]
    fn names_another_packagers_containerd_and_both_ways_out() {
        assert_eq!(
            said(&["containerd", "runc"], DockerSource::Docker),
            "installing docker-ce would remove containerd, runc, so nothing was changed: take Debian's Docker, which uses them \
             (docker.source: debian in the cluster file), or type on this node: sudo apt-get remove containerd runc"
        );
        assert!(
            said(&["containerd.io"], DockerSource::Debian)
                .contains("(docker.source: docker in the cluster file)")
        );
        assert_eq!(said(&["containerd", "runc"], DockerSource::Debian), "");
        assert_eq!(said(&["containerd.io"], DockerSource::Docker), "");
    }

    #[test]
    fn advises_no_other_source_that_would_remove_the_same() {
        let error =
            refusal(&["docker-ce", "docker-ce-cli"], &["podman-docker".to_owned(), "runc".to_owned()]);
        assert!(!error.to_string().contains("docker.source"), "{error}");
        assert!(error.is_transient(), "the owner may remove them, and the node continues by itself");
        assert_eq!(
            error.cause(),
            Some(Cause::new(ProblemCode::PackageConflict).about("podman-docker, runc"))
        );
    }
}
