//! Tells from the FAT alone which system and release an image is, and whether it is as published: never booted and
//! not customised. Pure: file contents in, answer out.

use std::fmt;

use cluster::card::Start;
use cluster::hook;
use thiserror::Error;
use time::{Date, Month};

mod support;
mod template;

pub use support::{Named, refused_by_name};
use support::{Support, Ubuntu};

/// What a card can be made from: the releases of Raspberry Pi OS, and Ubuntu Server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// Debian 12.
    Bookworm,
    /// Debian 13 as of 2025-10.
    Trixie,
    /// Debian 13 since 2025-11-24, with cloud-init.
    TrixieCloudInit,
    /// Any release of Ubuntu Server for Pis; only its root partition tells which.
    Ubuntu,
}

impl Release {
    /// Debian's name for it, as in os-release; `None` where the FAT does not tell.
    pub const fn codename(self) -> Option<&'static str> {
        match self {
            Self::Bookworm => Some("bookworm"),
            Self::Trixie | Self::TrixieCloudInit => Some("trixie"),
            Self::Ubuntu => None,
        }
    }

    /// Whether cloud-init is active in it.
    pub const fn has_cloud_init(self) -> bool {
        matches!(self, Self::TrixieCloudInit | Self::Ubuntu)
    }

    /// What starts the seed stage on its cards.
    pub const fn start(self) -> Start {
        match self {
            Self::Bookworm | Self::Trixie | Self::TrixieCloudInit => Start::Hook,
            // Its newer releases keep several kernel command lines and swap them by themselves.
            Self::Ubuntu => Start::CloudInit,
        }
    }

    /// Where it mounts the FAT.
    pub const fn mount(self) -> &'static str {
        "/boot/firmware"
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bookworm => "Bookworm",
            Self::Trixie => "Trixie",
            Self::TrixieCloudInit => "Trixie with cloud-init",
            Self::Ubuntu => "Ubuntu Server",
        })
    }
}

/// What is on the FAT, as far as it tells something.
#[derive(Debug, Clone, Default)]
pub struct BootFiles {
    /// The volume label.
    pub label: Option<String>,
    /// Names in the root folder.
    pub names: Vec<String>,
    /// `cmdline.txt`, or that of the folder `current`.
    pub cmdline: Option<String>,
    /// `config.txt`.
    pub config: Option<String>,
    /// `issue.txt`.
    pub issue: Option<String>,
    /// `user-data`, `network-config` and `meta-data`: cloud-init's seed.
    pub seed: [Option<String>; 3],
}

/// The names of [`BootFiles::seed`].
pub const SEED_FILES: [&str; 3] = ["user-data", "network-config", "meta-data"];

/// Files that a person or a tool puts there before the first boot; no image is published with one.
const LEFT_BY_TOOLS: [&str; 8] = [
    "custom.toml",
    "firstrun.sh",
    "rpi-preseed.toml",
    "ssh",
    "ssh.txt",
    "userconf",
    "userconf.txt",
    "wpa_supplicant.conf",
];

/// An image as published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recognised {
    /// Its release.
    pub release: Release,
    /// The kernel command line, without the line's end.
    pub cmdline: String,
    /// The day it was made.
    pub date: Option<Date>,
}

/// Why no card is made from an image. Reads after the image's name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refusal {
    /// An operating system we know by name only.
    #[error("it is {0}, which is not supported; Raspberry Pi OS and Ubuntu Server are")]
    OtherSystem(&'static str),
    /// A release, or a kind of image, that cards are not made from.
    #[error("it is {name}, which is not supported: {reason}")]
    Unsupported {
        /// What it is.
        name: String,
        /// Why not.
        reason: &'static str,
    },
    /// A file that every image has is empty or missing.
    #[error("its boot partition is not complete: {0}")]
    Incomplete(&'static str),
    /// No sign of a supported one.
    #[error("it is neither Raspberry Pi OS nor Ubuntu Server: {0}")]
    Unknown(&'static str),
    /// It ran on a Pi.
    #[error("it was booted before: {0}")]
    Booted(&'static str),
    /// Another tool, or this one, prepared it.
    #[error("it was customised before: {0}")]
    Customised(String),
    /// FAT and root partition say different things.
    #[error("its boot partition is that of {release}, but its root partition {root}")]
    Contradiction {
        /// What the FAT says.
        release: Release,
        /// What the root partition does or has.
        root: String,
    },
}

impl Refusal {
    /// What to do about it.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::OtherSystem(_) | Self::Unsupported { .. } | Self::Unknown(_) => {
                "set `image: raspios-lite-arm64` in the cluster file, or the path of another image of Raspberry Pi OS \
                 or Ubuntu Server"
            }
            Self::Booted(_) | Self::Customised(_) => {
                "take the image as it was published: a copy of a used or prepared card would give every node the same identity"
            }
            Self::Contradiction { .. } | Self::Incomplete(_) => "download the image again",
        }
    }
}

/// Tells release and state. Checks go from cheap to certain; the root partition has the last word.
pub fn recognise(files: &BootFiles) -> Result<Recognised, Refusal> {
    if is_image_gens(files) {
        let name = "an image made by rpi-image-gen".to_owned();
        return Err(Refusal::Unsupported { name, reason: support::IMAGE_GEN });
    }
    if let Some(name) = other_system(files) {
        return Err(Refusal::OtherSystem(name));
    }
    let is_ubuntu = is_ubuntu(files);
    let issue = files.issue.as_deref().unwrap_or_default();
    if !is_ubuntu && !issue.contains("pi-gen") {
        return Err(Refusal::Unknown("no issue.txt of pi-gen is on its boot partition"));
    }
    let Some(cmdline) = &files.cmdline else {
        return Err(Refusal::Incomplete("it has no cmdline.txt"));
    };
    let cmdline = cmdline.trim_end().to_owned();
    if cmdline.is_empty() {
        return Err(Refusal::Incomplete("its cmdline.txt is empty"));
    }
    let release = if is_ubuntu { Release::Ubuntu } else { first_boot_release(&cmdline, files)? };
    Ok(Recognised { release, cmdline, date: issue_date(issue) })
}

/// Refuses an image that a person or a tool prepared.
pub fn check_untouched(recognised: &Recognised, files: &BootFiles) -> Result<(), Refusal> {
    match customisation(recognised.release, &recognised.cmdline, files) {
        Some(what) => Err(Refusal::Customised(what)),
        None => Ok(()),
    }
}

/// What is to be known of cards made from a release of Ubuntu, by its code name; `name` is what a person calls it.
///
/// # Errors
/// When cards are not made from it.
pub fn check_ubuntu(codename: &str, name: &str) -> Result<Option<&'static str>, Refusal> {
    let refused = |reason| Err(Refusal::Unsupported { name: name.to_owned(), reason });
    match support::UBUNTU.iter().find(|ubuntu| ubuntu.codename == codename) {
        Some(Ubuntu { support: Support::Tried, .. }) => Ok(None),
        Some(Ubuntu { support: Support::Untried(what), .. }) => Ok(Some(what)),
        Some(Ubuntu { support: Support::Refused(reason), .. }) => refused(reason),
        None => refused("it was never tried; Ubuntu Server 24.04 was"),
    }
}

/// The refusal of Ubuntu Desktop.
pub fn desktop() -> Refusal {
    Refusal::Unsupported { name: "Ubuntu Desktop".to_owned(), reason: support::DESKTOP }
}

/// The label by which its cloud-init finds the FAT.
fn is_ubuntu(files: &BootFiles) -> bool {
    files.label.as_deref() == Some("system-boot")
}

/// What rpi-image-gen makes finds its root partition by a slot, up to v1 by its label (raspberrypi/rpi-image-gen,
/// image/mbr/simple_dual/setup.sh).
fn is_image_gens(files: &BootFiles) -> bool {
    let mut words = files.cmdline.as_deref().unwrap_or_default().split_whitespace();
    words.any(|word| word.starts_with("root=/dev/disk/by-slot/") || word == "root=/dev/disk/by-label/ROOT")
}

fn other_system(files: &BootFiles) -> Option<&'static str> {
    if matches!(files.label.as_deref(), Some("RPICFG" | "armbi_boot")) {
        return Some("Armbian");
    }
    if has(files, "dietpi.txt") {
        return Some("DietPi");
    }
    (is_ubuntu(files) && !has(files, "user-data")).then_some("an Ubuntu without cloud-init, Desktop or Core")
}

/// The word that makes a fresh image grow its root partition tells the generation; it is gone after the first boot.
fn first_boot_release(cmdline: &str, files: &BootFiles) -> Result<Release, Refusal> {
    let words = || cmdline.split_whitespace();
    if words().any(|word| word == "resize") {
        let cloud_init = SEED_FILES.iter().all(|name| has(files, name));
        return Ok(if cloud_init { Release::TrixieCloudInit } else { Release::Trixie });
    }
    // 2022-09 and later, and before.
    let resizers =
        ["init=/usr/lib/raspberrypi-sys-mods/firstboot", "init=/usr/lib/raspi-config/init_resize.sh"];
    if !words().any(|word| resizers.contains(&word)) {
        return Err(Refusal::Booted(
            "its cmdline.txt has neither `resize` (Debian 13) nor `init=/usr/lib/raspberrypi-sys-mods/firstboot` \
             (Debian 12), one of which every fresh image has and loses in its first boot",
        ));
    }
    let config = files.config.as_deref().unwrap_or_default();
    let initramfs = config.lines().any(|line| line.trim() == "auto_initramfs=1")
        || files.names.iter().any(|name| name.to_ascii_lowercase().starts_with("initramfs"));
    if initramfs {
        return Ok(Release::Bookworm);
    }
    Err(Refusal::Unsupported { name: "Raspberry Pi OS Bullseye".to_owned(), reason: support::BULLSEYE })
}

fn customisation(release: Release, cmdline: &str, files: &BootFiles) -> Option<String> {
    let by_builder = has(files, cluster::card::FOLDER);
    if by_builder {
        return Some(format!("it has a folder {}, as the cards made here have", cluster::card::FOLDER));
    }
    let foreign = |word: &&str| hook::is_hook_token(word) || word.starts_with("ds=nocloud");
    if let Some(word) = cmdline.split_whitespace().find(foreign) {
        return Some(format!("its cmdline.txt has {word}"));
    }
    if cmdline.lines().count() > 1 {
        return Some("its cmdline.txt has more than one line".to_owned());
    }
    if let Some(name) = LEFT_BY_TOOLS.iter().find(|name| has(files, name)) {
        return Some(format!("it has {name}"));
    }
    let as_shipped = template::of(release);
    let filled_in = |content: &&Option<String>| content.as_deref().is_some_and(|text| !as_shipped(text));
    let index = files.seed.iter().position(|content| filled_in(&content))?;
    Some(format!("its {} is filled in", SEED_FILES.get(index)?))
}

/// `Raspberry Pi reference 2025-12-04`.
fn issue_date(issue: &str) -> Option<Date> {
    let mut parts = issue.lines().next()?.split_whitespace().next_back()?.splitn(3, '-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    let month = Month::try_from(month.parse::<u8>().ok()?).ok()?;
    Date::from_calendar_date(year.parse().ok()?, month, day.parse().ok()?).ok()
}

fn has(files: &BootFiles, name: &str) -> bool {
    files.names.iter().any(|present| present.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &str = "console=serial0,115200 console=tty1 root=PARTUUID=4f2c9ea0-02 rootfstype=ext4 fsck.repair=yes rootwait";
    const FIRSTBOOT: &str = "quiet init=/usr/lib/raspberrypi-sys-mods/firstboot";

    fn files(words: &str, names: &[&str]) -> BootFiles {
        let mut names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        names.push("issue.txt".to_owned());
        BootFiles {
            label: Some("bootfs".to_owned()),
            names,
            cmdline: Some(format!("{BASE} {words}\n")),
            config: Some("arm_64bit=1\n".to_owned()),
            issue: Some(
                "Raspberry Pi reference 2025-12-04\nGenerated using pi-gen, https://github.com/RPi-Distro/pi-gen, 0, stage2\n"
                    .to_owned(),
            ),
            seed: [None, None, None],
        }
    }

    fn as_published(files: &BootFiles) -> Result<Recognised, Refusal> {
        let recognised = recognise(files)?;
        check_untouched(&recognised, files)?;
        Ok(recognised)
    }

    fn release(files: &BootFiles) -> Release {
        as_published(files).unwrap().release
    }

    #[test]
    fn tells_the_releases_apart() {
        assert_eq!(release(&files(FIRSTBOOT, &["INITRAMFS8"])), Release::Bookworm);
        let mut by_config = files(FIRSTBOOT, &[]);
        by_config.config = Some("auto_initramfs=1\n".to_owned());
        assert_eq!(release(&by_config), Release::Bookworm);
        assert_eq!(release(&files("resize", &[])), Release::Trixie);
        assert_eq!(release(&files("resize", &SEED_FILES)), Release::TrixieCloudInit);
    }

    #[test]
    fn reads_the_day_it_was_made() {
        let recognised = recognise(&files("resize", &[])).unwrap();
        assert_eq!(recognised.date, Date::from_calendar_date(2025, Month::December, 4).ok());
        let mut odd = files("resize", &[]);
        odd.issue = Some("made with pi-gen by hand".to_owned());
        assert_eq!(recognise(&odd).unwrap().date, None);
    }

    #[test]
    fn refuses_what_was_booted_and_names_the_missing_word() {
        // raspberrypi-sys-mods#103: somebody took the word away on purpose.
        let refusal = recognise(&files("quiet", &[])).unwrap_err();
        let said = refusal.to_string();
        assert!(matches!(refusal, Refusal::Booted(_)) && said.contains("neither `resize`"), "{said}");
    }

    #[test]
    fn an_empty_command_line_is_no_sign_of_a_boot() {
        for (cmdline, reason) in [(Some("\n"), "is empty"), (Some(""), "is empty"), (None, "no cmdline.txt")]
        {
            let mut empty = files("resize", &[]);
            empty.cmdline = cmdline.map(str::to_owned);
            let said = recognise(&empty).unwrap_err().to_string();
            assert!(said.contains("is not complete") && said.contains(reason), "{said}");
        }
    }

    #[test]
    fn refuses_bullseye_with_the_reason() {
        for words in ["quiet init=/usr/lib/raspi-config/init_resize.sh", FIRSTBOOT] {
            let said = recognise(&files(words, &["kernel8.img"])).unwrap_err().to_string();
            assert!(said.contains("Bullseye") && said.contains("2026-09-07"), "{said}");
        }
    }

    #[test]
    fn knows_what_rpi_image_gen_makes() {
        for root in ["/dev/disk/by-slot/system", "/dev/disk/by-label/ROOT"] {
            let mut made = files("", &[]);
            made.issue = None;
            made.cmdline = Some(format!("console=serial0,115200 root={root} rootwait\n"));
            let said = recognise(&made).unwrap_err().to_string();
            assert!(said.contains("made by rpi-image-gen") && said.contains("one purpose"), "{said}");
        }
    }

    #[test]
    fn every_release_of_ubuntu_has_its_answer() {
        assert_eq!(check_ubuntu("noble", "Ubuntu 24.04.3 LTS"), Ok(None));
        assert!(check_ubuntu("resolute", "Ubuntu 26.04 LTS").unwrap().unwrap().contains("ever booted"));
        for (codename, reason) in
            [("jammy", "linux-modules-extra-raspi"), ("questing", "ended"), ("zesty", "never tried")]
        {
            let said = check_ubuntu(codename, "Ubuntu X").unwrap_err().to_string();
            assert!(said.contains("Ubuntu X") && said.contains(reason), "{said}");
        }
    }

    #[test]
    fn refuses_other_systems_by_name() {
        let system = |label: &str, name: &str| {
            let files = BootFiles {
                label: Some(label.to_owned()),
                names: vec![name.to_owned()],
                ..BootFiles::default()
            };
            recognise(&files).unwrap_err()
        };
        assert!(
            matches!(system("system-boot", "cmdline.txt"), Refusal::OtherSystem(name) if name.contains("Desktop"))
        );
        assert!(matches!(system("whatever", "user-data"), Refusal::Unknown(_)));
        assert_eq!(system("bootfs", "dietpi.txt"), Refusal::OtherSystem("DietPi"));
        assert_eq!(system("RPICFG", ""), Refusal::OtherSystem("Armbian"));
        assert_eq!(system("armbi_boot", ""), Refusal::OtherSystem("Armbian"));
        assert!(matches!(system("bootfs", "cmdline.txt"), Refusal::Unknown(_)));
    }

    #[test]
    fn refuses_what_another_tool_prepared() {
        let customised = |files: &BootFiles| match as_published(files) {
            Err(Refusal::Customised(what)) => what,
            other => panic!("{other:?}"),
        };
        for name in LEFT_BY_TOOLS.into_iter().chain(["SWARM"]) {
            assert!(customised(&files("resize", &[name])).contains(&name.to_lowercase()));
        }
        for word in
            ["systemd.run=/boot/firstrun.sh", "systemd.unit=kernel-command-line.target", "ds=nocloud;i=x"]
        {
            assert!(customised(&files(&format!("resize {word}"), &[])).contains(word));
        }
        let mut filled = files("resize", &SEED_FILES);
        filled.seed[0] = Some("#cloud-config\n# hostname: x\n".to_owned());
        filled.seed[2] = Some("# NoCloud\ndsmode: local\ninstance_id: rpios-image\n".to_owned());
        assert_eq!(release(&filled), Release::TrixieCloudInit);
        filled.seed[0] = Some("#cloud-config\nhostname: mine\n".to_owned());
        assert_eq!(customised(&filled), "its user-data is filled in");
        filled.seed[0] = None;
        filled.seed[2] = Some("instance-id: rpi-imager-1700000000\n".to_owned());
        assert_eq!(customised(&filled), "its meta-data is filled in");
    }

    fn ubuntu() -> BootFiles {
        let mut files = files("", &["user-data", "meta-data", "network-config"]);
        files.label = Some("system-boot".to_owned());
        files.issue = None;
        files.cmdline = Some("console=tty1 root=LABEL=writable rootfstype=ext4 rootwait fixrtc\n".to_owned());
        files
    }

    #[test]
    fn knows_ubuntu_server_by_its_label() {
        let recognised = recognise(&ubuntu()).unwrap();
        assert_eq!((recognised.release, recognised.date), (Release::Ubuntu, None));
        assert_eq!(recognised.release.start(), Start::CloudInit);
        let mut customised = ubuntu();
        customised.cmdline = Some("root=LABEL=writable ds=nocloud;i=rpi-imager-1".to_owned());
        assert!(matches!(as_published(&customised), Err(Refusal::Customised(_))));
        customised = ubuntu();
        customised.seed[0] = Some("#cloud-config\nusers:\n- name: me\n".to_owned());
        assert_eq!(
            as_published(&customised).unwrap_err(),
            Refusal::Customised("its user-data is filled in".to_owned())
        );
    }
}
