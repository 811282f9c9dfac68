//! What the engine refuses, told apart by status and words: 503 alone may mean "done already", "later" or "not here".

use cluster::wire::{Cause, ProblemCode};
use serde::Deserialize;
use thiserror::Error;

use super::SWARM_PORT;
use crate::agent::status::without_tokens;

/// A call to the engine that failed.
#[derive(Debug, Error)]
pub enum EngineError {
    /// The client could not be set up.
    #[error("cannot set up the client for Docker")]
    Build(#[source] reqwest::Error),
    /// The client's TLS could not be set up.
    #[error("cannot set up the client for Docker")]
    Tls(#[source] crate::tls::TlsError),
    /// The engine did not answer.
    #[error("Docker does not answer {call}")]
    Connect {
        /// The call.
        call: &'static str,
        /// Why not.
        #[source]
        source: reqwest::Error,
    },
    /// The answer could not be read.
    #[error("Docker's answer to {call} cannot be read")]
    Answer {
        /// The call.
        call: &'static str,
        /// Why not.
        #[source]
        source: serde_json::Error,
    },
    /// The engine said no.
    #[error("Docker refused {call} ({status}): {message}")]
    Refused {
        /// The call.
        call: &'static str,
        /// HTTP status.
        status: u16,
        /// What that means.
        refusal: Refusal,
        /// The engine's own words.
        message: String,
    },
}

/// What a refusal means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Init or join while in a swarm or still joining: read the state again.
    AlreadyMember,
    /// Leave while in no swarm.
    NotMember,
    /// A manager's call on something else.
    NotManager,
    /// The token is malformed, rotated or for another swarm: ask for a new one.
    Token,
    /// The manager there has another CA: ask for the address and token again.
    OtherCluster,
    /// Nobody listens there.
    ManagerUnreachable,
    /// The engine goes on trying by itself: watch its state.
    StillJoining,
    /// This machine has no route there.
    NoRoute,
    /// Somebody changed it meanwhile: read and try again.
    OutOfSequence,
    /// The node to remove is not down.
    NotDown,
    /// The node does not exist.
    NoSuchNode,
    /// Swarm's own certificates do not fit the clock.
    Certificates,
    /// A human has to unlock the swarm.
    Locked,
    /// Too few managers are left.
    NoQuorum,
    /// Another program listens on Swarm's port.
    PortTaken,
    /// Something else.
    Other,
}

impl Refusal {
    /// Reads a refusal. The words are those of engines 20.10 to 29.
    pub fn classify(status: u16, message: &str) -> Self {
        let has = |words: &str| message.contains(words);
        match status {
            503 if has("already part of a swarm") => Self::AlreadyMember,
            503 if has("not part of a swarm") => Self::NotMember,
            503 if has("not a swarm manager") => Self::NotManager,
            503 if has("Timeout was reached before node joined") => Self::StillJoining,
            503 if has("needs to be unlocked") => Self::Locked,
            503 if has("certificates have expired") => Self::Certificates,
            503 if has("code = Unavailable") => Self::ManagerUnreachable,
            500 if has("invalid join token") => Self::Token,
            400 if has("A valid join token is necessary") => Self::Token,
            500 if has("remote CA does not match fingerprint") => Self::OtherCluster,
            500 if has("could not find local IP address") => Self::NoRoute,
            500 if has("address already in use") => Self::PortTaken,
            500 if has("update out of sequence") => Self::OutOfSequence,
            400 if has("is not down and can't be removed") => Self::NotDown,
            404 if has("not found") => Self::NoSuchNode,
            _ if has("certificate has expired or is not yet valid") => Self::Certificates,
            // 500 with Docker 20.10.24, 26.1.5 and 28.5.2.
            _ if has("does not have a leader") || has("DeadlineExceeded") => Self::NoQuorum,
            _ => Self::Other,
        }
    }
}

impl Refusal {
    /// What a person can do something about; `None` for what passes, and for what is not known.
    fn cause(self) -> Option<Cause> {
        let port = SWARM_PORT.to_string();
        Some(match self {
            Self::ManagerUnreachable => Cause::new(ProblemCode::SwarmPortUnreachable).about(&port),
            Self::PortTaken => Cause::new(ProblemCode::PortTaken).about(&port),
            Self::NoRoute => ProblemCode::NoRoute.into(),
            Self::Certificates => ProblemCode::ClockWrong.into(),
            Self::Locked => ProblemCode::SwarmLocked.into(),
            Self::NoQuorum => ProblemCode::NoQuorum.into(),
            Self::AlreadyMember
            | Self::NotMember
            | Self::NotManager
            | Self::Token
            | Self::OtherCluster
            | Self::StillJoining
            | Self::OutOfSequence
            | Self::NotDown
            | Self::NoSuchNode
            | Self::Other => return None,
        })
    }
}

#[derive(Deserialize)]
struct Message {
    message: String,
}

impl EngineError {
    /// Reads the engine's error body.
    pub(super) fn refused(call: &'static str, status: u16, body: &[u8]) -> Self {
        let message = serde_json::from_slice::<Message>(body)
            .map_or_else(|_| String::from_utf8_lossy(body).into_owned(), |body| body.message);
        // Before it is cut: half a token is one, too.
        let message: String = without_tokens(message.trim()).chars().take(500).collect();
        Self::Refused { call, status, refusal: Refusal::classify(status, &message), message }
    }

    /// What the engine refused, if it answered at all.
    pub const fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::Refused { refusal, .. } => Some(*refusal),
            _ => None,
        }
    }

    /// What a person can do something about.
    pub fn cause(&self) -> Option<Cause> {
        Some(match self {
            Self::Connect { .. } => ProblemCode::DockerSilent.into(),
            Self::Refused { refusal, .. } => refusal.cause()?,
            Self::Build(_) | Self::Tls(_) | Self::Answer { .. } => return None,
        })
    }

    /// Whether trying again may help.
    pub const fn is_transient(&self) -> bool {
        !matches!(self, Self::Build(_) | Self::Tls(_) | Self::Refused { refusal: Refusal::Locked, .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_the_measured_refusals_apart() {
        let already = "This node is already part of a swarm. Use \"docker swarm leave\" to leave this swarm and join another one.";
        let not_manager = "This node is not a swarm manager. Worker nodes can't be used to view or modify cluster state. Please run this command on a manager node or promote the current node to a manager.";
        for (status, message, refusal) in [
            (503, already, Refusal::AlreadyMember),
            (503, not_manager, Refusal::NotManager),
            (503, "This node is not part of a swarm", Refusal::NotMember),
            (500, "invalid join token", Refusal::Token),
            (
                400,
                "rpc error: code = InvalidArgument desc = A valid join token is necessary to join this cluster",
                Refusal::Token,
            ),
            (500, "remote CA does not match fingerprint. Expected: 0123", Refusal::OtherCluster),
            (
                503,
                "rpc error: code = Unavailable desc = connection error: desc = \"transport: Error while dialing: dial tcp 10.0.0.1:2377: connect: connection refused\"",
                Refusal::ManagerUnreachable,
            ),
            (
                503,
                "Timeout was reached before node joined. The attempt to join the swarm will continue in the background. Use the \"docker info\" command to see the current swarm status of your node.",
                Refusal::StillJoining,
            ),
            (
                500,
                "could not find local IP address: dial udp 10.77.0.1:2377: connect: network is unreachable",
                Refusal::NoRoute,
            ),
            (500, "rpc error: code = Unknown desc = update out of sequence", Refusal::OutOfSequence),
            (
                400,
                "rpc error: code = FailedPrecondition desc = node abc is not down and can't be removed",
                Refusal::NotDown,
            ),
            (404, "node nonesuch not found", Refusal::NoSuchNode),
            (
                500,
                "error while validating Root CA Certificate: x509: certificate has expired or is not yet valid",
                Refusal::Certificates,
            ),
            (503, "Swarm is encrypted and needs to be unlocked before it can be used.", Refusal::Locked),
            (
                500,
                "rpc error: code = Unknown desc = The swarm does not have a leader. It's possible that too few managers are online. Make sure more than half of the managers are online.",
                Refusal::NoQuorum,
            ),
            (
                400,
                "could not choose an IP address to advertise since this system has multiple addresses",
                Refusal::Other,
            ),
        ] {
            assert_eq!(Refusal::classify(status, message), refusal, "{status} {message}");
        }
    }

    #[test]
    fn refusals_that_a_person_can_solve_have_a_cause() {
        for (status, message, cause) in [
            (
                503,
                "rpc error: code = Unavailable desc = connection error: desc = \"transport: Error while dialing: dial tcp 10.0.0.1:2377: connect: connection refused\"",
                Some(Cause::new(ProblemCode::SwarmPortUnreachable).about("2377")),
            ),
            // 26.1.5, with another program on the port.
            (
                500,
                "manager stopped: failed to listen on remote API address: listen tcp 0.0.0.0:2377: bind: address already in use",
                Some(Cause::new(ProblemCode::PortTaken).about("2377")),
            ),
            (
                500,
                "could not find local IP address: dial udp 10.77.0.1:2377: connect: network is unreachable",
                Some(ProblemCode::NoRoute.into()),
            ),
            (
                500,
                "error while validating Root CA Certificate: x509: certificate has expired or is not yet valid",
                Some(ProblemCode::ClockWrong.into()),
            ),
            (
                503,
                "Swarm is encrypted and needs to be unlocked before it can be used.",
                Some(ProblemCode::SwarmLocked.into()),
            ),
            (
                500,
                "rpc error: code = DeadlineExceeded desc = context deadline exceeded",
                Some(ProblemCode::NoQuorum.into()),
            ),
            (500, "invalid join token", None),
        ] {
            let body = serde_json::json!({ "message": message }).to_string();
            assert_eq!(EngineError::refused("/x", status, body.as_bytes()).cause(), cause, "{message}");
        }
    }

    #[test]
    fn a_token_that_docker_quotes_is_in_no_error_and_so_in_no_log() {
        let quoted = "invalid join token SWMTKN-1-3pu6hszjas-1awxwuwd3z9j1, said the engine";
        for body in [quoted.to_owned(), serde_json::json!({"message": quoted}).to_string()] {
            let error = EngineError::refused("/swarm/join", 500, body.as_bytes());
            assert!(error.to_string().ends_with(": invalid join token (token), said the engine"), "{error}");
            assert_eq!(error.refusal(), Some(Refusal::Token));
            assert!(!format!("{error:?}").contains("SWMTKN"));
        }
        // Where the words are cut, within a token.
        let long = format!("{}SWMTKN-1-3pu6hszjas", "x".repeat(490));
        assert!(!EngineError::refused("/swarm/join", 500, long.as_bytes()).to_string().contains("SWMTKN-"));
    }

    #[test]
    fn a_body_that_is_not_json_is_still_a_message() {
        let error = EngineError::refused("/info", 502, b"bad gateway\n");
        assert_eq!(error.to_string(), "Docker refused /info (502): bad gateway");
        assert!(error.is_transient());
    }
}
