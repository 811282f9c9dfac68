//! Why no manager gave what was asked, and the machines that answered in a manager's place.

use std::error::Error as _;
use std::fmt::{self, Write as _};
use std::io;
use std::net::Ipv4Addr;

use cluster::identity::{Holder, Identity};
use cluster::name::{ClusterId, Hostname};
use cluster::peer::OtherCa;
use cluster::wire::{Cause, ProblemCode};
use rustls::CertificateError;
use thiserror::Error;

/// Why a manager did not give what was asked.
#[derive(Debug, Error)]
pub enum LinkError {
    /// No manager is to be found.
    #[error("no address found for {0}")]
    NotFound(String),
    /// Only other clusters' managers are to be found.
    #[error("manager {name} is not found; {}", list(met))]
    Foreign {
        /// Whom.
        name: Hostname,
        /// Who was found instead; not empty.
        met: Vec<Foreign>,
    },
    /// It does not answer.
    #[error("manager {name} does not answer at {address}")]
    Unreachable {
        /// Whom.
        name: Hostname,
        /// Where.
        address: Ipv4Addr,
        /// Why not.
        #[source]
        source: reqwest::Error,
    },
    /// It answered that it will not.
    #[error("manager {name} answered {status}: {message}")]
    Refused {
        /// Who.
        name: Hostname,
        /// HTTP status.
        status: u16,
        /// Its reason.
        message: String,
        /// The same for programs, from a manager that knows a code for it.
        cause: Option<Cause>,
    },
}

impl LinkError {
    /// What a person can do something about.
    pub fn cause(&self) -> Option<Cause> {
        match self {
            Self::NotFound(managers) => Some(Cause::new(ProblemCode::ManagerNotFound).about(managers)),
            Self::Foreign { met, .. } => {
                let first = met.first().map(|foreign| foreign.to_string()).unwrap_or_default();
                Some(Cause::new(ProblemCode::ForeignManager).about(&first))
            }
            Self::Unreachable { name, source, .. } => {
                let code = match rejected_certificate(source) {
                    Some(error) if is_of_another_time(error) => return Some(ProblemCode::ClockWrong.into()),
                    Some(_) => ProblemCode::ManagerUntrusted,
                    None => ProblemCode::ManagerSilent,
                };
                Some(Cause::new(code).about(name.as_str()))
            }
            Self::Refused { cause, .. } => cause.clone(),
        }
    }

    /// Whether it is this node that the manager wants nothing to do with, and not what it asked at the wrong time.
    pub(super) const fn turns_away(&self) -> bool {
        matches!(self, Self::Refused { status: 403, .. })
    }

    /// Whether waiting is not enough, so that the node has to say it although it tries again.
    pub(in crate::agent) fn needs_a_person(&self) -> bool {
        let is_untrusted = || self.cause().is_some_and(|cause| cause.code() == ProblemCode::ManagerUntrusted);
        self.turns_away() || matches!(self, Self::Foreign { .. }) || is_untrusted()
    }

    /// Whose certificate it was that made an address useless, if it is another cluster's.
    pub(super) fn foreigner(&self, own: &ClusterId) -> Option<Foreign> {
        let Self::Unreachable { name, address, source } = self else { return None };
        let holder = OtherCa::of(rejected_certificate(source)?)?.foreigner(own)?.clone();
        Some(Foreign { instead_of: name.clone(), address: *address, holder })
    }
}

/// Another cluster's machine that answered where a manager was looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foreign {
    /// The manager that was looked for.
    pub instead_of: Hostname,
    /// Where it is.
    pub address: Ipv4Addr,
    /// Whom its certificate names. Nobody has proved that.
    pub holder: Identity,
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, holder, .. } = self;
        match &holder.holder {
            Holder::Node { name, .. } => write!(f, "{name} of cluster {} at {address}", holder.cluster),
            Holder::Operator => write!(f, "a machine of cluster {} at {address}", holder.cluster),
        }
    }
}

impl Foreign {
    /// For the board, where it did not keep this node from its manager.
    pub(in crate::agent) fn warning(&self) -> String {
        format!(
            "another cluster on this network uses the name {}: {self}. This node looks for its own manager by the \
             cluster's identity",
            self.instead_of
        )
    }
}

fn list(met: &[Foreign]) -> String {
    let mut text = "another cluster's manager answers: ".to_owned();
    for (place, foreign) in met.iter().enumerate() {
        // Writing to a String cannot fail.
        _ = write!(text, "{}{foreign}", if place > 0 { ", " } else { "" });
    }
    text
}

/// What was in the way of one manager, address by address.
#[derive(Debug, Default)]
pub(super) struct Met {
    /// At an address that the cluster file or the journal names.
    sure: Option<LinkError>,
    foreign: Vec<Foreign>,
    other: Option<LinkError>,
}

impl Met {
    /// Adds a failure at an address; a `sure` one is where the manager ought to be.
    pub(super) fn add(&mut self, error: LinkError, sure: bool, own: &ClusterId) {
        if let Some(foreign) = error.foreigner(own) {
            self.foreign.push(foreign);
        } else if sure {
            self.sure = Some(error);
        } else {
            self.other = Some(error);
        }
    }

    pub(super) fn foreign(&self) -> &[Foreign] {
        &self.foreign
    }

    /// The failure that says most: a manager that is silent where it ought to be explains more than whoever else is there.
    pub(super) fn into_error(self, name: &Hostname) -> LinkError {
        let foreign = (!self.foreign.is_empty())
            .then_some(LinkError::Foreign { name: name.clone(), met: self.foreign });
        let failure = self.sure.or(foreign).or(self.other);
        failure.unwrap_or_else(|| LinkError::NotFound(name.to_string()))
    }
}

/// Why the certificate of whoever answered was rejected, if that is why there was no answer.
fn rejected_certificate(error: &reqwest::Error) -> Option<&CertificateError> {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(rustls::Error::InvalidCertificate(error)) = error.downcast_ref() {
            return Some(error);
        }
        // An I/O error hides the error that it was made of: its source is that error's source.
        cause = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}

/// Whether a certificate is not valid yet, or not any more, by this node's clock.
const fn is_of_another_time(error: &CertificateError) -> bool {
    use CertificateError::{Expired, ExpiredContext, NotValidYet, NotValidYetContext};
    matches!(error, Expired | ExpiredContext { .. } | NotValidYet | NotValidYetContext { .. })
}
