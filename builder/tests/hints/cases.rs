//! The failures whose hints are followed, each with what its hints name and how that ends.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::{Bench, CLUSTER};

/// A digest that no image has.
pub(crate) const DIGEST: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// Exit codes.
pub(crate) const DONE: &[i32] = &[0];
pub(crate) const FAILED: &[i32] = &[1];
/// No card reader with a card is here; where one is, nobody is there to be asked.
pub(crate) const NO_READER: &[i32] = &[3];
pub(crate) const UNREACHABLE: &[i32] = &[5];
/// Nobody answers at any of the hosts, or not as builder asks.
pub(crate) const NO_HOST: &[i32] = &[5, 6];
pub(crate) const NOT_READY: &[i32] = &[6];

/// A failure, and the commands of its hints in their order, each with the exit codes that keep its promise.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) prepare: fn(&Bench),
    pub(crate) words: &'static [&'static str],
    pub(crate) code: i32,
    pub(crate) hints: &'static [(&'static str, &'static [i32])],
    /// Exit code of the same command afterwards, where the hints are steps one after the other. Otherwise each of them
    /// is another way out.
    pub(crate) then: Option<i32>,
}

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "no cluster file",
        prepare: |bench| bench.remove("cluster.yaml"),
        words: &["check"],
        code: 2,
        hints: &[("builder init", DONE)],
        then: Some(0),
    },
    Case {
        name: "no such cluster file",
        prepare: |_| {},
        words: &["check", "-f", "my lab.yaml"],
        code: 2,
        hints: &[("builder init -f 'my lab.yaml'", DONE)],
        then: Some(0),
    },
    Case {
        name: "a starter over a cluster file",
        prepare: |_| {},
        words: &["init"],
        code: 2,
        hints: &[("builder check", DONE)],
        then: None,
    },
    Case {
        name: "hosts that are no swarm yet",
        prepare: Bench::hosts,
        words: &["status"],
        code: 2,
        hints: &[("builder config", NO_HOST)],
        then: None,
    },
    Case {
        name: "cards for hosts",
        prepare: Bench::hosts,
        words: &["plan"],
        code: 2,
        hints: &[("builder init", DONE), ("builder config", NO_HOST)],
        then: None,
    },
    Case {
        name: "no cards yet",
        prepare: |_| {},
        words: &["status"],
        code: 1,
        hints: &[("sudo builder flash", NO_READER), ("builder build", DONE), ("builder config", NO_HOST)],
        then: None,
    },
    Case {
        name: "secrets that others may read",
        prepare: |bench| {
            bench.built();
            fs::set_permissions(bench.path("red.secrets"), fs::Permissions::from_mode(0o755)).unwrap();
        },
        words: &["status"],
        code: 1,
        hints: &[("chmod -R go-rwx ./red.secrets", DONE)],
        then: Some(5),
    },
    Case {
        name: "secrets behind a link",
        prepare: |bench| {
            bench.built();
            fs::rename(bench.path("red.secrets"), bench.path("elsewhere")).unwrap();
            symlink("elsewhere", bench.path("red.secrets")).unwrap();
        },
        words: &["status"],
        code: 1,
        hints: &[
            ("cp -RL ./red.secrets ./red.secrets.real", DONE),
            ("rm ./red.secrets", DONE),
            ("mv ./red.secrets.real ./red.secrets", DONE),
        ],
        then: Some(5),
    },
    Case {
        name: "secrets of another cluster",
        prepare: |bench| {
            bench.built();
            fs::rename(bench.path("red.secrets"), bench.path("blue.secrets")).unwrap();
            bench.cluster(&CLUSTER.replace("cluster: red", "cluster: blue"));
        },
        words: &["status"],
        code: 1,
        hints: &[("mv ./blue.secrets ./red.secrets", DONE)],
        then: Some(1),
    },
    Case {
        name: "a cluster key is lost",
        prepare: |bench| {
            bench.built();
            bench.remove("red.secrets/operator-key.pem");
        },
        words: &["status"],
        code: 1,
        hints: &[
            ("mv ./red.secrets ./red.secrets.old", DONE),
            ("sudo builder flash", NO_READER),
            ("builder build --force", DONE),
            ("builder config --take-over", NO_HOST),
        ],
        then: Some(5),
    },
    Case {
        name: "a node key is lost",
        prepare: |bench| {
            bench.built();
            bench.remove("red.secrets/nodes/red01-key.pem");
        },
        words: &["build", "--force"],
        code: 1,
        hints: &[
            (
                "rm -f ./red.secrets/nodes/red01.pem ./red.secrets/nodes/red01-key.pem ./red.secrets/nodes/red01-ssh-host-key \
                 ./red.secrets/nodes/red01-ssh-host-key.pub",
                DONE,
            ),
            ("sudo builder flash red01", NO_READER),
            ("builder build --force red01", DONE),
            ("builder config", NO_HOST),
        ],
        then: Some(0),
    },
    Case {
        name: "the record of machines is damaged",
        prepare: |bench| {
            bench.built();
            let record = bench.path("red.secrets/running.json");
            fs::write(&record, "{").unwrap();
            fs::set_permissions(record, fs::Permissions::from_mode(0o600)).unwrap();
        },
        words: &["config", "--dry-run"],
        code: 1,
        hints: &[("rm ./red.secrets/running.json", DONE), ("builder config", NO_HOST)],
        then: Some(5),
    },
    Case {
        name: "the end of the swarm, and nobody to ask",
        prepare: Bench::built,
        words: &["kill"],
        code: 2,
        hints: &[("builder kill --json --yes", UNREACHABLE)],
        then: None,
    },
    Case {
        name: "the end of the swarm and of our software, and nobody to ask",
        prepare: Bench::built,
        words: &["kill", "--purge"],
        code: 2,
        hints: &[("builder kill --json --purge --yes", UNREACHABLE)],
        then: None,
    },
    Case {
        name: "nodes are taken out, and nobody to ask",
        prepare: Bench::built,
        words: &["rm", "red[01-02]"],
        code: 2,
        hints: &[("builder rm --json 'red[01-02]' --yes", UNREACHABLE)],
        then: None,
    },
    Case {
        name: "nodes are revoked, and nobody to ask",
        prepare: Bench::built,
        words: &["revoke", "red[01-02]"],
        code: 2,
        hints: &[("builder revoke --json 'red[01-02]' --yes", UNREACHABLE)],
        then: None,
    },
    Case {
        name: "a node without an identity is revoked",
        prepare: |bench| {
            bench.built();
            bench.cluster(&CLUSTER.replace("02]", "03]"));
        },
        words: &["revoke", "--yes", "red03"],
        code: 1,
        hints: &[("builder build red03", DONE)],
        then: Some(5),
    },
    Case {
        name: "no manager answers",
        prepare: Bench::built,
        words: &["status"],
        code: 5,
        hints: &[("builder status --manager ADDRESS", UNREACHABLE)],
        then: None,
    },
    Case {
        name: "no manager answers for so long",
        prepare: Bench::built,
        words: &["status", "--wait", "--timeout", "1s"],
        code: 6,
        hints: &[("builder status --manager ADDRESS", UNREACHABLE)],
        then: None,
    },
    Case {
        name: "a manager that has only just started",
        prepare: Bench::built,
        words: &["status", "--manager", "127.0.0.1:1"],
        code: 5,
        hints: &[("builder status --wait", NOT_READY), ("builder status --manager ADDRESS", UNREACHABLE)],
        then: None,
    },
    Case {
        name: "no label",
        prepare: Bench::built,
        words: &["label", "red02", "disk"],
        code: 2,
        hints: &[("builder label red02 'disk=ssd' old-", UNREACHABLE)],
        then: None,
    },
    Case {
        name: "no name of a node",
        prepare: Bench::built,
        words: &["rm", "--yes", "red/1"],
        code: 2,
        hints: &[("builder status", UNREACHABLE)],
        then: None,
    },
    Case {
        name: "why for two nodes",
        prepare: Bench::built,
        words: &["why", "red[01-02]"],
        code: 2,
        hints: &[("builder why red01", UNREACHABLE)],
        then: None,
    },
    Case {
        name: "another node's card",
        prepare: Bench::built,
        words: &["why", "red01", "--card", "cards/red02.img"],
        code: 2,
        hints: &[("builder why red02 --card cards/red02.img", DONE)],
        then: None,
    },
    Case {
        name: "a damaged card",
        prepare: |bench| {
            bench.built();
            bench.overwrite("cards/red01.img", 8 << 20);
        },
        words: &["why", "red01", "--card", "cards/red01.img"],
        code: 1,
        hints: &[("sudo builder flash red01", NO_READER), ("builder build --force red01", DONE)],
        then: Some(0),
    },
    Case {
        name: "two nodes are compared with one card",
        prepare: Bench::built,
        words: &["verify", "red[00-01]", "--device", "cards/red00.img"],
        code: 2,
        hints: &[("builder verify red00 --device cards/red00.img", DONE)],
        then: None,
    },
    Case {
        name: "a card that is not there is compared",
        prepare: Bench::built,
        words: &["verify", "red00", "--device", "cards/red09.img"],
        code: 1,
        hints: &[("builder devices", DONE)],
        then: None,
    },
    Case {
        name: "a card that differs",
        prepare: |bench| {
            bench.built();
            let card = fs::OpenOptions::new().write(true).open(bench.path("cards/red00.img")).unwrap();
            let end = card.metadata().unwrap().len() - 512;
            std::os::unix::fs::FileExt::write_all_at(&card, &[7; 512], end).unwrap();
        },
        words: &["verify", "red00", "--device", "cards/red00.img"],
        code: 4,
        hints: &[("sudo builder flash red00", NO_READER)],
        then: None,
    },
    Case {
        name: "no card reader",
        prepare: |_| {},
        words: &["flash"],
        code: 3,
        hints: &[("builder devices", DONE)],
        then: None,
    },
    Case {
        name: "a device that is not there",
        prepare: |_| {},
        words: &["flash", "red00", "--device", "absent"],
        code: 3,
        hints: &[("builder devices", DONE)],
        then: None,
    },
    Case {
        name: "a file instead of a card",
        prepare: |bench| fs::write(bench.path("card.img"), "x").unwrap(),
        words: &["flash", "red00", "--device", "card.img"],
        code: 3,
        hints: &[("builder build", DONE)],
        then: None,
    },
    Case {
        name: "exec without a file",
        prepare: |bench| bench.remove("cluster.yaml"),
        words: &["exec", "--", "true"],
        code: 2,
        hints: &[("builder init", DONE), ("builder exec --hosts 'red[00-04]' -- uname -a", UNREACHABLE)],
        then: None,
    },
    Case {
        name: "pull without a file",
        prepare: |bench| bench.remove("cluster.yaml"),
        words: &["images", "pull"],
        code: 2,
        hints: &[("builder init", DONE), ("builder images list", DONE)],
        then: None,
    },
    Case {
        name: "pull without a digest",
        prepare: |_| {},
        words: &["images", "pull", "https://127.0.0.1:1/os.img.xz"],
        code: 2,
        hints: &[("builder images --json pull https://127.0.0.1:1/os.img.xz --sha256 HEX", FAILED)],
        then: None,
    },
    Case {
        name: "an image that is always the same",
        prepare: |_| {},
        words: &["images", "pull", "--update"],
        code: 2,
        hints: &[("builder images list", DONE)],
        then: None,
    },
    Case {
        name: "an image that nobody knows",
        prepare: |_| {},
        words: &["images", "verify", "nosuch"],
        code: 1,
        hints: &[("builder images list", DONE)],
        then: None,
    },
    Case {
        name: "an image that is not in the cache",
        prepare: |_| {},
        words: &["images", "verify", "raspios-lite-arm64"],
        code: 1,
        // There is no network here.
        hints: &[("builder images list", DONE), ("builder images pull raspios-lite-arm64", FAILED)],
        then: None,
    },
    Case {
        name: "a damaged lock",
        prepare: |bench| {
            bench.cluster(&CLUSTER.replace("pios.img", "raspios-lite-arm64"));
            fs::write(bench.path("cluster.lock"), "{").unwrap();
        },
        words: &["plan"],
        code: 2,
        // There is no network here.
        hints: &[
            ("git checkout ./cluster.lock", DONE),
            ("rm ./cluster.lock", DONE),
            ("builder images pull", FAILED),
        ],
        then: Some(1),
    },
    Case {
        name: "a lock that leads a name elsewhere",
        prepare: |bench| {
            bench.cluster(&CLUSTER.replace("pios.img", "raspios-lite-arm64"));
            let lock = format!(
                r#"{{"version": 1, "images": {{"raspios-lite-arm64": {{"release_date": "2026-10-06",
                "url": "https://example.org/raspios_lite_arm64/images/x.img.xz", "extract_sha256": "{DIGEST}"}}}}}}"#
            );
            fs::write(bench.path("cluster.lock"), lock).unwrap();
        },
        words: &["plan"],
        code: 2,
        // There is no network here, and no such mirror.
        hints: &[("builder images pull --update", FAILED), ("builder images pull --os-list URL", &[2])],
        then: None,
    },
    Case {
        name: "an image on a host that is not confirmed",
        prepare: |bench| {
            let image = format!("https://127.0.0.1:1/os.img.xz\nimage_sha256: {DIGEST}");
            bench.cluster(&CLUSTER.replace("pios.img", &image));
        },
        words: &["plan"],
        code: 2,
        hints: &[("builder images trust 127.0.0.1:1", DONE)],
        // There is no network here.
        then: Some(1),
    },
    Case {
        name: "a rehearsal without the manager",
        prepare: |_| {},
        words: &["rehearse", "red01"],
        code: 2,
        // It needs the cards.
        hints: &[("builder rehearse --json red01 red00", FAILED)],
        then: None,
    },
    Case {
        name: "a rehearsal without cards",
        prepare: |_| {},
        words: &["rehearse", "red00", "--cards", "my cards"],
        code: 1,
        hints: &[("builder build -o 'my cards' red00", DONE)],
        then: None,
    },
    Case {
        name: "a folder for man pages that cannot be made",
        prepare: |_| {},
        words: &["man", "cluster.yaml/man1"],
        code: 1,
        hints: &[("builder man share/man/man1", DONE)],
        then: None,
    },
    Case {
        name: "an image of another release than promised",
        prepare: |bench| bench.cluster(&format!("{CLUSTER}image_sha256: {DIGEST}\n")),
        words: &["plan"],
        code: 4,
        hints: &[],
        then: None,
    },
];
