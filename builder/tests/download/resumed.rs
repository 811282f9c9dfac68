//! Downloads that break off and go on, and servers whose words about lengths and ranges are wrong.

use std::sync::{Arc, Barrier};

use crate::bench::{Bench, image, other_image, packed, sum, xz};
use crate::server::{Reply, Server};

#[test]
fn takes_up_a_dropped_connection_where_it_broke() {
    let (bench, body) = (Bench::new(), xz());
    let (sha256, length) = (sum(&body), body.len());
    let server = Server::new(move |request, before| {
        let reply = Reply::good(request, &body, "\"1\"");
        if before < 2 { reply.short_of(length / 3) } else { reply }
    });
    bench.brings(&server.url("os.img.xz"), sha256);
    let asked = server.asked();
    let offsets: Vec<_> = asked.iter().map(|request| request.offset().unwrap_or(0)).collect();
    // The second attempt breaks a third before the end, too: it brings nothing, and is forgiven.
    let broke = length - length / 3;
    assert_eq!(offsets, [0, broke, broke]);
    assert!(asked[1..].iter().all(|request| request.header("if-range") == Some("\"1\"")));
}

#[test]
fn a_server_that_knows_no_ranges_begins_anew() {
    let (bench, body) = (Bench::new(), xz());
    let sha256 = sum(&body);
    let server = Server::new(move |_, before| {
        let reply = Reply::whole(&body);
        if before == 0 { reply.short_of(body.len() / 2) } else { reply }
    });
    bench.brings(&server.url("os.img.xz"), sha256);
    assert_eq!(server.asked().len(), 2);
}

#[test]
fn a_range_that_does_not_fit_is_not_sewn_on() {
    for wrong in
        ["bytes 0-{end}/{length}", "bytes 7-{end}/{length}", "bytes {offset}-{end}/{longer}", "nonsense"]
    {
        let (bench, body) = (Bench::new(), xz());
        let (sha256, length) = (sum(&body), body.len());
        let server = Server::new(move |request, before| match request.offset() {
            _ if before == 0 => Reply::whole(&body).short_of(length / 2),
            None => Reply::whole(&body),
            Some(offset) => {
                let range = wrong
                    .replace("{offset}", &offset.to_string())
                    .replace("{end}", &(length - 1).to_string())
                    .replace("{length}", &length.to_string())
                    .replace("{longer}", &(length + 1).to_string());
                let rest = &body[offset..];
                let announced = rest.len().to_string();
                let headers = [("content-length", announced.as_str()), ("content-range", &range)];
                Reply::new("206 Partial Content", &headers, rest)
            }
        });
        bench.brings(&server.url("os.img.xz"), sha256);
        assert_eq!(server.asked().len(), 3, "{wrong}");
    }
}

#[test]
fn another_file_at_the_same_address_begins_anew() {
    for conditional in [true, false] {
        let bench = Bench::new();
        let (old, new) = (packed(&other_image(2), "xz -0 -c os.img"), xz());
        let sha256 = sum(&new);
        let server = Server::new(move |request, before| match before {
            0 => Reply::good(request, &old, "\"old\"").short_of(old.len() / 2),
            // A server that looks at the condition gives the whole; one that does not gives a part of the new file.
            1 if !conditional => {
                let offset = request.offset().unwrap();
                let range = format!("bytes {offset}-{}/{}", new.len() - 1, new.len());
                let length = (new.len() - offset).to_string();
                let headers =
                    [("content-length", length.as_str()), ("content-range", &range), ("etag", "\"new\"")];
                Reply::new("206 Partial Content", &headers, &new[offset..])
            }
            _ => Reply::good(request, &new, "\"new\""),
        });
        bench.brings(&server.url("os.img.xz"), sha256);
        assert_eq!(server.asked().len(), if conditional { 2 } else { 3 });
    }
}

#[test]
fn gives_up_in_the_end_and_the_next_run_goes_on() {
    let (bench, body) = (Bench::new(), xz());
    let (sha256, length) = (sum(&body), body.len());
    // Half of it, and from then on nothing.
    let server = Server::new(move |request, _| match request.offset() {
        None => Reply::whole(&body).short_of(length / 2),
        Some(offset) => Reply::good(request, &body, "\"1\"").short_of(length - offset),
    });
    let url = server.url("os.img.xz");
    let text = bench.refuses(&url, sha256);
    assert!(text.contains("run again: it goes on where it stopped"), "{text}");
    let asked = server.asked().len();
    assert!((3..10).contains(&asked), "asked {asked} times");
    assert_eq!(bench.so_far(), length - length / 2);
    let text = bench.refuses(&url, sha256);
    assert!(text.contains("cannot download"), "{text}");
    assert_eq!(server.asked().len(), asked + 1, "nothing came in this run: it is not asked twice");
    assert_eq!(server.asked().last().unwrap().offset(), Some(length - length / 2));
}

#[test]
fn a_server_in_trouble_in_the_middle_is_asked_again() {
    let (bench, body) = (Bench::new(), xz());
    let sha256 = sum(&body);
    let server = Server::new(move |request, before| match before {
        0 => Reply::whole(&body).short_of(body.len() / 2),
        1 => Reply::new("503 Service Unavailable", &[("content-length", "0")], b""),
        _ => Reply::good(request, &body, "\"1\""),
    });
    bench.brings(&server.url("os.img.xz"), sha256);
    assert_eq!(server.asked().len(), 3);
}

#[test]
fn the_digest_decides_where_more_is_announced_than_comes() {
    let (bench, body) = (Bench::new(), xz());
    let sha256 = sum(&body);
    let server = Server::new(move |_, _| Reply::announced(body.len() + 1000, &body));
    bench.brings(&server.url("os.img.xz"), sha256);
    assert_eq!(server.asked().len(), 1);
}

#[test]
fn refuses_a_body_that_is_always_shorter_than_announced() {
    let (bench, body) = (Bench::new(), xz());
    let (sha256, half) = (sum(&body), body[..body.len() / 2].to_vec());
    let server = Server::new(move |_, _| Reply::announced(body.len(), &half));
    let text = bench.refuses(&server.url("os.img.xz"), sha256);
    assert!(text.contains("cannot download http://127.0.0.1") && text.contains("run again"), "{text}");
    assert!(server.asked().len() < 10);
}

#[test]
fn refuses_a_body_that_is_longer_than_announced_or_says_nothing_of_its_length() {
    for headers in [&[("content-length", "1500000")][..], &[]] {
        let (bench, body) = (Bench::new(), xz());
        let sha256 = sum(&body);
        // Of what is longer than announced only the announced part is read; of the other, half comes.
        let part = if headers.is_empty() { body[..body.len() / 2].to_vec() } else { body };
        let server = Server::new(move |_, _| Reply::new("200 OK", headers, &part));
        let text = bench.refuses_as(4, &server.url("os.img.xz"), sha256);
        assert!(text.contains("is not the one its sha256 promises"), "{text}");
        assert_eq!(bench.names("cache/downloads"), [""; 0]);
    }
}

#[test]
fn two_at_once_download_once() {
    let (bench, body) = (Bench::new(), xz());
    let sha256 = sum(&body);
    let server = Server::new(move |_, _| Reply::whole(&body));
    let (url, start) = (server.url("os.img.xz"), Arc::new(Barrier::new(2)));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                start.wait();
                let base = bench.fetch(&url, sha256).unwrap();
                assert!(std::fs::read(base.path).unwrap() == image());
            });
        }
    });
    assert_eq!(server.asked().len(), 1);
    assert_eq!(bench.names("cache/downloads"), [""; 0]);
}
