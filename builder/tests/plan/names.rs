//! Names in the cluster file that the image does not know.

use std::fs;
use std::process::Command;

use builder::error::Failure;
use builder::plan::Planner;

use crate::bench::{Bench, CLUSTER, bench_with};
use crate::fixture::Recipe;

/// Lists as Debian 13 has them, shortened: tzdata 2026f, locales 2.41, xkb-data 2.42 and base-passwd 3.6.
fn trixie() -> Recipe {
    let mut recipe = Recipe::trixie();
    recipe.root = vec![
        "usr/share/zoneinfo/America/New_York",
        "usr/share/zoneinfo/America/Argentina/Buenos_Aires",
        "usr/share/zoneinfo/Etc/GMT-1",
        "usr/share/zoneinfo/Etc/UTC",
        "usr/share/zoneinfo/Europe/Berlin",
        "usr/share/zoneinfo/zone.tab",
    ];
    recipe.root_files = vec![
        ("usr/share/zoneinfo/tzdata.zi", "# version 2026f\nL America/New_York US/Eastern\n"),
        (
            "usr/share/i18n/SUPPORTED",
            "de_DE.UTF-8 UTF-8\nde_DE ISO-8859-1\nen_GB.UTF-8 UTF-8\nen_US.UTF-8 UTF-8\n",
        ),
        (
            "usr/share/X11/xkb/rules/base.lst",
            "! model\n  pc105 Generic\n\n! layout\n  de   German\n  gb   English (UK)\n\n! variant\n  x de: x\n",
        ),
        (
            "etc/passwd",
            "root:x:0:0:root:/root:/bin/bash\navahi:x:104:104::/run/avahi-daemon:/usr/sbin/nologin\n\
             pi:x:1000:1000::/home/pi:/usr/sbin/nologin\n",
        ),
        ("etc/group", "root:x:0:\navahi:x:104:\ngpio:x:986:pi\npi:x:1000:\n"),
    ];
    recipe
}

fn open(bench: &Bench) -> Result<Planner, Failure> {
    Planner::open(&bench.project, &bench.image, &bench.options)
}

#[test]
fn names_every_name_that_the_image_does_not_know() {
    let lines = "timezone: US/Eastern\nlocale: en_EN.UTF-8\nkeymap: uk\n";
    let cluster = format!("{}{lines}", CLUSTER.replace("name: ada", "name: avahi"));
    let bench = bench_with(&trixie(), &cluster);
    let failure = open(&bench).unwrap_err();
    assert_eq!(failure.kind().code(), 2);
    assert!(!bench.project.secrets_folder().exists(), "refused before identities are made");
    let told = failure.render().replace(&format!("{}/", bench.folder.path().display()), "");
    insta::assert_snapshot!(told, @r"
    error: 4 problems in cluster.yaml

    cluster.yaml:6:9: this image has an account `avahi` already, which belongs to the system
      |   name: avahi
      |         ^^^^^
      = write another name, like pi

    cluster.yaml:8:11: this image does not know the time zone `US/Eastern`
      | timezone: US/Eastern
      |           ^^^^^^^^^^
      = write America/New_York, its name today

    cluster.yaml:9:9: this image does not know the locale `en_EN.UTF-8`
      | locale: en_EN.UTF-8
      |         ^^^^^^^^^^^
      = write one of: en_GB.UTF-8, en_US.UTF-8

    cluster.yaml:10:9: this image does not know the keyboard layout `uk`
      | keymap: uk
      |         ^^
      = write gb for English (UK)
    ");
}

#[test]
fn names_that_the_image_knows_are_planned() {
    let lines = "timezone: America/Argentina/Buenos_Aires\nlocale: de_DE.UTF-8\nkeymap: gb\n";
    for name in ["pi", "ada"] {
        let cluster = format!("{}{lines}", CLUSTER.replace("name: ada", &format!("name: {name}")));
        assert!(open(&bench_with(&trixie(), &cluster)).is_ok(), "{name}");
    }
    let cluster = CLUSTER.replace("name: ada", "name: gpio");
    assert!(open(&bench_with(&trixie(), &cluster)).unwrap_err().render().contains("has a group `gpio`"));
}

#[test]
fn an_image_without_lists_judges_no_name() {
    let lines = "timezone: Berln\nlocale: xx_YY.UTF-8\nkeymap: zz\n";
    assert!(open(&bench_with(&Recipe::trixie(), &format!("{CLUSTER}{lines}"))).is_ok());
}

/// The program itself, with a copy of the message in the guide's form.
#[test]
fn plan_and_build_end_with_code_2_and_write_nothing() {
    let bench = bench_with(&trixie(), &format!("{CLUSTER}timezone: Berln\n"));
    for command in ["plan", "build"] {
        let output = Command::new(env!("CARGO_BIN_EXE_builder"))
            .current_dir(bench.folder.path())
            .env_clear()
            .env("HOME", bench.folder.path())
            .args(["--cache", "cache", command, "--firstboot", "firstboot-aarch64"])
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("cluster.yaml:8:11: this image does not know the time zone `Berln`"), "{said}");
        assert!(said.contains("write Europe/Berlin"), "{said}");
        assert!(output.stdout.is_empty());
    }
    let left = fs::read_dir(bench.folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
    let mut left: Vec<_> = left.map(|name| name.into_string().unwrap()).collect();
    left.sort();
    assert_eq!(left, ["cache", "cluster.yaml", "firstboot-aarch64", "pios.img"]);
}
