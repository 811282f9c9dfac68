//! `builder images`: what it shows, and what it says to type next.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, PermissionsExt};

use serde_json::Value;

use crate::bench::{Bench, image, sum, xz};
use crate::server::{Reply, Server};

fn cluster(bench: &Bench, image: &str, sha256: &str) {
    let text = format!(
        "version: 1\ncluster: red\nimage: {image}\nimage_sha256: {sha256}\nnodes: red[00-02]\nuser:\n  name: ada\n  \
         authorized_keys: ['ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f']\n"
    );
    fs::write(bench.path("cluster.yaml"), text).unwrap();
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn list_shows_names_and_what_the_cache_holds() {
    let (bench, body) = (Bench::new(), xz());
    let sha256 = sum(&body).to_string();
    let out = bench.run(&["images", "list"]).done();
    let line = |name: &str| out.lines().find(|line| line.trim_start().starts_with(name)).unwrap().to_owned();
    assert!(line("raspios-lite-arm64 ").contains("newest"), "{out}");
    let dated = line("raspios-lite-arm64-2026-10-06");
    assert!(dated.contains("524.9 MiB") && dated.ends_with("builder"), "{dated}");
    assert!(out.contains("raspios-legacy-lite-arm64"));

    let server = Server::new(move |_, _| Reply::whole(&body));
    let url = server.url("os.img.xz");
    cluster(&bench, &url, &sha256);
    bench.trusts(&url);
    bench.run(&["images", "pull"]).done();
    let out = bench.run(&["images", "list"]).done();
    let own = out.lines().find(|line| line.starts_with('*')).unwrap();
    assert!(own.contains(&url) && own.contains("3.0 MiB") && own.ends_with("cluster file"), "{own}");
    let listed = json(&bench.run(&["--json", "images", "list"]).done());
    let own =
        listed["images"].as_array().unwrap().iter().find(|image| image["in_cluster_file"] == true).unwrap();
    assert_eq!(own["cached"]["sha256"], sum(&image()).to_string());
    assert_eq!(own["cached"]["published_sha256"], sha256);
    fs::remove_file(bench.path("cluster.yaml")).unwrap();
    let out = bench.run(&["images", "list"]).done();
    assert!(out.contains(&format!("{} (os.img.xz)", &sha256[..12])), "{out}");
    assert_eq!(server.asked().len(), 1, "list asks nobody");
}

#[test]
fn pull_tells_where_the_image_is() {
    let (bench, body) = (Bench::new(), xz());
    let sha256 = sum(&body).to_string();
    let server = Server::new(move |_, _| Reply::whole(&body));
    let url = server.url("os.img.xz");
    let pulled = json(&bench.run(&["--json", "images", "pull", &url, "--sha256", &sha256]).done());
    assert_eq!(pulled["sha256"], sha256);
    assert_eq!(fs::read(bench.path(pulled["path"].as_str().unwrap())).unwrap(), image());
    assert!(!bench.path("cluster.lock").exists(), "what is pinned by its digest needs no lock");
}

#[test]
fn wrong_words_are_answered_with_right_ones() {
    let bench = Bench::new();
    let sum = "0".repeat(64);
    for (words, code, reason, hint) in [
        (&["images", "pull"][..], 2, "there is no cluster file", "builder images list"),
        (&["images", "pull", "raspios-light"], 2, "there is no image", "raspios-lite-arm64"),
        (&["images", "pull", "https://example.org/os.img.xz"], 2, "has no sha256", "--sha256 HEX"),
        (&["images", "pull", "http://example.org/os.img.xz"], 2, "has no sha256", "--sha256 HEX"),
        (
            &["images", "pull", "https://me:pw@example.org/os.img", "--sha256", &sum],
            2,
            "a user name",
            "download it",
        ),
        (&["images", "pull", "os.img", "--sha256", "123"], 2, "sha256 is wrong", "sha256sum"),
        (
            &["images", "pull", "raspios-lite-arm64", "--update"],
            2,
            "not the cluster file's",
            "leave --update out",
        ),
        (
            &["images", "verify", "raspios-lite-arm64"],
            1,
            "holds no image",
            "builder images pull raspios-lite-arm64",
        ),
        (&["-f", "none.yaml", "images", "list"], 2, "there is no cluster file", "builder init -f none.yaml"),
    ] {
        let said = bench.run(words).failed(code);
        assert!(said.contains(reason) && said.contains(hint), "{words:?}: {said}");
    }
    assert_eq!(bench.run(&["images"]).code, Some(2));
}

#[test]
fn what_means_one_image_for_ever_is_not_updated() {
    let bench = Bench::new();
    cluster(&bench, "raspios-lite-arm64-2026-10-06", &"0".repeat(64));
    let said = bench.run(&["images", "pull", "--update"]).failed(2);
    assert!(said.contains("one image for ever") && said.contains("leave --update out"), "{said}");
}

#[test]
fn verify_finds_a_flipped_bit_and_the_image_is_made_anew() {
    let (bench, body) = (Bench::new(), xz());
    let sha256 = sum(&body).to_string();
    fs::write(bench.path("os.img.xz"), &body).unwrap();
    cluster(&bench, "os.img.xz", &sha256);
    let path = bench.path(json(&bench.run(&["--json", "images", "pull"]).done())["path"].as_str().unwrap());
    assert!(bench.run(&["images", "verify"]).done().contains("os.img.xz  whole"));

    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let file = File::options().read(true).write(true).open(&path).unwrap();
    let modified = file.metadata().unwrap().modified().unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, 1 << 20).unwrap();
    file.write_all_at(&[byte[0] ^ 1], 1 << 20).unwrap();
    file.set_modified(modified).unwrap();
    drop(file);
    let ended = bench.run(&["--json", "images", "verify", &sha256[..12]]);
    assert_eq!(ended.code, Some(4), "{}", ended.said);
    let result = &json(&ended.out)["images"][0];
    assert_eq!(result["result"], "damaged");
    assert_eq!(result["wanted_sha256"], sum(&image()).to_string());
    assert!(ended.said.contains("removed from the cache") && ended.said.contains("hint: "), "{}", ended.said);
    assert_eq!(bench.names("cache/images"), [""; 0]);
    bench.run(&["images", "pull"]).done();
    assert_eq!(fs::read(&path).unwrap(), image());
    assert!(bench.run(&["images", "verify"]).done().contains("whole"));
}

#[test]
fn verify_finds_what_somebody_wrote_to() {
    let (bench, body) = (Bench::new(), xz());
    fs::write(bench.path("os.img.xz"), &body).unwrap();
    let path = bench
        .path(json(&bench.run(&["--json", "images", "pull", "os.img.xz"]).done())["path"].as_str().unwrap());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    File::options().write(true).open(&path).unwrap().set_len(512).unwrap();
    assert!(bench.run(&["images", "list"]).done().contains("changed"));
    let said = bench.run(&["images", "verify"]).failed(4);
    assert!(said.contains("(os.img.xz)"), "{said}");
    assert_eq!(bench.names("cache/images"), [""; 0]);
    assert_eq!(bench.run(&["images", "verify"]).done(), "");
}

#[test]
fn a_local_archive_is_neither_the_newest_nor_of_an_older_builder() {
    let bench = Bench::new();
    fs::write(bench.path("os.img.xz"), xz()).unwrap();
    let sha256 = sum(&xz()).to_string();
    cluster(&bench, "os.img.xz", &sha256);
    let yaml = fs::read_to_string(bench.path("cluster.yaml")).unwrap();
    fs::write(bench.path("cluster.yaml"), yaml.replace(&format!("image_sha256: {sha256}\n"), "")).unwrap();
    let own = |out: &str| out.lines().find(|line| line.starts_with('*')).unwrap().to_owned();
    let listed = own(&bench.run(&["images", "list"]).done());
    assert!(listed.contains("os.img.xz") && !listed.contains("newest"), "{listed}");
    // `plan` unpacks it, without a digest, before it sees that it is no system.
    let source = cluster::spec::ImageSource { location: "os.img.xz".to_owned(), sha256: None };
    builder::fetch::base(
        &source,
        &bench.path(""),
        &bench.cache(),
        &bench.hosts(),
        &builder::report::Progress::new(true, false),
    )
    .unwrap();
    let verified = bench.run(&["images", "verify"]).done();
    assert!(verified.contains("no digest of it was kept") && !verified.contains("older"), "{verified}");
    let verified = bench.run(&["images", "verify"]).done();
    assert!(verified.trim_end().ends_with("whole"), "{verified}");
}
