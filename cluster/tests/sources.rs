//! No crate includes the sources of another crate: what two crates share is a dependency.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::fs;
use std::path::{Component, Path, PathBuf};

/// The Rust files of a folder, without what is built.
fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            rust_files(&path, found);
        } else if name.ends_with(".rs") {
            found.push(path);
        }
    }
}

/// A path without its `..`.
fn resolved(path: &Path) -> PathBuf {
    let mut resolved = PathBuf::new();
    for part in path.components() {
        if part == Component::ParentDir {
            resolved.pop();
        } else {
            resolved.push(part);
        }
    }
    resolved
}

/// Files outside a crate's folder, in a folder `src`, that a line includes.
fn included(line: &str, file: &Path, root: &Path) -> Option<PathBuf> {
    let line = line.trim();
    let after = ["include_str!(", "include_bytes!(", "include!(", "#[path"];
    let after = after.iter().find_map(|word| line.split_once(word))?.1;
    let path = resolved(&file.parent()?.join(after.split('"').nth(1)?));
    let (theirs, ours) = (path.strip_prefix(root).ok()?, file.strip_prefix(root).ok()?);
    let is_source = theirs.components().nth(1)?.as_os_str() == "src";
    (is_source && theirs.components().next() != ours.components().next()).then(|| theirs.to_owned())
}

#[test]
fn no_crate_includes_sources_of_another() {
    let root = resolved(&Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
    let why = root.join("builder/src/why/tests.rs");
    let theirs = "include_str!(\"../../../firstboot/src/serve.rs\"),";
    assert_eq!(included(theirs, &why, &root), Some("firstboot/src/serve.rs".into()));
    assert_eq!(included("include_str!(\"../known.rs\")", &why, &root), None);

    let mut files = Vec::new();
    rust_files(&root, &mut files);
    assert!(files.len() > 100);
    for file in files {
        for line in fs::read_to_string(&file).unwrap().lines() {
            assert_eq!(included(line, &file, &root), None, "{}", file.display());
        }
    }
}
