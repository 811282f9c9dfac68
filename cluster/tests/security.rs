//! Every claim of docs/security.md names tests, and they exist.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

const PAGE: &str = include_str!("../../docs/security.md");

/// Names of all tests in a folder's Rust files.
fn tests(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            tests(&path, found);
        } else if name.ends_with(".rs") {
            let text = fs::read_to_string(&path).unwrap();
            let mut is_test = false;
            for line in text.lines().map(str::trim) {
                if line == "#[test]" || line == "#[tokio::test]" {
                    is_test = true;
                } else if let Some(rest) = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ") {
                    if is_test {
                        found.insert(rest.split('(').next().unwrap_or_default().to_owned());
                    }
                    is_test = false;
                }
            }
        }
    }
}

/// The claims and the tests each names.
fn claims() -> Vec<(String, Vec<String>)> {
    let section = PAGE.split("## What holds\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| ")).skip(1);
    let claims = rows.map(|row| {
        let mut cells = row.trim_matches('|').split(" | ");
        let claim = cells.next().unwrap_or_default().trim().to_owned();
        let named = cells.next().unwrap_or_default().split('`').skip(1).step_by(2);
        (claim, named.map(str::to_owned).collect())
    });
    claims.collect()
}

#[test]
fn every_claim_names_tests_that_exist() {
    let mut there = BTreeSet::new();
    tests(Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap(), &mut there);
    let claims = claims();
    assert!(claims.len() > 20, "{claims:#?}");
    for (claim, named) in claims {
        assert!(!named.is_empty(), "no test shows: {claim}");
        let missing: Vec<_> = named.iter().filter(|name| !there.contains(*name)).collect();
        assert!(missing.is_empty(), "there is no test {missing:?} for: {claim}");
    }
}
