//! The real apt with the settings that a node gets for its proxy. The proxy is a few lines of ours: it answers by itself and
//! remembers what it was asked (RFC 9112, 3.2.2 and 3.2.3).

#![expect(clippy::unwrap_used, reason = "a test that cannot set up its fixture has to stop")]

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

use cluster::card::Card;
use cluster::proxy::Proxy;
use cluster::secret::Secret;
use firstboot::steps::docker::proxy;

/// `ada:p@ss` as RFC 7617 writes it.
const LOGIN: &str = "Proxy-Authorization: Basic YWRhOnBAc3M=";

/// The heads of the requests so far, line by line.
type Asked = Arc<Mutex<Vec<Vec<String>>>>;

fn serve() -> (SocketAddr, Asked) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let asked = Asked::default();
    let heard = Arc::clone(&asked);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let head: Vec<_> = lines.map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
            let is_tunnel = head.first().is_some_and(|line| line.starts_with("CONNECT "));
            heard.lock().unwrap().push(head);
            let answer = match is_tunnel {
                true => "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
                false => "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello",
            };
            // Who asked may be gone.
            let _unheard = stream.write_all(answer.as_bytes());
        }
    });
    (address, asked)
}

#[test]
fn apt_fetches_through_the_proxy_and_logs_in_to_it() {
    let (address, asked) = serve();
    let folder = tempfile::tempdir().unwrap();
    let url = || Some(Secret::new(format!("http://ada:p%40ss@{address}")));
    let proxy = Proxy { http: url(), https: url(), no_proxy: vec!["127.0.0.1".to_owned()] };
    let card = Card::from_json(include_bytes!("../../cluster/tests/corpus/card/plain.json")).unwrap();
    let own = "Dir::Etc::main \"/dev/null\";\nDir::Etc::parts \"/dev/null\";\nAcquire::Retries \"0\";\nAPT::Sandbox::User \"root\";\n";
    fs::write(folder.path().join("apt.conf"), format!("{own}{}", proxy::apt(&proxy, &card))).unwrap();
    let fetch = |url: &str| -> (Output, Vec<Vec<String>>) {
        asked.lock().unwrap().clear();
        let output = Command::new("/usr/lib/apt/apt-helper")
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("APT_CONFIG", folder.path().join("apt.conf"))
            .args(["download-file", url])
            .arg(folder.path().join("file"))
            .output()
            .unwrap();
        (output, asked.lock().unwrap().clone())
    };

    let (output, heard) = fetch("http://mirror.invalid/debian/file");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(fs::read(folder.path().join("file")).unwrap(), b"hello");
    assert_eq!(heard[0][0], "GET http://mirror.invalid/debian/file HTTP/1.1");
    assert!(heard[0].iter().any(|line| line == LOGIN), "{heard:?}");

    // The tunnel is refused: that it is asked for is what counts.
    let (_, heard) = fetch("https://mirror.invalid/debian/file");
    assert_eq!(heard[0][0], "CONNECT mirror.invalid:443 HTTP/1.1");
    assert!(heard[0].iter().any(|line| line == LOGIN), "{heard:?}");

    let (output, heard) = fetch(&format!("http://{address}/direct"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(heard[0][0], "GET /direct HTTP/1.1");
    assert!(!heard[0].iter().any(|line| line.starts_with("Proxy-")), "{heard:?}");
}
