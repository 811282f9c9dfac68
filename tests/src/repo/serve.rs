//! A folder over HTTP: just enough of it for apt.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, Result};

/// A server that runs until it is dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    listener: TcpListener,
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Serves the files of `folder` on a free port.
    pub(super) fn start(folder: &Path, address: Ipv4Addr) -> Result<Self> {
        let listener =
            TcpListener::bind((address, 0)).with_context(|| format!("cannot listen on {address}"))?;
        let address = listener.local_addr().context("cannot ask for the port")?;
        let stopping = Arc::new(AtomicBool::new(false));
        let (folder, is_stopping) = (folder.to_owned(), Arc::clone(&stopping));
        let accepting = listener.try_clone().context("cannot share the listener")?;
        let thread = thread::spawn(move || {
            for stream in accepting.incoming() {
                if is_stopping.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let folder = folder.clone();
                // A client that goes away in the middle is its own affair.
                thread::spawn(move || drop(answer(&stream, &folder)));
            }
        });
        Ok(Self { address, listener, stopping, thread: Some(thread) })
    }

    /// Base URL, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::SeqCst);
        // Wakes the thread, also when the address has gone with its bridge and nobody could connect any more.
        if rustix::net::shutdown(&self.listener, rustix::net::Shutdown::Both).is_err() {
            return;
        }
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// Answers the requests of one connection, one after the other.
fn answer(mut stream: &TcpStream, folder: &Path) -> Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut lines = BufReader::new(stream).lines();
    while let Some(request) = lines.next().transpose()? {
        while lines.next().transpose()?.is_some_and(|header| !header.is_empty()) {}
        let mut words = request.split(' ');
        let with_body = words.next() == Some("GET");
        let file = words.next().and_then(|path| find(folder, path)).and_then(|path| fs::read(path).ok());
        let (status, body) = file.map_or(("404 Not Found", Vec::new()), |file| ("200 OK", file));
        write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", body.len())?;
        if with_body {
            stream.write_all(&body)?;
        }
    }
    Ok(())
}

/// The file a path of a URL means; nothing outside the folder.
fn find(folder: &Path, path: &str) -> Option<PathBuf> {
    // What apt escapes in the names of this repository.
    let path = path.replace("%3a", ":").replace("%2b", "+").replace("%7e", "~").replace("%7E", "~");
    let relative = Path::new(path.trim_start_matches('/')).to_owned();
    relative.components().all(|part| matches!(part, Component::Normal(_))).then(|| folder.join(relative))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_never_leads_out_of_the_folder() {
        assert_eq!(find(Path::new("/r"), "/dists/a%7eb"), Some(PathBuf::from("/r/dists/a~b")));
        assert_eq!(find(Path::new("/r"), "/../etc/passwd"), None);
        assert_eq!(find(Path::new("/r"), "//etc/passwd"), Some(PathBuf::from("/r/etc/passwd")));
    }
}
