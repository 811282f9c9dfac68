//! Servers that behave, and those that give something else than the image.

use std::net::TcpListener;
use std::process::Command;

use crate::bench::{Bench, image, packed, sum, xz};
use crate::server::{Reply, Server};

#[test]
fn downloads_once_whatever_the_kind() {
    for pack in ["xz -0 -c os.img", "zip -q -1 - os.img", "gzip -1 -c os.img", "cat os.img"] {
        let (bench, body) = (Bench::new(), packed(&image(), pack));
        let sha256 = sum(&body);
        let server = Server::new(move |_, _| Reply::whole(&body));
        let base = bench.brings(&server.url("os.img.xz"), sha256);
        // Port 9 answers nothing: the cache has it.
        assert_eq!(bench.fetch("http://127.0.0.1:9/os.img.xz", sha256).unwrap(), base, "{pack}");
        assert_eq!(server.asked().len(), 1);
    }
}

#[test]
fn the_digest_may_be_of_the_image() {
    let (bench, body) = (Bench::new(), xz());
    let server = Server::new(move |_, _| Reply::whole(&body));
    bench.brings(&server.url("os.img.xz"), sum(&image()));
}

#[test]
fn refuses_what_is_not_there() {
    for (status, hint) in [("404 Not Found", "check the image's URL"), ("500 Oh Dear", "run again later")] {
        let bench = Bench::new();
        let server = Server::new(move |_, _| Reply::new(status, &[("content-length", "0")], b""));
        let text = bench.refuses(&server.url("os.img.xz"), sum(b""));
        assert!(text.contains(&format!("the server answered {}", &status[..3])), "{text}");
        assert!(text.contains(hint), "{text}");
        assert_eq!(server.asked().len(), 1, "who never gave a byte is not asked twice");
    }
}

#[test]
fn refuses_other_bytes_than_promised_and_keeps_none_of_them() {
    let (bench, body) = (Bench::new(), xz());
    let server = Server::new(move |_, _| Reply::whole(&body));
    let text = bench.refuses_as(4, &server.url("os.img.xz"), sum(b"other"));
    assert!(text.contains("is not the one its sha256 promises"), "{text}");
    assert_eq!(bench.names("cache/downloads"), [""; 0], "the next run has to begin anew");
}

#[test]
fn a_page_is_told_from_an_image_before_it_is_downloaded() {
    let page = format!("<!DOCTYPE html><title>Sign in to this network</title>{}", " ".repeat(1000));
    for length in [60, page.len()] {
        let (bench, page) = (Bench::new(), page.as_bytes()[..length].to_vec());
        // More is announced than comes: whoever waits for the rest has not looked at the beginning.
        let announced = if length > 520 { 1 << 30 } else { length };
        let server = Server::new(move |_, _| Reply::announced(announced, &page));
        let text = bench.refuses(&server.url("os.img.xz"), sum(b"image"));
        assert!(text.contains("is no image: the server sent a web page"), "{text}");
        assert!(text.contains("open it in a browser"), "{text}");
        assert_eq!(bench.names("cache/downloads"), [""; 0]);
    }
}

#[test]
fn an_archive_that_is_not_unpacked_is_told_before_it_is_downloaded() {
    let unpackable = [
        ("os.tar.xz", "tar -cf - os.img | xz -0", "tar -xf os.tar.xz"),
        ("os.img.bz2", "bzip2 -c os.img", "bzip2 -dc os.img.bz2 > os.img"),
        ("os.zip", "zip -q -Z bzip2 - os.img", "unzip os.zip"),
    ];
    for (name, pack, command) in unpackable {
        let (bench, body) = (Bench::new(), packed(&image(), pack));
        // More is announced than comes: whoever waits for the rest has not looked at the beginning.
        let server = Server::new(move |_, _| Reply::announced(1 << 30, &body[..100_000]));
        let url = server.url(name);
        let text = bench.refuses(&url, sum(b"image"));
        assert!(text.contains("which builder does not unpack"), "{text}");
        assert!(text.contains(&format!("`curl -fL -o {name} {url} && {command}`")), "{text}");
        assert_eq!(bench.names("cache/downloads"), [""; 0]);
    }
}

#[test]
fn an_archive_that_turns_out_not_to_be_unpacked_is_downloaded_once() {
    for pack in [
        "echo read me > readme.txt; zip -q -Z bzip2 - readme.txt os.img",
        "cp os.img two.img; zip -q -0 - os.img two.img",
    ] {
        let (bench, body) = (Bench::new(), packed(&image(), pack));
        let sha256 = sum(&body);
        let server = Server::new(move |_, _| Reply::whole(&body));
        let first = bench.refuses(&server.url("os.zip"), sha256);
        let again = bench.refuses(&server.url("os.zip"), sha256);
        assert_eq!(first, again);
        assert_eq!(server.asked().len(), 1, "what was downloaded is kept");
        // The command unpacks what was downloaded.
        let command = first.split('`').nth(1).unwrap();
        assert!(command.starts_with("unzip /") && command.ends_with(".partial"), "{first}");
        let done = Command::new("sh").args(["-ec", command]).current_dir(bench.path("")).output().unwrap();
        assert!(done.status.success(), "{done:?}");
        assert!(std::fs::read(bench.path("os.img")).unwrap() == image());
    }
}

#[test]
fn says_that_nobody_answers() {
    let bench = Bench::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/os.img.xz", listener.local_addr().unwrap());
    drop(listener);
    let text = bench.refuses(&url, sum(b""));
    assert!(text.contains("cannot download") && text.contains("hint: check the network"), "{text}");
}

#[test]
fn follows_redirects_but_not_in_circles() {
    let (bench, body) = (Bench::new(), xz());
    let sha256 = sum(&body);
    let to = |place: &str| Reply::new("302 Found", &[("location", place), ("content-length", "0")], b"");
    let server = Server::new(move |request, _| match request.path.as_str() {
        "/os.img.xz" => to("/mirror/os.img.xz"),
        "/mirror/os.img.xz" => Reply::whole(&body),
        "/here" => to("/there"),
        "/there" => to("/here"),
        "/file" => to("file:///etc/passwd"),
        // Always further.
        path => to(&format!("{path}x")),
    });
    bench.brings(&server.url("os.img.xz"), sha256);
    let other = sum(b"other");
    for (path, reason) in
        [("here", "in a circle"), ("further", "more than 10 times"), ("file", "the server answered 302")]
    {
        let bench = Bench::new();
        let text = bench.refuses(&server.url(path), other);
        assert!(text.contains(reason), "{text}");
        assert_eq!(bench.names("cache/images"), [""; 0]);
    }
    assert!(server.asked().len() < 20);
}
