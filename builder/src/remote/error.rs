//! Why the manager did not answer, told apart by what a person has to do about it.

use std::error::Error;
use std::fmt;
use std::io;

use cluster::identity::{Holder, Identity};
use cluster::name::ClusterId;
use cluster::peer::OtherCa;
use rustls::CertificateError;
use thiserror::Error;

use crate::error::{Failure, Hint, Kind, builder, hint};

/// Asking the manager failed.
#[derive(Debug, Error)]
pub enum RemoteError {
    /// The cluster file plans no manager.
    #[error("the cluster file plans no manager")]
    NoManager,
    /// The operator's certificate or the CA cannot be used for TLS.
    #[error("the operator's certificate cannot be used")]
    Identity(#[source] rustls::Error),
    /// Nothing that was tried led to the manager.
    #[error("the manager {manager} cannot be reached{}", list(attempts))]
    Unreachable {
        /// Its name, or those of all that were tried.
        manager: String,
        /// What was tried, in that order.
        attempts: Vec<Attempt>,
    },
    /// It knows us, and does not let us see the board.
    #[error("the manager {manager} refuses to answer this operator: {message}")]
    Forbidden {
        /// The manager's name.
        manager: String,
        /// Its reason.
        message: String,
    },
    /// It has nothing to say now.
    #[error("the manager answered with status {status}: {message}")]
    Answer {
        /// HTTP status.
        status: u16,
        /// Its reason, fit for a terminal.
        message: String,
    },
    /// The answer broke off.
    #[error("the manager's answer broke off")]
    Interrupted(#[source] io::Error),
    /// It speaks something else.
    #[error("the manager's answer is not understood")]
    NotUnderstood(#[source] serde_json::Error),
}

/// One address that was tried, or one way to find an address.
#[derive(Debug)]
pub struct Attempt {
    /// The address and where it is from, in words.
    pub to: String,
    /// What was in the way.
    pub obstacle: Obstacle,
}

/// What keeps an address from being the manager's.
#[derive(Debug)]
pub enum Obstacle {
    /// Nobody knows the name.
    Unknown,
    /// Something is there, but no manager's API.
    Refused,
    /// Nothing answers.
    Silent,
    /// The name has IPv6 addresses only. The manager's API needs IPv4.
    OnlyIpv6,
    /// Who answers was certified by somebody else.
    OtherCa,
    /// Who answers is of another cluster, as its certificate says.
    OtherCluster(Identity),
    /// Who answers is of this cluster, but another node.
    OtherNode,
    /// Who answers has a key of the manager's that was revoked.
    Revoked,
    /// Who answers does not take the operator's certificate.
    Unwelcome,
    /// Anything else.
    Other(Box<dyn Error + Send + Sync>),
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("nobody answers to this name"),
            Self::Refused => f.write_str("refuses the connection"),
            Self::Silent => f.write_str("does not answer"),
            Self::OnlyIpv6 => f.write_str("has IPv6 addresses only, and the manager needs IPv4"),
            Self::OtherCluster(holder) => write!(f, "is {}", described(holder)),
            Self::OtherCa => f.write_str("has a certificate that this cluster's CA did not sign"),
            Self::OtherNode => f.write_str("has the certificate of another node of this cluster"),
            Self::Revoked => f.write_str("has a key of this node that was revoked"),
            Self::Unwelcome => f.write_str("does not accept the operator's certificate"),
            Self::Other(error) => {
                write!(f, "{error}")?;
                let mut cause = error.source();
                while let Some(error) = cause {
                    write!(f, ": {error}")?;
                    cause = error.source();
                }
                Ok(())
            }
        }
    }
}

/// A machine of another cluster, in words.
pub(super) fn described(holder: &Identity) -> String {
    let id = &holder.cluster;
    match &holder.holder {
        Holder::Node { role, name } => format!("{name}, a {} of another cluster ({id})", role.as_str()),
        Holder::Operator => format!("a machine of another cluster ({id})"),
    }
}

impl Obstacle {
    /// Why a request got no answer, as a cluster sees it.
    pub(super) fn of(error: reqwest::Error, own: &ClusterId) -> Self {
        if let Some(tls) = find::<rustls::Error>(&error) {
            use CertificateError::{NotValidForName, NotValidForNameContext};
            use rustls::Error::{AlertReceived, InvalidCertificate};
            return match tls {
                InvalidCertificate(NotValidForName | NotValidForNameContext { .. }) => Self::OtherNode,
                InvalidCertificate(CertificateError::Revoked) => Self::Revoked,
                InvalidCertificate(error) => {
                    let foreigner = OtherCa::of(error).and_then(|other| other.foreigner(own));
                    foreigner.map_or(Self::OtherCa, |holder| Self::OtherCluster(holder.clone()))
                }
                AlertReceived(_) => Self::Unwelcome,
                _ => Self::Other(error.without_url().into()),
            };
        }
        match find::<io::Error>(&error).map(io::Error::kind) {
            Some(io::ErrorKind::ConnectionRefused) => Self::Refused,
            Some(
                io::ErrorKind::TimedOut | io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable,
            ) => Self::Silent,
            _ if error.is_timeout() => Self::Silent,
            _ => Self::Other(error.without_url().into()),
        }
    }
}

/// An error of a kind among the causes. An io error's own content is not among its `source`s, so it is looked into.
fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = match inner {
            Some(inner) => Some(inner as &(dyn Error + 'static)),
            None => error.source(),
        };
    }
    None
}

fn list(attempts: &[Attempt]) -> String {
    attempts.iter().map(|Attempt { to, obstacle }| format!("\n  {to}: {obstacle}")).collect()
}

impl RemoteError {
    /// Whether asking again later can help.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Interrupted(_) => true,
            Self::Answer { status, .. } => *status == 429 || *status >= 500,
            Self::NoManager | Self::Identity(_) | Self::Forbidden { .. } | Self::NotUnderstood(_) => false,
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::NoManager => Kind::Usage,
            _ if self.is_transient() => Kind::Unreachable,
            _ => Kind::Failed,
        }
    }

    /// What to type next.
    pub(crate) fn hints(&self) -> Vec<Hint> {
        match self {
            Self::Unreachable { manager, attempts } => unreachable_hints(manager, attempts),
            Self::Forbidden { manager, .. } => {
                let text = "if its card was made with other secrets, make it again: ";
                vec![hint![text, builder(["flash", manager])]]
            }
            Self::NotUnderstood(_) => vec!["use the builder that made the manager's card".into()],
            Self::NoManager => vec!["name one under `managers:`".into()],
            Self::Answer { status: 404, .. } => {
                vec![
                    "if the manager's card was made by an older builder, it does not know this request"
                        .into(),
                ]
            }
            Self::Identity(_) | Self::Answer { .. } | Self::Interrupted(_) => Vec::new(),
        }
    }
}

fn unreachable_hints(manager: &str, attempts: &[Attempt]) -> Vec<Hint> {
    let any = |wanted: fn(&Obstacle) -> bool| attempts.iter().any(|attempt| wanted(&attempt.obstacle));
    let mut hints = Vec::new();
    if any(|obstacle| matches!(obstacle, Obstacle::OtherCa | Obstacle::OtherCluster(_) | Obstacle::Unwelcome))
    {
        let text = format!(
            "a machine there is not {manager} of this cluster: another cluster's manager, an impostor, or a card \
             made with other secrets than these; for such a card: "
        );
        hints.push(hint![text, builder(["flash", manager])]);
    }
    if any(|obstacle| matches!(obstacle, Obstacle::OnlyIpv6)) {
        hints.push(
            "switch DHCP for IPv4 on in the router, or give the nodes fixed addresses under `network:`"
                .into(),
        );
    }
    if any(|obstacle| matches!(obstacle, Obstacle::OtherNode)) {
        hints.push("that is the address of another node".into());
    }
    if any(|obstacle| matches!(obstacle, Obstacle::Revoked)) {
        hints.push(
            format!(
                "that machine is a former {manager}, or {manager} itself with its former key: deliver the new key with \
                 a new card (or, to a running machine, with config)"
            )
                .into(),
        );
    }
    if any(|obstacle| matches!(obstacle, Obstacle::Refused)) {
        let text = format!("if {manager} was only just powered on, wait a minute: ");
        hints.push(hint![text, builder(["status", "--wait"])]);
    }
    hints.push(format!("is {manager} powered on, and on the same network as this computer?").into());
    let find = builder(["status", "--manager", "ADDRESS"]);
    hints.push(hint!["if you know its address (your router does): ", find]);
    hints
}

impl From<RemoteError> for Failure {
    fn from(error: RemoteError) -> Self {
        let hints = error.hints();
        hints.into_iter().fold(Self::new(error.kind(), error), Self::hint)
    }
}
