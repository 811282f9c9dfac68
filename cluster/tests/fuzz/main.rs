//! Everything that is read from a card, a certificate or the network, given good inputs that were damaged. A parser may
//! refuse; it may not panic, run on, or take what it would not write itself.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "these are tests and their helpers")]

use std::path::{Path, PathBuf};

use cluster::card::{Card, CardSecrets};
use cluster::history::Event;
use cluster::identity::Identity;
use cluster::name::{ClusterId, ClusterName, Hostname, KeyId, NameError, UserName};
use cluster::orders::{Order, Orders};
use cluster::range;
use cluster::wire::{Board, History, JoinReply, Removal, Report, ReportReply, Revoke, Revoked};
use mutate::each_damaged;
use serde::Serialize;
use serde::de::DeserializeOwned;

mod mutate;

/// How many damaged inputs each parser gets.
const CASES: u32 = 3000;

fn corpus(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(name)
}

/// What was taken is written and taken again as the same.
fn comes_back<T: DeserializeOwned + Serialize + PartialEq + std::fmt::Debug>(value: &T) {
    let json = serde_json::to_vec(value).unwrap();
    assert_eq!(serde_json::from_slice::<T>(&json).unwrap(), *value);
}

#[test]
fn no_payload_harms_the_seed_stage() {
    each_damaged(&corpus("card"), CASES, |bytes| {
        if let Ok(card) = Card::from_json(bytes) {
            comes_back(&card);
        }
    });
    each_damaged(&corpus("secrets"), CASES, |bytes| match CardSecrets::from_json(bytes) {
        Ok(secrets) => comes_back(&secrets),
        // The agent shows no parser's words for this file; the type has to keep to that, too.
        Err(error) => assert!(!error.to_string().contains("correct horse")),
    });
}

#[test]
fn no_message_on_the_wire_harms_manager_node_or_laptop() {
    fn read<T: DeserializeOwned + Serialize + PartialEq + std::fmt::Debug>(bytes: &[u8]) {
        if let Ok(value) = serde_json::from_slice::<T>(bytes) {
            comes_back(&value);
        }
    }
    each_damaged(&corpus("wire"), CASES, |bytes| {
        read::<Report>(bytes);
        read::<ReportReply>(bytes);
        read::<JoinReply>(bytes);
        read::<Board>(bytes);
        read::<Revoke>(bytes);
        read::<Revoked>(bytes);
        read::<Order>(bytes);
        read::<Orders>(bytes);
        read::<Removal>(bytes);
        read::<History>(bytes);
    });
}

#[test]
fn only_a_name_that_builder_writes_is_taken_from_a_certificate() {
    each_damaged(&corpus("uri"), CASES, |bytes| {
        let text = String::from_utf8_lossy(bytes);
        if let Ok(identity) = Identity::from_uri(&text) {
            assert_eq!(identity.to_uri(), text);
        }
    });
}

#[test]
fn only_names_that_keep_their_rule_exist() {
    fn rule<T: for<'a> TryFrom<&'a str, Error = NameError> + std::fmt::Display>(text: &str, limit: usize) {
        if let Ok(name) = T::try_from(text) {
            let name = name.to_string();
            assert_eq!(name, text);
            assert!((1..=limit).contains(&name.len()));
            assert!(
                name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'),
                "{name:?}"
            );
        }
    }
    each_damaged(&corpus("name"), CASES, |bytes| {
        let text = String::from_utf8_lossy(bytes);
        rule::<Hostname>(&text, 63);
        rule::<ClusterName>(&text, 63);
        rule::<UserName>(&text, 32);
        rule::<ClusterId>(&text, 16);
        rule::<KeyId>(&text, 64);
    });
}

#[test]
fn a_range_stays_within_its_limit() {
    each_damaged(&corpus("range"), CASES, |bytes| {
        let text = String::from_utf8_lossy(bytes);
        match range::expand(&text) {
            Ok(texts) => assert!((1..=range::LIMIT).contains(&texts.len())),
            Err(error) => assert!(!error.advice().is_empty()),
        }
    });
}

#[test]
fn a_log_is_read_line_by_line_whatever_lies_in_it() {
    each_damaged(&corpus("log"), CASES, |bytes| {
        for line in String::from_utf8_lossy(bytes).lines() {
            if let Ok(event) = line.parse::<Event>() {
                assert_eq!(event.to_string().parse(), Ok(event));
            }
        }
    });
}
