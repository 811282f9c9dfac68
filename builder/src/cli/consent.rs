//! The question before an image is downloaded from a host that a cluster file names and the user has not confirmed.

use std::io::{self, IsTerminal};

use crate::cache::Cache;
use crate::cli::ask;
use crate::error::{Failure, builder};
use crate::fetch::Fetcher;
use crate::project::Project;
use crate::report::Progress;
use crate::trusted_hosts::TrustedHosts;

/// The confirmed hosts. At a terminal, asks about the image's own, and remembers a yes. Elsewhere the download fails
/// with the command that confirms it.
pub(super) fn hosts(project: &Project, cache: &Cache) -> Result<TrustedHosts, Failure> {
    let mut hosts = TrustedHosts::read()?;
    let image = &project.cluster.image;
    let silent = Progress::new(true, false);
    let unconfirmed = Fetcher::new(cache, &hosts, &silent).unconfirmed(image, &project.folder);
    let Some(host) = unconfirmed.filter(|_| io::stdin().is_terminal()) else { return Ok(hosts) };
    let what = format!(
        "The image {} is not on the publisher's server. If you go on, it is downloaded from {host}, and you are not asked \
         about that host again.",
        image.location
    );
    let command = builder(["images", "trust"]).args([host.to_string()]);
    ask::at_desk(|desk| ask::confirm(desk, &what, command))?;
    hosts.confirm(&host)?;
    Ok(hosts)
}
