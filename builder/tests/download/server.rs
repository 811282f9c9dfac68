//! A web server that does as it is told, and remembers what it was asked.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// What somebody asked.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) path: String,
    head: String,
}

impl Request {
    fn read(stream: &mut TcpStream) -> Option<Self> {
        let (mut head, mut byte) = (Vec::new(), [0]);
        while !head.ends_with(b"\r\n\r\n") {
            if stream.read(&mut byte).ok()? == 0 {
                return None;
            }
            head.extend(byte);
        }
        let head = String::from_utf8(head).unwrap();
        let path = head.split(' ').nth(1).unwrap().to_owned();
        Some(Self { path, head })
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    /// Where the wanted range begins.
    pub(crate) fn offset(&self) -> Option<usize> {
        self.header("range")?.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
    }
}

/// An answer: bytes, and then the end of the connection.
#[derive(Debug, Clone)]
pub(crate) struct Reply(pub(crate) Vec<u8>);

impl Reply {
    pub(crate) fn new(status: &str, headers: &[(&str, &str)], body: &[u8]) -> Self {
        let mut bytes = format!("HTTP/1.1 {status}\r\nconnection: close\r\n").into_bytes();
        for (name, value) in headers {
            bytes.extend(format!("{name}: {value}\r\n").bytes());
        }
        bytes.extend(b"\r\n");
        bytes.extend(body);
        Self(bytes)
    }

    /// The whole.
    pub(crate) fn whole(body: &[u8]) -> Self {
        Self::announced(body.len(), body)
    }

    /// A body, and what is said of its length.
    pub(crate) fn announced(length: usize, body: &[u8]) -> Self {
        Self::new("200 OK", &[("content-length", &length.to_string()), ("etag", "\"1\"")], body)
    }

    /// What a good server gives: the range that is asked for, if it is of this very file.
    pub(crate) fn good(request: &Request, body: &[u8], etag: &str) -> Self {
        let same = request.header("if-range").is_none_or(|wanted| wanted == etag);
        let tag = ("etag", etag);
        match request.offset().filter(|_| same) {
            None => Self::new("200 OK", &[("content-length", &body.len().to_string()), tag], body),
            Some(offset) => {
                let range = format!("bytes {offset}-{}/{}", body.len() - 1, body.len());
                let length = (body.len() - offset).to_string();
                let headers = [("content-length", length.as_str()), ("content-range", &range), tag];
                Self::new("206 Partial Content", &headers, &body[offset..])
            }
        }
    }

    /// The same, with the connection lost so many bytes before the end.
    pub(crate) fn short_of(self, missing: usize) -> Self {
        Self(self.0[..self.0.len() - missing].to_vec())
    }
}

/// A server on a port of its own.
pub(crate) struct Server {
    address: String,
    asked: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    /// Answers each request with what `answer` makes of it and of the number of those before it.
    pub(crate) fn new(answer: impl Fn(&Request, usize) -> Reply + Send + Sync + 'static) -> Self {
        Self::streaming(move |request, before, stream| {
            // Whoever was killed does not listen to the end.
            let _gone = stream.write_all(&answer(request, before).0);
        })
    }

    /// The same, with the connection itself.
    pub(crate) fn streaming(
        answer: impl Fn(&Request, usize, &mut TcpStream) + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (remembered, answer) = (Arc::clone(&asked), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (remembered, answer) = (Arc::clone(&remembered), Arc::clone(&answer));
                std::thread::spawn(move || {
                    let mut stream = stream.unwrap();
                    let Some(request) = Request::read(&mut stream) else { return };
                    let before = {
                        let mut remembered = remembered.lock().unwrap();
                        remembered.push(request.clone());
                        remembered.len() - 1
                    };
                    answer(&request, before, &mut stream);
                });
            }
        });
        Self { address, asked }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    /// All requests so far.
    pub(crate) fn asked(&self) -> Vec<Request> {
        self.asked.lock().unwrap().clone()
    }
}
