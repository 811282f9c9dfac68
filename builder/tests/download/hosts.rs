//! A cluster file and a lock from somebody else: which servers they can have this computer ask, and for what.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::bench::{Bench, Ended, image, other_image, packed, sum, xz};
use crate::server::{Reply, Server};

const NAME: &str = "raspios-lite-arm64";
/// What the address of that series has in its path.
const PATH: &str =
    "raspios_lite_arm64/images/raspios_lite_arm64-2026-11-20/2026-11-20-raspios-trixie-arm64-lite.img.xz";

fn cluster(bench: &Bench, name: &str, image: &str) {
    let text = format!(
        "version: 1\ncluster: red\nimage: {image}\nnodes: red[00-02]\nuser:\n  name: ada\n  \
         authorized_keys: ['ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f']\n"
    );
    fs::write(bench.path(name), text).unwrap();
}

/// A cluster file with an image at that address.
fn cluster_of(bench: &Bench, url: &str) {
    cluster(bench, "cluster.yaml", &format!("{url}\nimage_sha256: {}", sum(&xz())));
}

fn lock(bench: &Bench, release: &Value) {
    let lock = json!({ "version": 1, "images": { NAME: release } });
    fs::write(bench.path("cluster.lock"), lock.to_string()).unwrap();
}

fn release(url: &str) -> Value {
    json!({
        "release_date": "2026-11-20",
        "url": url,
        "image_download_sha256": sum(&xz()).to_string(),
        "extract_sha256": sum(&image()).to_string(),
    })
}

fn serving(body: Vec<u8>) -> Server {
    Server::new(move |_, _| Reply::whole(&body))
}

/// The program at a terminal, as `script` makes one (util-linux), with that answer typed.
fn at_a_terminal(bench: &Bench, words: &[&str], answer: &str) -> Ended {
    let program = bench.builder(words);
    let words = std::iter::once(program.get_program()).chain(program.get_args());
    let line: Vec<_> = words.map(|word| word.to_str().unwrap()).collect();
    let mut script = Command::new("script");
    script.current_dir(bench.path("")).env_clear().env("HOME", bench.path("")).env("PATH", "/usr/bin:/bin");
    script.args(["--quiet", "--return", "--command", &line.join(" "), "/dev/null"]);
    let mut child =
        script.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(answer.as_bytes()).unwrap();
    let ended = Ended::from(&child.wait_with_output().unwrap());
    drop(stdin);
    ended
}

#[test]
fn no_unconfirmed_host_is_asked_by_any_command() {
    let (bench, server) = (Bench::new(), serving(xz()));
    let url = server.url("os.img.xz");
    cluster_of(&bench, &url);
    let host = url.split('/').nth(2).unwrap();
    bench.run(&["check"]).done();
    bench.run(&["images", "list"]).done();
    for words in [&["plan"][..], &["build"], &["images", "pull"], &["--json", "plan"]] {
        let said = bench.run(words).failed(2);
        assert!(said.contains(&format!("{host} is not confirmed")), "{words:?}: {said}");
        assert!(said.contains(&format!("builder images trust {host}\n")), "{words:?}: {said}");
    }
    assert_eq!(server.asked().len(), 0);
    assert!(!bench.path("cards").exists() && !bench.path(".config").exists());
}

#[test]
fn a_host_is_confirmed_once_in_the_user_s_configuration() {
    let (bench, server) = (Bench::new(), serving(xz()));
    let url = server.url("os.img.xz");
    cluster_of(&bench, &url);
    let host = url.split('/').nth(2).unwrap();
    assert_eq!(bench.run(&["images", "trust", host]).done(), format!("{host}\n"));
    assert_eq!(server.asked().len(), 0, "a confirmation asks nobody");
    bench.run(&["images", "pull"]).done();
    fs::remove_dir_all(bench.path("cache")).unwrap();
    bench.run(&["images", "pull"]).done();
    assert_eq!(server.asked().len(), 2);
    let file = bench.path(".config/builder/trusted-hosts.json");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    // Somebody else with the same files is asked again.
    fs::remove_dir_all(bench.path("cache")).unwrap();
    let mut other = bench.builder(&["images", "pull"]);
    other.env("XDG_CONFIG_HOME", bench.path("other"));
    Ended::from(&other.output().unwrap()).failed(2);
    assert_eq!(bench.run(&["images", "trust", "--remove", host]).done(), "");
    bench.run(&["images", "pull"]).failed(2);
    assert_eq!(server.asked().len(), 2);
}

#[test]
fn an_image_that_is_in_the_cache_needs_no_confirmation() {
    let (bench, server) = (Bench::new(), serving(xz()));
    let url = server.url("os.img.xz");
    // A script that names the image itself has confirmed it by that.
    bench.run(&["images", "pull", &url, "--sha256", &sum(&xz()).to_string()]).done();
    cluster_of(&bench, &url);
    bench.run(&["images", "pull"]).done();
    assert_eq!(server.asked().len(), 1);
    assert!(!bench.path(".config").exists(), "the host is not confirmed for other images");
}

#[test]
fn at_a_terminal_a_yes_is_remembered_and_a_no_asks_nobody() {
    let (bench, server) = (Bench::new(), serving(xz()));
    let url = server.url("os.img.xz");
    cluster_of(&bench, &url);
    let ended = at_a_terminal(&bench, &["images", "pull"], "n\n");
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(
        ended.out.contains("is not on the publisher's server") && ended.out.contains("[y/N]"),
        "{ended:?}"
    );
    assert!(server.asked().is_empty() && !bench.path(".config").exists());
    let ended = at_a_terminal(&bench, &["images", "pull"], "y\n");
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(server.asked().len(), 1);
    fs::remove_dir_all(bench.path("cache")).unwrap();
    bench.run(&["images", "pull"]).done();
}

#[test]
fn a_confirmed_host_cannot_send_us_to_another() {
    let (bench, elsewhere) = (Bench::new(), serving(xz()));
    let to = elsewhere.url("os.img.xz");
    let location = to.clone();
    let server = Server::new(move |_, _| {
        Reply::new("302 Found", &[("location", location.as_str()), ("content-length", "0")], b"")
    });
    let url = server.url("os.img.xz");
    cluster_of(&bench, &url);
    bench.trusts(&url);
    let host = to.split('/').nth(2).unwrap();
    let said = bench.run(&["images", "pull"]).failed(1);
    assert!(said.contains(&format!("builder images trust {host}\n")), "{said}");
    assert_eq!((server.asked().len(), elsewhere.asked().len()), (1, 0));
    bench.trusts(&to);
    bench.run(&["images", "pull"]).done();
}

#[test]
fn a_lock_cannot_lead_a_name_to_another_host() {
    let (bench, server) = (Bench::new(), serving(xz()));
    cluster(&bench, "cluster.yaml", NAME);
    let url = server.url(PATH);
    let publishers = format!("https://downloads.raspberrypi.com/{PATH}");
    let catalogs = "https://downloads.raspberrypi.com/raspios_lite_arm64/images/raspios_lite_arm64-2026-10-06/\
                    2026-10-06-raspios-trixie-arm64-lite.img.xz";
    // Confirmed for an image, and not as a mirror: a lock may not use that.
    bench.trusts(&url);
    for (url, reason) in [
        (url.as_str(), "neither the publisher's https: server nor a mirror of yours"),
        (&publishers.replace("https:", "http:"), "neither the publisher's"),
        (&publishers.replace(".com/", ".com:8443/"), "neither the publisher's"),
        (&publishers.replace(".com/", ".com.example.org/"), "neither the publisher's"),
        (&publishers.replace(".com/", ".com@example.org/"), "neither the publisher's"),
        (
            &publishers.replace("raspios_lite_arm64/images", "raspios_full_arm64/images"),
            "not one of its releases",
        ),
        (&format!("https://downloads.raspberrypi.com/os.img.xz?/{PATH}"), "not one of its releases"),
        (catalogs, "has other digests in the catalog"),
    ] {
        lock(&bench, &release(url));
        let before = fs::read(bench.path("cluster.lock")).unwrap();
        for words in [&["plan"][..], &["build"], &["images", "pull"]] {
            let said = bench.run(words).failed(2);
            assert!(said.contains(&format!("pins {NAME} to ")) && said.contains(reason), "{words:?}: {said}");
            assert!(said.contains("builder images pull --update"), "{said}");
        }
        let said = bench.run(&["check"]);
        assert_eq!(said.code, Some(2), "{said:?}");
        assert!(said.said.contains(reason), "{said:?}");
        assert_eq!(fs::read(bench.path("cluster.lock")).unwrap(), before);
    }
    assert_eq!(server.asked().len(), 0);
}

/// By the builder of today, with the publisher's address.
#[test]
fn an_older_lock_of_the_publisher_is_used_as_it_is() {
    let bench = Bench::new();
    cluster(&bench, "cluster.yaml", NAME);
    lock(&bench, &release(&format!("https://downloads.raspberrypi.com/{PATH}")));
    bench.run(&["check"]).done();
    // There is no way to that server here but one that refuses.
    let mut pull = bench.builder(&["images", "pull"]);
    let proxy = Server::new(|_, _| Reply::new("403 Forbidden", &[("content-length", "0")], b""));
    pull.env("https_proxy", proxy.url(""));
    let said = Ended::from(&pull.output().unwrap()).failed(1);
    assert!(said.contains("cannot download https://downloads.raspberrypi.com/"), "{said}");
    let asked: Vec<_> = proxy.asked().into_iter().map(|request| request.path).collect();
    assert_eq!(asked, ["downloads.raspberrypi.com:443"]);
}

#[test]
fn a_mirror_is_one_whose_list_was_typed() {
    let body = xz();
    let server = Server::new(move |request, _| match request.path.as_str() {
        "/list.json" => {
            let host = request.header("host").unwrap();
            let entry = release(&format!("http://{host}/{PATH}"));
            Reply::whole(json!({ "os_list": [entry] }).to_string().as_bytes())
        }
        _ => Reply::whole(&body),
    });
    let (list, bench) = (server.url("list.json"), Bench::new());
    cluster(&bench, "cluster.yaml", NAME);
    bench.run(&["images", "pull", "--os-list", &list]).done();
    assert_eq!(
        bench.names(""),
        [".config", "cache", "cluster.lock", "cluster.yaml"],
        "nothing else is written"
    );
    // Other commands then go by the lock, also when the cache is empty.
    fs::remove_dir_all(bench.path("cache")).unwrap();
    bench.run(&["images", "pull"]).done();
    // Somebody else who has the lock names the list first, and keeps the release.
    let other = Bench::new();
    for name in ["cluster.yaml", "cluster.lock"] {
        fs::copy(bench.path(name), other.path(name)).unwrap();
    }
    let asked = server.asked().len();
    let said = other.run(&["images", "pull"]).failed(2);
    assert!(said.contains("builder images pull --os-list URL"), "{said}");
    assert_eq!(server.asked().len(), asked);
    other.run(&["images", "pull", "--os-list", &list]).done();
    assert_eq!(server.asked().last().unwrap().path, format!("/{PATH}"), "not the list again");
    other.run(&["images", "trust", "--remove", list.split('/').nth(2).unwrap()]).done();
    other.run(&["images", "pull"]).failed(2);
}

#[test]
fn a_typed_list_redirects_only_to_confirmed_hosts() {
    let (body, list) = (xz(), json!({ "os_list": [] }).to_string());
    for redirected in ["/list.json", "/os.img.xz"] {
        let (body, list, bench) = (body.clone(), list.clone(), Bench::new());
        let other = Server::new(move |request, _| match request.path.as_str() {
            "/list.json" => Reply::whole(list.as_bytes()),
            _ => Reply::whole(&body),
        });
        let to = other.url(&redirected[1..]);
        let server = Server::new({
            let to = to.clone();
            move |request, _| {
                let is_list = request.path == "/list.json";
                if is_list == (redirected == "/list.json") {
                    return Reply::new("302 Found", &[("location", &to), ("content-length", "0")], b"");
                }
                let host = request.header("host").unwrap();
                let entry = release(&format!("http://{host}/{PATH}"));
                Reply::whole(json!({ "os_list": [entry] }).to_string().as_bytes())
            }
        });
        cluster(&bench, "cluster.yaml", NAME);
        let pull = ["images", "pull", "--os-list", &server.url("list.json")];
        let said = bench.run(&pull).failed(1);
        let host = to.split('/').nth(2).unwrap();
        assert!(said.contains(&format!("builder images trust {host}\n")), "{said}");
        assert_eq!(other.asked().len(), 0, "{redirected}");
        bench.trusts(&to);
        bench.run(&pull);
        assert_eq!(other.asked().len(), 1, "{redirected}");
    }
}

/// Both come with a repository: an archive, which a harmless command brings into the cache, and a lock with its digest.
#[test]
fn an_archive_in_the_cache_does_not_stand_for_a_name_because_a_lock_says_so() {
    let (bench, evil) = (Bench::new(), packed(&other_image(2), "xz -0 -c os.img"));
    fs::write(bench.path("os.img.xz"), &evil).unwrap();
    cluster(&bench, "first.yaml", "os.img.xz");
    bench.run(&["-f", "first.yaml", "images", "pull"]).done();
    let proxy = Server::new(|_, _| Reply::new("403 Forbidden", &[("content-length", "0")], b""));
    let pull = |bench: &Bench| {
        let mut pull = bench.builder(&["images", "pull"]);
        Ended::from(&pull.env("https_proxy", proxy.url("")).output().unwrap())
    };
    let url = format!("https://downloads.raspberrypi.com/{PATH}");
    for digest in ["image_download_sha256", "extract_sha256"] {
        cluster(&bench, "cluster.yaml", NAME);
        let promised = if digest == "extract_sha256" { sum(&other_image(2)) } else { sum(&evil) };
        lock(&bench, &json!({ "release_date": "2026-11-20", "url": url, digest: promised.to_string() }));
        let said = pull(&bench).failed(1);
        assert!(said.contains("cannot download https://downloads.raspberrypi.com/"), "{said}");
        // Nor because the cluster file says so, with a name that the catalog knows.
        let name = format!("{NAME}-2026-10-06\nimage_sha256: {promised}");
        cluster(&bench, "cluster.yaml", &name);
        let said = pull(&bench).failed(1);
        assert!(said.contains("cannot download https://downloads.raspberrypi.com/"), "{said}");
    }
}

#[test]
fn a_lock_does_not_have_images_removed_from_the_cache() {
    let bench = Bench::new();
    fs::write(bench.path("os.img.xz"), xz()).unwrap();
    cluster(&bench, "first.yaml", "os.img.xz");
    let source = cluster::spec::ImageSource { location: "os.img.xz".to_owned(), sha256: None };
    // As `build` unpacks it, without noting what is in it.
    builder::fetch::base(
        &source,
        &bench.path(""),
        &bench.cache(),
        &bench.hosts(),
        &builder::report::Progress::new(true, false),
    )
    .unwrap();
    cluster(&bench, "cluster.yaml", NAME);
    let mut entry = release(&format!("https://downloads.raspberrypi.com/{PATH}"));
    entry["extract_sha256"] = json!(sum(b"other").to_string());
    lock(&bench, &entry);
    bench.run(&["images", "verify"]).done();
    assert_eq!(bench.names("cache/images").len(), 2);
}

#[test]
fn a_list_of_hosts_that_others_may_write_confirms_none() {
    let (bench, server) = (Bench::new(), serving(xz()));
    let url = server.url("os.img.xz");
    cluster_of(&bench, &url);
    bench.trusts(&url);
    let file = bench.path(".config/builder/trusted-hosts.json");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
    let said = bench.run(&["images", "pull"]).failed(1);
    assert!(said.contains("others than you may write") && said.contains("chmod 600 "), "{said}");
    assert_eq!(server.asked().len(), 0);
}

#[test]
fn wrong_hosts_are_not_confirmed() {
    let bench = Bench::new();
    for wrong in ["", "example.org/os.img.xz", "pi@example.org", "a b", "file:///etc/passwd"] {
        assert_eq!(bench.run(&["images", "trust", wrong]).code, Some(2), "{wrong}");
    }
    let listed = bench.run(&["--json", "images", "trust", "https://example.org/os.img.xz"]).done();
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed, json!({ "image_hosts": ["example.org"], "mirrors": [] }));
}
