//! What a Pi that already runs is given over SSH: the payload of a card, without the card.
//!
//! It travels as JSON on standard input of `firstboot adopt`, so that the key is in no argument and no file but its last.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::card::{Card, CardError};
use crate::proxy::Proxy;
use crate::secret::Secret;

/// Largest delivery, in bytes: a thousand nodes with their labels.
pub const LIMIT: u64 = 4 * 1024 * 1024;

/// One node's payload. No SSH host key, password or network: those of a Pi that runs stay as they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delivery {
    /// What the agent does.
    pub card: Card,
    /// The cluster's CA certificate, PEM.
    pub ca_pem: String,
    /// The node's certificate, PEM.
    pub cert_pem: String,
    /// The node's private key, PKCS #8 PEM.
    pub key_pem: Secret<String>,
    /// Whether a swarm or a cluster that the machine is in already is to be left for this one.
    pub take_over: bool,
    /// The way to the internet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<Proxy>,
}

/// Why a delivery cannot be used. Without the parser's words: they may quote the key.
#[derive(Debug, Error)]
pub enum DeliveryError {
    /// Not what a builder of this version sends.
    #[error("this is not what a builder of this version sends")]
    Damaged,
    /// The payload in it cannot be used.
    #[error("cannot use the payload")]
    Card(#[source] CardError),
}

impl Delivery {
    /// Reads a delivery.
    ///
    /// # Errors
    /// When it is not one, or was made by a newer builder.
    pub fn from_json(json: &[u8]) -> Result<Self, DeliveryError> {
        let delivery: Self = serde_json::from_slice(json).map_err(|_| DeliveryError::Damaged)?;
        if delivery.card.version > crate::card::VERSION {
            let found = delivery.card.version;
            return Err(DeliveryError::Card(CardError::TooNew { found }));
        }
        Ok(delivery)
    }
}
