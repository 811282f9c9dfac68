//! Names without a date: the OS list says what they mean today, and `cluster.lock` what they mean from then on.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::bench::{Bench, SIZE, image, other_image, packed, sum, xz};
use crate::server::{Reply, Server};

const NAME: &str = "raspios-lite-arm64";
const CLUSTER: &str = "\
version: 1
cluster: red
image: raspios-lite-arm64
nodes: red[00-02]
user:
  name: ada
  authorized_keys: ['ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f ada@laptop']
";

/// A publisher: a list that can be exchanged, and images by date.
struct Publisher {
    server: Server,
    list: Arc<Mutex<Vec<u8>>>,
}

fn path(date: &str) -> String {
    format!("raspios_lite_arm64/images/raspios_lite_arm64-{date}/{date}-raspios-trixie-arm64-lite.img.xz")
}

impl Publisher {
    fn new(images: Vec<(&'static str, Vec<u8>)>) -> Self {
        let list = Arc::new(Mutex::new(Vec::new()));
        let shown = Arc::clone(&list);
        let server = Server::new(move |request, _| {
            if request.path == "/list.json" {
                return Reply::whole(&shown.lock().unwrap());
            }
            match images.iter().find(|(date, _)| request.path == format!("/{}", path(date))) {
                Some((_, body)) => Reply::good(request, body, "\"1\""),
                None => Reply::new("404 Not Found", &[("content-length", "0")], b""),
            }
        });
        Self { server, list }
    }

    fn says(&self, list: &Value) {
        *self.list.lock().unwrap() = list.to_string().into_bytes();
    }

    /// One image, as the official list has them: no digest of the file, one of the image.
    fn entry(&self, date: &str, image: &[u8]) -> Value {
        json!({
            "name": "Raspberry Pi OS Lite (64-bit)",
            "url": self.server.url(&path(date)),
            "release_date": date,
            "extract_size": image.len(),
            "extract_sha256": sum(image).to_string(),
            "image_download_sha256": "",
        })
    }

    fn lists(&self, date: &str, image: &[u8]) {
        let entry = self.entry(date, image);
        self.says(&json!({ "os_list": [{ "name": "Raspberry Pi OS (other)", "subitems": [entry] }] }));
    }

    /// What was asked for, without the part that all have in common.
    fn asked(&self) -> Vec<String> {
        let asked = self.server.asked();
        asked.iter().map(|request| request.path.rsplit('/').next().unwrap().to_owned()).collect()
    }
}

fn bench() -> Bench {
    let bench = Bench::new();
    std::fs::write(bench.path("cluster.yaml"), CLUSTER).unwrap();
    bench
}

fn pull(bench: &Bench, publisher: &Publisher, words: &[&str]) -> crate::bench::Ended {
    let list = publisher.server.url("list.json");
    bench.run(&[&["images", "pull", "--os-list", &list][..], words].concat())
}

fn lock(bench: &Bench) -> Value {
    serde_json::from_slice(&std::fs::read(bench.path("cluster.lock")).unwrap()).unwrap()
}

#[test]
fn the_next_card_is_made_from_the_same_image() {
    let (old, new) = (xz(), packed(&other_image(2), "xz -0 -c os.img"));
    let publisher = Publisher::new(vec![("2026-06-18", old.clone()), ("2026-10-06", new.clone())]);
    publisher.lists("2026-06-18", &image());
    let bench = bench();
    let out = pull(&bench, &publisher, &[]).done();
    assert!(out.starts_with(NAME) && out.contains(&sum(&image()).to_string()), "{out}");
    let pinned = lock(&bench);
    let entry = &pinned["images"][NAME];
    assert_eq!(entry["release_date"], "2026-06-18");
    assert_eq!(entry["extract_sha256"], sum(&image()).to_string());
    assert_eq!(entry["image_download_sha256"], sum(&old).to_string(), "seen, and demanded from now on");
    assert_eq!(entry["extract_size"], SIZE);

    // A newer release changes nothing, in this folder and in a copy of it on another computer.
    publisher.lists("2026-10-06", &other_image(2));
    let asked = publisher.asked().len();
    pull(&bench, &publisher, &[]).done();
    assert_eq!(publisher.asked().len(), asked, "all is here");
    std::fs::remove_dir_all(bench.path("cache")).unwrap();
    pull(&bench, &publisher, &[]).done();
    assert_eq!(
        publisher.asked()[asked..],
        ["2026-06-18-raspios-trixie-arm64-lite.img.xz"],
        "nor is the list asked"
    );
    assert_eq!(lock(&bench), pinned);

    // Until somebody wants it.
    let out = pull(&bench, &publisher, &["--update"]).done();
    assert!(out.contains(&sum(&other_image(2)).to_string()), "{out}");
    assert_eq!(lock(&bench)["images"][NAME]["image_download_sha256"], sum(&new).to_string());
}

#[test]
fn the_very_bytes_of_the_lock_are_demanded() {
    let (first, packed_otherwise) = (xz(), packed(&image(), "xz -1 -T1 --block-size=1MiB -c os.img"));
    assert_ne!(sum(&first), sum(&packed_otherwise));
    let publisher = Publisher::new(vec![("2026-06-18", first.clone())]);
    publisher.lists("2026-06-18", &image());
    let bench = bench();
    pull(&bench, &publisher, &[]).done();
    // Somebody else now has that address.
    let text = lock(&bench).to_string();
    let other = Publisher::new(vec![("2026-06-18", packed_otherwise)]);
    let (from, to) = (publisher.server.url(""), other.server.url(""));
    std::fs::write(bench.path("cluster.lock"), text.replace(&from, &to)).unwrap();
    std::fs::remove_dir_all(bench.path("cache")).unwrap();
    let said = pull(&bench, &other, &[]).failed(4);
    assert!(said.contains("is not the one its sha256 promises"), "{said}");
    assert!(said.contains(&sum(&first).to_string()) && said.contains("--update"), "{said}");
    assert_eq!(bench.names("cache/downloads"), [""; 0]);
}

#[test]
fn the_digest_of_another_archive_of_the_same_image_is_not_pinned() {
    let publisher = Publisher::new(vec![("2026-06-18", xz())]);
    publisher.lists("2026-06-18", &image());
    let bench = bench();
    std::fs::write(bench.path("own.img.gz"), packed(&image(), "gzip -1 -c os.img")).unwrap();
    bench.run(&["images", "pull", "own.img.gz"]).done();
    pull(&bench, &publisher, &[]).done();
    assert_eq!(publisher.asked(), ["list.json"], "the image is here already");
    let entry = &lock(&bench)["images"][NAME];
    assert_eq!(entry["image_download_sha256"], Value::Null);
    assert_eq!(entry["extract_sha256"], sum(&image()).to_string());
}

#[test]
fn an_image_that_unpacks_to_something_else_is_refused() {
    let publisher = Publisher::new(vec![("2026-06-18", xz())]);
    publisher.lists("2026-06-18", &image()[..SIZE / 2]);
    let said = pull(&bench(), &publisher, &[]).failed(1);
    assert!(said.contains("unpacks to more than the image it should be"), "{said}");
    publisher.lists("2026-06-18", &other_image(2));
    let bench = bench();
    let said = pull(&bench, &publisher, &[]).failed(4);
    assert!(said.contains("is not the one its sha256 promises"), "{said}");
    assert_eq!(bench.names("cache/images"), [""; 0]);
    assert_eq!(bench.names("cache/downloads"), [""; 0]);
    let seen = &lock(&bench)["images"][NAME];
    assert_eq!(seen["image_download_sha256"], Value::Null, "what was refused is not demanded");
    // The list is put right; so is the lock, if that is wanted.
    publisher.lists("2026-06-18", &image());
    pull(&bench, &publisher, &["--update"]).done();
    assert_eq!(lock(&bench)["images"][NAME]["extract_sha256"], sum(&image()).to_string());
}

#[test]
fn a_file_of_another_length_than_known_is_refused_at_once() {
    let body = xz();
    for (size, reason) in [
        (body.len() - 1, "bytes there, the image has"),
        (body.len() + 1, "bytes there, the image has"),
        (body.len() / 2, "the server sends more than"),
    ] {
        let body = body.clone();
        let announced = reason.starts_with("bytes");
        let server = Server::new(move |_, _| match announced {
            true => Reply::whole(&body),
            false => Reply::new("200 OK", &[], &body),
        });
        let lock = json!({ "version": 1, "images": { NAME: {
            "release_date": "2026-06-18",
            "url": server.url(&path("2026-06-18")),
            "image_download_size": size,
            "extract_sha256": sum(&image()).to_string(),
        }}});
        let bench = bench();
        std::fs::write(bench.path("cluster.lock"), lock.to_string()).unwrap();
        bench.hosts().confirm_mirror(&server.url("list.json").parse().unwrap()).unwrap();
        let said = bench.run(&["images", "pull"]).failed(1);
        assert!(said.contains(reason), "{said}");
        assert_eq!(server.asked().len(), 1);
        assert_eq!(bench.names("cache/downloads"), [""; 0]);
    }
}

#[test]
fn a_list_that_cannot_be_used_writes_no_lock() {
    let publisher = Publisher::new(Vec::new());
    let huge = vec![b' '; 9 << 20];
    let page = b"<!DOCTYPE html><title>Sign in</title>".to_vec();
    let empty = json!({ "os_list": [] }).to_string().into_bytes();
    for (list, reason) in
        [(huge, "sends more than"), (page, "it is no JSON"), (empty, "does not have raspios-lite-arm64")]
    {
        *publisher.list.lock().unwrap() = list;
        let bench = bench();
        let said = pull(&bench, &publisher, &[]).failed(1);
        assert!(said.contains(reason) && said.contains("image: raspios-lite-arm64-2026-10-06"), "{said}");
        assert!(!bench.path("cluster.lock").exists());
    }
    let bench = bench();
    let absent = publisher.server.url("absent.json");
    let said = bench.run(&["images", "pull", "--os-list", &absent]).failed(1);
    assert!(said.contains("the server answered 404"), "{said}");
    let said = bench.run(&["images", "pull", "--os-list", "ftp://example.org/list.json"]);
    assert_eq!(said.code, Some(2), "{}", said.said);
}

#[test]
fn a_damaged_lock_is_neither_used_nor_replaced() {
    let publisher = Publisher::new(vec![("2026-06-18", xz())]);
    publisher.lists("2026-06-18", &image());
    let bench = bench();
    std::fs::write(bench.path("cluster.lock"), "{\"version\": 1, \"ima").unwrap();
    for words in [&["images", "pull"][..], &["images", "list"], &["plan"], &["images", "pull", "--update"]] {
        let said = bench.run(words).failed(2);
        assert!(said.contains("cluster.lock is damaged") && said.contains("git checkout"), "{said}");
    }
    assert_eq!(std::fs::read(bench.path("cluster.lock")).unwrap(), b"{\"version\": 1, \"ima");
    assert_eq!(publisher.asked(), [""; 0]);
}

#[test]
fn another_name_in_the_cluster_file_is_not_served_from_the_lock() {
    let publisher = Publisher::new(vec![("2026-06-18", xz())]);
    publisher.lists("2026-06-18", &image());
    let bench = bench();
    pull(&bench, &publisher, &[]).done();
    std::fs::write(bench.path("cluster.yaml"), CLUSTER.replace(NAME, "raspios-lite-armhf")).unwrap();
    let said = pull(&bench, &publisher, &[]).failed(1);
    assert!(said.contains("does not have raspios-lite-armhf"), "{said}");
}
