//! `builder images trust`: the hosts that images may be downloaded from besides the publisher's.

use clap::Args;
use serde_json::json;

use crate::cli::Globals;
use crate::error::Failure;
use crate::trusted_hosts::{ImageHost, TrustedHosts};

/// Confirm hosts that images may be downloaded from
///
/// An image that a cluster file names by URL is downloaded only from the
/// publisher's server and from confirmed hosts. At a terminal you are asked
/// once for each host. Where there is none, this command confirms it:
///
///   builder images trust example.org
///
/// Hosts are kept in your configuration folder. Without HOST they are listed.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(super) struct TrustArgs {
    /// Hosts such as example.org or 10.1.1.5:8080
    #[arg(value_name = "HOST")]
    hosts: Vec<ImageHost>,
    /// No longer trust these hosts
    #[arg(long, requires = "hosts")]
    remove: bool,
}

pub(super) fn run(globals: &Globals, args: &TrustArgs) -> Result<(), Failure> {
    let mut trusted = TrustedHosts::read()?;
    for host in &args.hosts {
        match args.remove {
            true => _ = trusted.forget(host)?,
            false => trusted.confirm(host)?,
        }
    }
    let text = if globals.json {
        let image_hosts: Vec<_> = trusted.image_hosts().collect();
        let mirrors: Vec<_> = trusted.mirrors().collect();
        format!("{:#}\n", json!({ "image_hosts": image_hosts, "mirrors": mirrors }))
    } else {
        let hosts = trusted.image_hosts().map(|host| format!("{host}\n"));
        hosts.chain(trusted.mirrors().map(|mirror| format!("{mirror}  mirror of the publisher\n"))).collect()
    };
    super::print(&text)
}
