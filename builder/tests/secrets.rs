//! The secrets folder: made once, kept for ever, refused when anything about it is wrong.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use builder::error::Failure;
use builder::pki;
use builder::project::Project;
use cluster::card::StaticAddress;
use cluster::identity::{Role, dns_name};
use tempfile::TempDir;
use x509_parser::pem::parse_x509_pem;
use x509_parser::prelude::{GeneralName, X509Certificate};

#[path = "fixture/project.rs"]
mod fixture;
use fixture::{hostname, node};

#[path = "secrets/older.rs"]
mod older;
#[path = "secrets/renewal.rs"]
mod renewal;

/// A project with red00 and red01 in a folder that goes away with it.
struct Bench {
    project: Project,
    folder: TempDir,
}

impl Bench {
    fn empty() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let nodes = [("red00", Role::Manager), ("red01", Role::Worker)];
        Self { project: fixture::project(folder.path(), &nodes), folder }
    }

    fn opened() -> Self {
        let bench = Self::empty();
        pki::open(&bench.project).unwrap();
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("red.secrets").join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// Every file of the folder with its text.
    fn all(&self) -> BTreeMap<PathBuf, String> {
        let mut files = BTreeMap::new();
        for folder in [self.path(""), self.path("nodes")] {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_file() {
                    files.insert(path.clone(), fs::read_to_string(&path).unwrap());
                }
            }
        }
        files
    }

    /// The failure of opening, after which the folder must be as it was.
    fn refused(&self) -> String {
        let before = self.all();
        let failure = pki::open(&self.project).unwrap_err();
        assert_eq!(self.all(), before, "a refusal wrote something");
        assert_eq!(failure.kind().code(), 1);
        self.shown(&failure)
    }

    fn shown(&self, failure: &Failure) -> String {
        failure.render().replace(&self.folder.path().display().to_string(), "HERE")
    }
}

/// Whether a file follows the cluster file and the keys.
fn is_derived(path: &Path) -> bool {
    path.ends_with("known_hosts") || path.ends_with("ssh_config")
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
}

fn with_certificate(pem: &str, look: impl FnOnce(&X509Certificate<'_>)) {
    let (_, pem) = parse_x509_pem(pem.as_bytes()).unwrap();
    look(&pem.parse_x509().unwrap());
}

fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let names = certificate.subject_alternative_name().unwrap().unwrap();
    let text = |name: &GeneralName<'_>| match name {
        GeneralName::URI(uri) => (*uri).to_owned(),
        GeneralName::DNSName(name) => (*name).to_owned(),
        other => panic!("{other:?}"),
    };
    names.value.general_names.iter().map(text).collect()
}

#[test]
fn everything_is_private_and_hidden_from_git() {
    let bench = Bench::opened();
    assert_eq!(mode(&bench.path("")), 0o700);
    assert_eq!(mode(&bench.path("nodes")), 0o700);
    for file in bench.all().keys() {
        assert_eq!(mode(file), 0o600, "{}", file.display());
    }
    assert_eq!(bench.read(".gitignore"), "*\n");
    let left: Vec<_> =
        fs::read_dir(bench.folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["red.secrets"], "something else was left beside it");
}

#[test]
fn a_second_run_changes_no_byte_and_gives_the_same() {
    let bench = Bench::empty();
    let first = pki::open(&bench.project).unwrap();
    let before = bench.all();
    let second = pki::open(&bench.project).unwrap();
    assert_eq!(bench.all(), before);
    assert_eq!((&first.cluster_id, first.created), (&second.cluster_id, second.created));
    let name = hostname("red01");
    let (one, two) = (first.node(&name).unwrap(), second.node(&name).unwrap());
    assert_eq!((one.cert_pem, one.key_pem, one.host_key), (two.cert_pem, two.key_pem, two.host_key));
    assert_eq!(first.operator().unwrap().cert_pem, second.operator().unwrap().cert_pem);
}

#[test]
fn two_first_runs_at_once_make_one_cluster() {
    let bench = Bench::empty();
    let open = || pki::open(&bench.project).unwrap().cluster_id;
    let ids = std::thread::scope(|scope| {
        let runs = [(); 4].map(|()| scope.spawn(open));
        runs.map(|run| run.join().unwrap())
    });
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
}

#[test]
fn two_clusters_of_one_name_are_not_one() {
    let (one, two) = (Bench::empty(), Bench::empty());
    let (one, two) = (pki::open(&one.project).unwrap(), pki::open(&two.project).unwrap());
    assert_ne!(one.cluster_id, two.cluster_id);
}

#[test]
fn certificates_carry_identity_and_outlive_any_clock() {
    let bench = Bench::empty();
    let identities = pki::open(&bench.project).unwrap();
    let id = &identities.cluster_id;
    let check_dates = |certificate: &X509Certificate<'_>| {
        assert_eq!(
            certificate.validity().not_before.to_datetime().to_string(),
            "1975-01-01 0:00:00.0 +00:00:00"
        );
        assert_eq!(
            certificate.validity().not_after.to_datetime().to_string(),
            "9999-12-31 23:59:59.0 +00:00:00"
        );
    };
    with_certificate(&bench.read("ca.pem"), |ca| {
        check_dates(ca);
        let constraints = ca.basic_constraints().unwrap().unwrap().value;
        assert_eq!((constraints.ca, constraints.path_len_constraint), (true, Some(0)));
        assert!(ca.key_usage().unwrap().unwrap().value.key_cert_sign());
    });
    with_certificate(&identities.operator().unwrap().cert_pem, |operator| {
        check_dates(operator);
        assert_eq!(names(operator), [format!("builder://{id}/operator")]);
        let usage = operator.extended_key_usage().unwrap().unwrap().value;
        assert!(usage.client_auth && !usage.server_auth);
    });
    for (name, role) in [("red00", "manager"), ("red01", "worker")] {
        let name = hostname(name);
        with_certificate(&identities.node(&name).unwrap().cert_pem, |node| {
            check_dates(node);
            assert_eq!(names(node), [format!("builder://{id}/{role}/{name}"), dns_name(id, &name)]);
            let usage = node.extended_key_usage().unwrap().unwrap().value;
            assert!(usage.client_auth && usage.server_auth);
            assert!(!node.basic_constraints().unwrap().unwrap().value.ca);
        });
    }
}

#[test]
fn openssl_trusts_what_the_ca_signed() {
    let bench = Bench::opened();
    let ca = bench.path("ca.pem");
    for cert in ["operator.pem", "nodes/red00.pem", "nodes/red01.pem"] {
        let mut openssl = Command::new("openssl");
        openssl.arg("verify").arg("-x509_strict").arg("-CAfile").arg(&ca).arg(bench.path(cert));
        // A machine without openssl has nothing to compare with.
        let Ok(output) = openssl.output() else { return };
        assert!(output.status.success(), "{cert}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn ssh_accepts_keys_known_hosts_and_configuration() {
    let mut bench = Bench::empty();
    bench.project.cluster.nodes[1].address =
        Some(StaticAddress { ip: Ipv4Addr::new(10, 1, 1, 3), prefix: 24, gateway: None, dns: Vec::new() });
    pki::open(&bench.project).unwrap();
    let run = |program: &str, args: &[&str]| {
        let output = Command::new(program).args(args).output().ok()?;
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        Some(String::from_utf8(output.stdout).unwrap())
    };
    let path = |name: &str| bench.path(name).display().to_string();

    let derived = run("ssh-keygen", &["-y", "-f", &path("nodes/red01-ssh-host-key")]);
    // A machine without OpenSSH has nothing to compare with.
    let Some(derived) = derived else { return };
    assert_eq!(derived, bench.read("nodes/red01-ssh-host-key.pub"));
    run("ssh-keygen", &["-lf", &path("nodes/red01-ssh-host-key.pub")]).unwrap();
    let found = run("ssh-keygen", &["-F", "10.1.1.3", "-f", &path("known_hosts")]).unwrap();
    assert!(found.contains(derived.split(' ').nth(1).unwrap()), "{found}");
    let config = run("ssh", &["-G", "-F", &path("ssh_config"), "red01"]).unwrap();
    for line in [
        "hostname 10.1.1.3",
        "user pi",
        "hostkeyalias red01",
        "stricthostkeychecking true",
        "identitiesonly no",
        &format!("userknownhostsfile {}", path("known_hosts")),
    ] {
        assert!(config.lines().any(|found| found == line), "{line} is not in\n{config}");
    }
}

#[test]
fn a_new_node_gets_material_and_the_others_keep_theirs() {
    let mut bench = Bench::opened();
    let before = bench.all();
    bench.project.cluster.nodes.push(node("red02", Role::Worker));
    pki::open(&bench.project).unwrap();
    let after = bench.all();
    for (path, text) in before {
        assert!(is_derived(&path) || after[&path] == text, "{} changed", path.display());
    }
    assert!(bench.read("known_hosts").contains("red02,red02.local ssh-ed25519 "));
    assert!(bench.read("ssh_config").contains("Host red02\n"));
}

#[test]
fn a_preview_writes_nothing() {
    let mut bench = Bench::empty();
    let preview = pki::open_or_preview(&bench.project).unwrap();
    assert!(preview.node(&hostname("red01")).is_ok());
    assert_eq!(fs::read_dir(bench.folder.path()).unwrap().count(), 0);

    let identities = pki::open(&bench.project).unwrap();
    let before = bench.all();
    bench.project.cluster.nodes.push(node("red02", Role::Worker));
    let preview = pki::open_or_preview(&bench.project).unwrap();
    assert_eq!(preview.cluster_id, identities.cluster_id);
    assert!(preview.node(&hostname("red02")).is_ok());
    assert_eq!(bench.all(), before);
}

#[test]
fn existing_makes_nothing_up() {
    let mut bench = Bench::empty();
    let failure = pki::existing(&bench.project).unwrap_err();
    assert_eq!(
        bench.shown(&failure),
        "error: the secrets folder HERE/red.secrets does not exist\n\
         hint: make the cards first: sudo builder flash, or their images: builder build\n\
         hint: for Pis that ran before: builder config\n"
    );
    assert_eq!(fs::read_dir(bench.folder.path()).unwrap().count(), 0);

    pki::open(&bench.project).unwrap();
    bench.project.cluster.nodes.push(node("red02", Role::Worker));
    let identities = pki::existing(&bench.project).unwrap();
    assert!(identities.node(&hostname("red01")).is_ok());
    assert!(identities.node(&hostname("red02")).is_err());
}

#[test]
fn nothing_secret_is_in_debug_output() {
    let bench = Bench::empty();
    let text = format!("{:?}", pki::open(&bench.project).unwrap());
    assert!(!text.contains("PRIVATE KEY"), "{text}");
}

#[test]
fn what_a_run_killed_among_the_nodes_left_out_is_made() {
    // Keys come before what is made from them, so these are the states such a run can leave.
    for gone in [
        &["nodes/red01.pem", "nodes/red01-ssh-host-key", "nodes/red01-ssh-host-key.pub"][..],
        &["nodes/red01-ssh-host-key", "nodes/red01-ssh-host-key.pub"],
        &["nodes/red01-ssh-host-key.pub"],
        &["known_hosts", "ssh_config"],
        &["ssh_config"],
    ] {
        let bench = Bench::opened();
        let before = bench.all();
        for name in gone {
            fs::remove_file(bench.path(name)).unwrap();
        }
        let kept = bench.all();
        pki::open(&bench.project).unwrap();
        let after = bench.all();
        for (path, text) in kept {
            assert!(is_derived(&path) || after[&path] == text, "{gone:?}: {} changed", path.display());
        }
        assert!(after.keys().eq(before.keys()), "{gone:?}");
        pki::existing(&bench.project).unwrap().node(&hostname("red01")).unwrap();
    }
}

#[test]
fn a_run_killed_before_the_folder_had_its_name_left_nothing_of_use() {
    let bench = Bench::opened();
    fs::rename(bench.path(""), bench.folder.path().join("red.secrets.partial")).unwrap();
    let first = fs::read_to_string(bench.folder.path().join("red.secrets.partial/ca.pem")).unwrap();
    pki::open(&bench.project).unwrap();
    assert_ne!(bench.read("ca.pem"), first);
    assert!(!bench.folder.path().join("red.secrets.partial").exists());
}

#[test]
fn a_lost_file_is_named_and_never_made_anew() {
    for name in ["cluster.json", "ca.pem", "ca-key.pem", "operator.pem", "operator-key.pem"] {
        let bench = Bench::opened();
        fs::remove_file(bench.path(name)).unwrap();
        assert_eq!(
            bench.refused(),
            format!(
                "error: the secrets folder is not whole: HERE/red.secrets/{name} is missing\n\
                 hint: restore HERE/red.secrets/{name} from a backup\n\
                 hint: or begin anew, after which every card must be made again: mv HERE/red.secrets HERE/red.secrets.old\n\
                 hint: then: sudo builder flash, or for images: builder build --force; for Pis that ran before: builder config \
                 --take-over\n"
            )
        );
    }
    for name in ["nodes/red01-key.pem", "nodes/red01-ssh-host-key"] {
        let bench = Bench::opened();
        fs::remove_file(bench.path(name)).unwrap();
        let text = bench.refused();
        assert!(text.starts_with(&format!(
            "error: the secrets folder is not whole: HERE/red.secrets/{name} is missing"
        )));
        assert!(
            text.contains("rm -f HERE/red.secrets/nodes/red01.pem HERE/red.secrets/nodes/red01-key.pem "),
            "{text}"
        );
    }
}

#[test]
fn the_hint_for_a_lost_node_key_works() {
    let bench = Bench::opened();
    fs::remove_file(bench.path("nodes/red01-key.pem")).unwrap();
    let text = bench.refused();
    let (_, command) = text.split_once("made again: ").unwrap();
    let command = command.lines().next().unwrap().replace("HERE", &bench.folder.path().display().to_string());
    assert!(Command::new("sh").arg("-c").arg(command).status().unwrap().success());
    pki::open(&bench.project).unwrap();
}

#[test]
fn an_empty_folder_is_not_taken_for_a_first_run() {
    let bench = Bench::empty();
    fs::create_dir(bench.path("")).unwrap();
    fs::set_permissions(bench.path(""), fs::Permissions::from_mode(0o700)).unwrap();
    let failure = pki::open(&bench.project).unwrap_err();
    assert!(bench.shown(&failure).starts_with("error: the secrets folder is not whole:"));
}

#[test]
fn garbage_is_damage() {
    for name in [
        "cluster.json",
        "ca.pem",
        "ca-key.pem",
        "operator.pem",
        "operator-key.pem",
        "nodes/red01.pem",
        "nodes/red01-key.pem",
        "nodes/red01-ssh-host-key",
        "nodes/red01-ssh-host-key.pub",
        "addresses.json",
    ] {
        let bench = Bench::opened();
        for garbage in ["", "{\"version\": 1"] {
            fs::write(bench.path(name), garbage).unwrap();
            fs::set_permissions(bench.path(name), fs::Permissions::from_mode(0o600)).unwrap();
            let text = bench.refused();
            assert!(
                text.starts_with(&format!("error: HERE/red.secrets/{name} is damaged\ncaused by: ")),
                "{text}"
            );
            assert!(text.contains("\nhint: "), "{text}");
        }
    }
}

#[test]
fn material_of_another_cluster_is_damage() {
    let other = Bench::opened();
    for (names, cause) in [
        (&["ca.pem"][..], "the private key beside it is another one's"),
        (&["ca-key.pem"], "the private key beside it is another one's"),
        (&["ca.pem", "ca-key.pem"], "the CA of this folder did not sign it"),
        (&["operator.pem"], "the private key beside it is another one's"),
        (&["operator.pem", "operator-key.pem"], "the CA of this folder did not sign it"),
        (&["nodes/red01-key.pem"], "the private key beside it is another one's"),
        (&["nodes/red01.pem", "nodes/red01-key.pem"], "the CA of this folder did not sign it"),
        (&["nodes/red01-ssh-host-key"], "it is not the public half of the key beside it"),
        (&["cluster.json"], "it is the certificate of builder://"),
    ] {
        let bench = Bench::opened();
        for name in names {
            fs::copy(other.path(name), bench.path(name)).unwrap();
        }
        let text = bench.refused();
        assert!(text.contains(&format!("caused by: {cause}")), "{names:?}: {text}");
    }
}

#[test]
fn one_node_does_not_pass_for_another() {
    let bench = Bench::opened();
    for what in [".pem", "-key.pem"] {
        fs::copy(bench.path(&format!("nodes/red00{what}")), bench.path(&format!("nodes/red01{what}")))
            .unwrap();
    }
    let text = bench.refused();
    assert!(text.contains("/manager/red00, not of builder://"), "{text}");
}

#[test]
fn a_folder_of_another_cluster_is_foreign() {
    let mut bench = Bench::opened();
    let blue = bench.folder.path().join("blue.secrets");
    fs::rename(bench.path(""), &blue).unwrap();
    bench.project.cluster.name = cluster::name::ClusterName::try_from("blue").unwrap();
    let failure = pki::open(&bench.project).unwrap_err();
    assert_eq!(
        bench.shown(&failure),
        "error: HERE/blue.secrets belongs to cluster red, not to blue\n\
         hint: move it away: mv HERE/blue.secrets HERE/red.secrets\n\
         hint: or give the cluster file its old name back under `cluster:`\n"
    );
}

#[test]
fn a_folder_of_a_newer_builder_is_left_alone() {
    let bench = Bench::opened();
    let newer = bench.read("cluster.json").replace("\"version\": 1", "\"version\": 2, \"more\": true");
    fs::write(bench.path("cluster.json"), newer).unwrap();
    assert!(bench.refused().contains("was written by a newer builder (version 2, this builder knows 1)"));
}

#[test]
fn what_others_may_read_is_refused_until_the_hint_was_typed() {
    for (name, open_mode) in
        [("", 0o750), ("nodes", 0o701), ("ca-key.pem", 0o640), ("nodes/red01-key.pem", 0o604)]
    {
        let bench = Bench::opened();
        fs::set_permissions(bench.path(name), fs::Permissions::from_mode(open_mode)).unwrap();
        let text = bench.refused();
        assert!(text.starts_with("error: others than you may read HERE/red.secrets"), "{text}");
        assert!(text.contains(&format!("(its mode is {open_mode:03o})")), "{text}");
        assert!(text.contains("hint: chmod -R go-rwx HERE/red.secrets\n"), "{text}");
        assert!(Command::new("chmod").args(["-R", "go-rwx"]).arg(bench.path("")).status().unwrap().success());
        pki::open(&bench.project).unwrap();
    }
}

#[test]
fn links_are_not_followed() {
    let bench = Bench::opened();
    let elsewhere = bench.folder.path().join("elsewhere");
    fs::rename(bench.path(""), &elsewhere).unwrap();
    symlink(&elsewhere, bench.folder.path().join("red.secrets")).unwrap();
    let failure = pki::open(&bench.project).unwrap_err();
    let text = bench.shown(&failure);
    assert!(text.starts_with("error: HERE/red.secrets is a symbolic link\nhint: "), "{text}");

    let bench = Bench::opened();
    fs::rename(bench.path("ca-key.pem"), bench.path("hidden")).unwrap();
    symlink(bench.path("hidden"), bench.path("ca-key.pem")).unwrap();
    assert!(bench.refused().contains("ca-key.pem is a symbolic link"));
}

#[test]
fn two_nodes_whose_files_would_mix_are_refused() {
    let mut bench = Bench::empty();
    bench.project.cluster.nodes.push(node("red01-key", Role::Worker));
    let failure = pki::open(&bench.project).unwrap_err();
    assert!(
        failure
            .render()
            .starts_with("error: files of the nodes red01 and red01-key would have the same name\n")
    );
    assert_eq!(fs::read_dir(bench.folder.path()).unwrap().count(), 0);
}

#[test]
fn a_file_in_the_folders_place_is_refused() {
    let bench = Bench::empty();
    fs::write(bench.folder.path().join("red.secrets"), "").unwrap();
    let failure = pki::open(&bench.project).unwrap_err();
    assert!(bench.shown(&failure).starts_with("error: HERE/red.secrets is not a folder\n"));
}

#[test]
fn addresses_heard_of_lead_ssh_there() {
    let bench = Bench::opened();
    let heard = BTreeMap::from([(hostname("red01"), Ipv4Addr::new(192, 168, 7, 41))]);
    pki::remember_addresses(&bench.project, &heard).unwrap();
    assert_eq!(pki::last_addresses(&bench.project).unwrap(), heard);
    assert_eq!(mode(&bench.path("addresses.json")), 0o600);
    assert!(bench.read("ssh_config").contains("Host red01\n    HostName 192.168.7.41\n"));
    assert!(bench.read("known_hosts").contains("red01,red01.local,192.168.7.41 ssh-ed25519 "));

    let more = BTreeMap::from([(hostname("red00"), Ipv4Addr::new(192, 168, 7, 40))]);
    pki::remember_addresses(&bench.project, &more).unwrap();
    assert_eq!(pki::last_addresses(&bench.project).unwrap().len(), 2, "the other address was forgotten");
    pki::open(&bench.project).unwrap();
    assert!(bench.read("ssh_config").contains("HostName 192.168.7.41\n"), "opening forgot an address");
}
