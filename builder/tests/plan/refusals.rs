//! What no card is made from.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use builder::plan::Planner;

use crate::bench::{agent_of, bench, copy};
use crate::fixture::{AARCH64, ARM, Recipe, X86_64, at, elf, run};

#[test]
fn refuses_images_that_are_not_as_published() {
    let with = |change: fn(&mut Recipe)| {
        let mut recipe = Recipe::trixie_cloud_init();
        change(&mut recipe);
        bench(&recipe).refusal()
    };
    type Change = fn(&mut Recipe);
    let cases: [(Change, &str); 14] = [
        (
            |r| r.put("cmdline.txt", "console=tty1 rootwait\n"),
            "it was booted before: its cmdline.txt has neither `resize` (Debian 13)",
        ),
        (|r| r.put("cmdline.txt", ""), "is not complete: its cmdline.txt is empty"),
        (|r| r.remove("cmdline.txt"), "is not complete: it has no cmdline.txt"),
        (|r| r.machine_id = "0123456789abcdef0123456789abcdef\n", "its /etc/machine-id is drawn"),
        (
            |r| r.put("cmdline.txt", "rootwait resize systemd.run=/boot/firstrun.sh\n"),
            "has systemd.run=/boot/firstrun.sh",
        ),
        (|r| r.put("swarm/card.json", "{}"), "it has a folder swarm"),
        (|r| r.put("custom.toml", "config_version = 1"), "it has custom.toml"),
        (|r| r.put("firstrun.sh", "#!/bin/sh"), "it has firstrun.sh"),
        (|r| r.put("userconf.txt", "pi:x"), "it has userconf.txt"),
        (|r| r.put("user-data", "#cloud-config\nhostname: mine\n"), "its user-data is filled in"),
        (|r| r.put("dietpi.txt", ""), "it is DietPi"),
        (|r| r.label = "armbi_boot", "it is Armbian"),
        (
            |r| r.codename = "bookworm",
            "is that of Trixie with cloud-init, but its root partition holds bookworm",
        ),
        (|r| r.mount = "/boot", "mounts it at /boot"),
    ];
    for (change, reason) in cases {
        let said = with(change);
        assert!(said.contains(reason), "{reason}: {said}");
        assert!(
            said.starts_with("error: no card can be made from pios.img\ncaused by: ")
                && said.contains("\nhint: "),
            "{said}"
        );
    }
}

#[test]
fn refuses_an_ubuntu_that_is_not_as_published() {
    type Change = fn(&mut Recipe);
    let cases: [(Change, &str); 9] = [
        (|r| r.machine_id = "0123456789abcdef0123456789abcdef\n", "its /etc/machine-id is drawn"),
        (|r| r.root.push("var/lib/cloud/instance/user-data.txt"), "it was booted before: cloud-init has run"),
        (|r| r.root.push("etc/cloud/cloud-init.disabled"), "but its root partition has no cloud-init"),
        (|r| r.root.clear(), "but its root partition has no cloud-init"),
        (|r| r.id = "fedora", "but its root partition holds The fedora of noble"),
        (|r| r.mount = "/boot", "mounts it at /boot"),
        (|r| r.put("user-data", "#cloud-config\nhostname: mine\n"), "its user-data is filled in"),
        (|r| r.put("network-config", "wifis:\n  wlan0: {}\n"), "its network-config is filled in"),
        (|r| r.put("swarm/card.json", "{}"), "it has a folder swarm"),
    ];
    for (change, reason) in cases {
        let mut recipe = Recipe::ubuntu();
        change(&mut recipe);
        let said = bench(&recipe).refusal();
        assert!(said.contains(reason) && said.contains("\nhint: "), "{reason}: {said}");
    }
    let mut desktop = Recipe::ubuntu();
    desktop.remove("user-data");
    assert!(bench(&desktop).refusal().contains("it is an Ubuntu without cloud-init, Desktop or Core"));
}

#[test]
fn refuses_releases_and_systems_with_the_reason() {
    let ubuntu = |codename| Recipe { codename, ..Recipe::ubuntu() };
    // Desktop images have a seed as well; that of 26.04 is not Server's.
    let mut desktop = ubuntu("resolute");
    desktop.root.push("usr/share/wayland-sessions/ubuntu.desktop");
    desktop.put("user-data", "#cloud-config\nhostname: ubuntu\n");
    let mut made = Recipe::trixie();
    made.label = "BOOT";
    made.remove("issue.txt");
    made.put("cmdline.txt", "console=serial0,115200 root=/dev/disk/by-slot/system rootwait\n");
    for (recipe, name, reason) in [
        // LinuxCNC/linuxcnc#4510: "Release file … is expired".
        (Recipe::bullseye(), "it is Raspberry Pi OS Bullseye", "expired on 2026-09-07"),
        (Recipe { machine: ARM, ..Recipe::bullseye() }, "it is Raspberry Pi OS Bullseye", "2026-08-31"),
        (ubuntu("jammy"), "it is The ubuntu of jammy", "linux-modules-extra-raspi"),
        (ubuntu("questing"), "it is The ubuntu of questing", "ended its support"),
        (ubuntu("unheard"), "it is The ubuntu of unheard", "never tried"),
        (desktop, "it is Ubuntu Desktop", "waits for a person"),
        (made, "it is an image made by rpi-image-gen", "no first boot"),
    ] {
        let said = bench(&recipe).refusal();
        assert!(said.contains(name) && said.contains(reason) && said.contains("\nhint: "), "{said}");
    }
}

#[test]
fn refuses_an_architecture_without_an_agent() {
    let mut recipe = Recipe::bookworm();
    recipe.machine = 243;
    let said = bench(&recipe).refusal();
    assert!(said.contains("ELF machine 243"), "{said}");
}

#[test]
fn refuses_an_agent_for_the_first_pis_and_says_why() {
    let bench = bench(&Recipe::trixie_32());
    let agent = bench.options.firstboot.as_ref().unwrap();
    fs::write(agent, elf::arm(Some(6))).unwrap();
    let said = bench.refusal();
    assert!(said.contains("it is for ARMv6") && said.contains("Docker has no packages for them"), "{said}");
}

#[test]
fn refuses_an_agent_for_another_architecture() {
    let mut recipe = Recipe::trixie();
    recipe.machine = X86_64;
    recipe.without_dpkg = true;
    let said = bench(&recipe).refusal();
    assert!(
        said.contains("is for aarch64, but the image is for x86_64\nhint: run `cargo xtask agent`"),
        "{said}"
    );
}

#[test]
fn refuses_a_boot_partition_without_room_and_says_how_much_is_missing() {
    let mut bench = bench(&Recipe::trixie());
    let room = 160 * 1024 * 1024;
    let fill = bench.folder.path().join("fill");
    File::create(&fill).unwrap().set_len(Recipe::trixie().boot_bytes() - 8 * 1024 * 1024).unwrap();
    run(Command::new("mcopy")
        .args(["-i", &at(&bench.image, Recipe::boot_offset())])
        .arg(&fill)
        .arg("::/fill"));
    let agent = bench.folder.path().join("big");
    fs::write(&agent, agent_of(AARCH64, 12_000_000)).unwrap();
    bench.options.firstboot = Some(agent);
    let said = bench.refusal();
    assert!(said.contains("its boot partition is too full: "), "{said}");
    let missing: u64 = said.split("too full: ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    assert!(missing > 3_000_000 && missing < room, "{said}");
}

#[test]
fn refuses_what_is_no_image() {
    let whole = bench(&Recipe::trixie_cloud_init());
    let refused = |name: &str, change: fn(&File)| {
        let image = whole.folder.path().join(name);
        copy(&whole.image, &image);
        change(&File::options().read(true).write(true).open(&image).unwrap());
        Planner::open(&whole.project, &image, &whole.options).expect_err(name).render()
    };
    type Change = fn(&File);
    let cases: [(&str, Change, &str); 7] = [
        ("no-table", |f| f.write_all_at(&[0; 512], 0).unwrap(), "it has no partition table"),
        (
            "no-fat-entry",
            |f| f.write_all_at(&[0x83], 450).unwrap(),
            "it has no FAT partition to boot from: its partitions have the types 0x83, 0x83",
        ),
        // FAT16's type is accepted; a FAT16 is not.
        (
            "fat16",
            |f| {
                f.write_all_at(&[0x0e], 450).unwrap();
                f.write_all_at(&[64, 0], Recipe::boot_offset() + 22).unwrap();
            },
            "its boot partition is no FAT32: it is a FAT12, FAT16",
        ),
        ("no-linux-entry", |f| f.write_all_at(&[0x0c], 466).unwrap(), "it has no Linux partition"),
        (
            "no-fat",
            |f| f.write_all_at(&[0; 512], Recipe::boot_offset()).unwrap(),
            "its boot partition is no FAT32",
        ),
        (
            "no-ext4",
            |f| {
                f.write_all_at(&[0; 2048], Recipe::boot_offset() + Recipe::trixie_cloud_init().boot_bytes())
                    .unwrap()
            },
            "its root partition is no ext4",
        ),
        ("cut", |f| f.set_len(Recipe::boot_offset() + 512).unwrap(), "it is cut short"),
    ];
    for (name, change, reason) in cases {
        let said = refused(name, change);
        assert!(said.contains(reason), "{name}: {said}");
    }
    let missing =
        Planner::open(&whole.project, Path::new("/nowhere.img"), &whole.options).unwrap_err().render();
    assert!(missing.contains("cannot open /nowhere.img"), "{missing}");
}

#[test]
fn refuses_a_gpt_that_only_its_copy_is_left_of() {
    let bench = bench(&Recipe { gpt: true, ..Recipe::trixie() });
    let image = File::options().write(true).open(&bench.image).unwrap();
    image.write_all_at(&[0; 512], 512).unwrap();
    let said = bench.refusal();
    assert!(said.contains("only the copy at the end of the image is left"), "{said}");
    // The hint's command mends it.
    let path = bench.image.display().to_string();
    let command = said.split('`').nth(1).unwrap().replace("IMAGE", &path);
    run(Command::new("sh").args(["-ec", &command]).current_dir(bench.folder.path()));
    bench.card(0);
}
