//! The real program, killed in the middle of a download, and run again.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};

use rustix::process::{Pid, Signal, kill_process};

use crate::bench::{Bench, Ended, image, sum, xz};
use crate::server::{Reply, Request, Server};

/// Gives two thirds of the file to who asks first, and then nothing until told; the rest of it to who asks later.
/// The numbers are bytes of bodies that were given away.
fn stalling(body: Vec<u8>) -> (Server, Sender<()>, Receiver<usize>) {
    let ((go_on, wait), (count, counted)) = (channel(), channel());
    let wait = Mutex::new(wait);
    let server = Server::streaming(move |request: &Request, before, stream: &mut TcpStream| {
        let reply = Reply::good(request, &body, "\"1\"").0;
        let length = body.len() - request.offset().unwrap_or(0);
        if before == 0 {
            stream.write_all(&reply[..reply.len() - length / 3]).unwrap();
            count.send(length - length / 3).unwrap();
            // The connection stays open as long as the other side lives.
            wait.lock().unwrap().recv().unwrap();
        } else {
            stream.write_all(&reply).unwrap();
            count.send(length).unwrap();
        }
    });
    (server, go_on, counted)
}

/// Waits until half of the download is in the cache.
fn half_way(child: &mut Child) {
    let said = BufReader::new(child.stderr.take().unwrap());
    let half = said.lines().map(Result::unwrap).find(|line| line.starts_with("download: 50 %"));
    assert!(half.is_some(), "it ended before half of it was there");
}

#[test]
fn what_came_before_a_death_is_not_downloaded_again() {
    // Not Ctrl-C: a test that runs in the background has inherited that it is ignored.
    for signal in [Signal::KILL, Signal::TERM] {
        let (bench, body) = (Bench::new(), xz());
        let (sha256, length) = (sum(&body).to_string(), body.len());
        let (server, go_on, counted) = stalling(body);
        let url = server.url("os.img.xz");
        let words = ["images", "pull", &url, "--sha256", &sha256];
        let mut child = bench.builder(&words).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        half_way(&mut child);
        kill_process(Pid::from_child(&child), signal).unwrap();
        assert!(!child.wait().unwrap().success());
        go_on.send(()).unwrap();
        assert_eq!(bench.names("cache/images"), [""; 0]);
        let kept = bench.so_far();
        assert!(kept >= length / 2, "{kept} of {length} bytes were kept");

        let out = bench.run(&words).done();
        assert!(out.contains("3.0 MiB"), "{out}");
        assert_eq!(server.asked()[1].offset(), Some(kept));
        assert_eq!(server.asked().len(), 2);
        let (first, second) = (counted.recv().unwrap(), counted.recv().unwrap());
        assert!(second < length && second == length - kept, "{second} of {length} bytes came again");
        assert_eq!(first, length - length / 3);
        let names = bench.names("cache/images");
        assert_eq!(names.len(), 2, "{names:?}");
        let made = names.iter().find(|name| name.ends_with(".img")).unwrap();
        assert!(std::fs::read(bench.path("cache/images").join(made)).unwrap() == image());
        assert_eq!(bench.names("cache/downloads"), [""; 0]);
    }
}

#[test]
fn what_was_downloaded_stays_where_there_is_no_room_to_unpack_it() {
    let (bench, body) = (Bench::new(), xz());
    let (sha256, length) = (sum(&body), body.len());
    let server = Server::new(move |_, _| Reply::whole(&body));
    let (url, text) = (server.url("os.img.xz"), sha256.to_string());
    drop(bench.cache());
    // A file system of 1 MiB, seen by this process only and gone with it.
    let script = "mount -t tmpfs -o size=1m none cache/images && exec \"$0\" \"$@\"";
    let output = Command::new("unshare")
        .args(["--mount", "--map-root-user", "sh", "-c", script, env!("CARGO_BIN_EXE_builder")])
        .args(["--cache", "cache", "images", "pull", &url, "--sha256", &text])
        .env_remove("SUDO_UID")
        .current_dir(bench.path(""))
        .output()
        .unwrap();
    let said = Ended::from(&output).failed(1);
    assert!(said.contains("no space left in cache/images"), "{said}");
    assert_eq!(bench.so_far(), length);
    bench.brings(&url, sha256);
    assert_eq!(server.asked().len(), 1);
}
