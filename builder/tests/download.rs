//! Images from a server that behaves, and from servers that do not.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up has to stop")]

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;

use builder::cache::Cache;
use builder::error::{Failure, Kind};
use builder::fetch::{self, Base, digest};
use builder::report::Progress;
use cluster::spec::ImageSource;
use tempfile::TempDir;

/// Answers every request with the same bytes, head included.
fn serve(answer: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            reply(stream.unwrap(), &answer);
        }
    });
    format!("http://{address}/os.img.xz")
}

fn reply(mut stream: TcpStream, answer: &[u8]) {
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
        request.extend(byte);
    }
    stream.write_all(answer).unwrap();
}

fn ok(length: usize, body: &[u8]) -> Vec<u8> {
    let mut answer =
        format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n").into_bytes();
    answer.extend(body);
    answer
}

fn image() -> Vec<u8> {
    let mut image = vec![0; 1 << 20];
    image.iter_mut().step_by(7).for_each(|byte| *byte = 7);
    for (at, value) in [(510, 0x55), (511, 0xaa)] {
        *image.get_mut(at).unwrap() = value;
    }
    image
}

fn packed(folder: &TempDir, pack: &str) -> Vec<u8> {
    let (from, to) = (folder.path().join("os.img"), folder.path().join("packed"));
    fs::write(&from, image()).unwrap();
    let script = format!("{pack} > {}", to.display());
    assert!(Command::new("sh").args(["-c", &script]).current_dir(folder.path()).status().unwrap().success());
    fs::read(to).unwrap()
}

fn fetch(folder: &TempDir, url: &str, sha256: &str) -> Result<Base, Failure> {
    let source = ImageSource { location: url.to_owned(), sha256: Some(sha256.to_owned()) };
    let cache = Cache::open(Some(folder.path())).unwrap();
    fetch::base(&source, folder.path(), &cache, &Progress::new(true, false))
}

fn refused(folder: &TempDir, url: &str, sha256: &str) -> String {
    let failure = fetch(folder, url, sha256).unwrap_err();
    assert_eq!(failure.kind(), Kind::Failed);
    assert_eq!(fs::read_dir(folder.path().join("images")).unwrap().count(), 0);
    failure.render()
}

#[test]
fn downloads_once_whatever_the_kind() {
    for pack in ["xz -c os.img", "zip -q - os.img", "gzip -c os.img", "cat os.img"] {
        let folder = tempfile::tempdir().unwrap();
        let body = packed(&folder, pack);
        let sha256 = digest::of_bytes(&body).to_string();
        let base = fetch(&folder, &serve(ok(body.len(), &body)), &sha256).unwrap();
        assert!(fs::read(&base.path).unwrap() == image(), "{pack}");
        // Port 9 answers nothing: the cache has it.
        assert_eq!(fetch(&folder, "http://127.0.0.1:9/os.img.xz", &sha256).unwrap(), base);
    }
}

#[test]
fn the_digest_may_be_of_the_image() {
    let folder = tempfile::tempdir().unwrap();
    let body = packed(&folder, "xz -c os.img");
    let sha256 = digest::of_bytes(&image()).to_string();
    assert!(fetch(&folder, &serve(ok(body.len(), &body)), &sha256).is_ok());
}

#[test]
fn refuses_a_body_shorter_than_announced() {
    let folder = tempfile::tempdir().unwrap();
    let body = packed(&folder, "xz -c os.img");
    let sha256 = digest::of_bytes(&body).to_string();
    let half = body.get(..body.len() / 2).unwrap();
    let text = refused(&folder, &serve(ok(body.len(), half)), &sha256);
    assert!(text.contains("cannot download http://127.0.0.1") && text.contains("run again"), "{text}");
}

#[test]
fn refuses_a_short_body_that_announced_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let body = packed(&folder, "xz -c os.img");
    let sha256 = digest::of_bytes(&body).to_string();
    let mut answer = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n".to_vec();
    answer.extend(body.get(..body.len() / 2).unwrap());
    assert!(refused(&folder, &serve(answer), &sha256).contains("is not the one its sha256 promises"));
}

#[test]
fn refuses_what_is_not_there() {
    let folder = tempfile::tempdir().unwrap();
    let sha256 = digest::of_bytes(b"").to_string();
    let answer = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".to_vec();
    let text = refused(&folder, &serve(answer), &sha256);
    assert!(text.contains("the server answered 404"), "{text}");
}

#[test]
fn refuses_other_bytes_than_promised() {
    let folder = tempfile::tempdir().unwrap();
    let body = packed(&folder, "xz -c os.img");
    let sha256 = digest::of_bytes(b"other").to_string();
    assert!(
        refused(&folder, &serve(ok(body.len(), &body)), &sha256)
            .contains("is not the one its sha256 promises")
    );
    let page = b"<!DOCTYPE html><title>Sign in to this network</title>";
    assert!(
        refused(&folder, &serve(ok(page.len(), page)), &sha256)
            .contains("is not the one its sha256 promises")
    );
}

#[test]
fn says_that_nobody_answers() {
    let folder = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/os.img.xz", listener.local_addr().unwrap());
    drop(listener);
    let text = refused(&folder, &url, &digest::of_bytes(b"").to_string());
    assert!(text.contains("cannot download") && text.contains("hint: check the network"), "{text}");
}
