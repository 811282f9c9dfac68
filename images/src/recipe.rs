//! What goes into an image: which packages, files and scripts make which release, and on what card they lie.

use sha2::{Digest as _, Sha256};

use crate::apt::Mirror;
use crate::layout::{Free, Layout};

/// Debian's own keys, on this machine and, by the same package, in the image.
pub(crate) const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// To be raised when what the code itself does, such as a program's options, changes what comes out.
const VERSION: &str = "3";

/// A system a card can carry. All are arm64 and start themselves, kernel and initramfs included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// Raspberry Pi OS Lite 12.
    Bookworm,
    /// Raspberry Pi OS Lite 13 as first published, without cloud-init.
    Trixie,
    /// Raspberry Pi OS Lite 13 with cloud-init, as since November 2025.
    TrixieCloudInit,
    /// A stand-in for Ubuntu Server: Debian 13 with cloud-init on Ubuntu's card layout.
    Ubuntu,
}

impl Release {
    /// Every release, in the order of their age on cards.
    pub const ALL: [Self; 4] = [Self::Bookworm, Self::Trixie, Self::TrixieCloudInit, Self::Ubuntu];

    /// The word for it in file names and on command lines.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bookworm => "bookworm",
            Self::Trixie => "trixie",
            Self::TrixieCloudInit => "trixie-cloud-init",
            Self::Ubuntu => "ubuntu",
        }
    }
}

/// A file of a recipe: its name in `$FILES` (and on the FAT), and its text.
pub(crate) type Text = (&'static str, &'static str);

macro_rules! texts {
    ($folder:literal: $($name:literal),+ $(,)?) => {
        [$(($name, include_str!(concat!("../recipes/", $folder, "/", $name)))),+]
    };
}

/// What every tree is finished with, first.
const SYSTEM: [Text; 2] = texts!("pios": "prelude.sh", "system.sh");

const PIOS_PACKAGES: &str = include_str!("../recipes/pios/packages");
const PIOS_SCRIPT: [Text; 1] = texts!("pios": "pios.sh");
const PIOS_FILES: [Text; 16] = texts!("pios":
    "40-rpi-enable-watchdog.conf",
    "40-rpi-sync.conf",
    "40-rpi-volatile-storage.conf",
    "cancel-rename",
    "fstab",
    "pios.preset",
    "regenerate_ssh_host_keys",
    "regenerate_ssh_host_keys.service",
    "sshd_banner",
    "sshswitch",
    "sshswitch.service",
    "swap-file",
    "swap-file.service",
    "userconf",
    "userconf-service",
    "userconfig.service",
);
const PIOS_FAT: [Text; 2] = texts!("pios": "cmdline.txt", "config.txt");

/// What an image needs to start itself.
const BOOT_PACKAGES: &str = include_str!("../recipes/boot/packages");
const BOOT_ESSENTIAL: [Text; 1] = texts!("boot": "essential.sh");
/// Runs twice: when the required packages are unpacked, and when they are installed.
const NATIVE: Text = ("native.sh", include_str!("../recipes/boot/native.sh"));
/// The last of the scripts: what others leave for the initramfs goes into it.
const BOOT_SCRIPT: [Text; 2] = texts!("boot": "boot.sh", "foreign.sh");
const BOOT_FILES: [Text; 1] = texts!("boot": "initramfs-hook");

const TRIXIE_SCRIPT: [Text; 1] = texts!("trixie": "trixie.sh");
const TRIXIE_FILES: [Text; 3] = texts!("trixie": "new-identity", "resize-partition", "rpi-resize.service");

const BOOKWORM_SCRIPT: [Text; 1] = texts!("bookworm": "bookworm.sh");
const BOOKWORM_FILES: [Text; 2] = texts!("bookworm": "first-boot", "grow-root");
const BOOKWORM_FAT: [Text; 2] = [
    ("cmdline.txt", include_str!("../recipes/bookworm/cmdline.txt")),
    ("config.txt", include_str!("../recipes/pios/config.txt")),
];

const CLOUD_INIT_PACKAGES: &str = include_str!("../recipes/cloud-init/packages");
const PYTHON_ESSENTIAL: [Text; 1] = texts!("cloud-init": "essential.sh");
const PYTHON_SCRIPT: [Text; 1] = texts!("cloud-init": "python.sh");
const CLOUD_INIT_SCRIPT: [Text; 1] = texts!("cloud-init": "cloud-init.sh");
const CLOUD_INIT_FILES: [Text; 2] = texts!("cloud-init": "41-rpi-firmware-mount.conf", "99_raspberry-pi.cfg");
const CLOUD_INIT_FAT: [Text; 3] = texts!("cloud-init": "meta-data", "network-config", "user-data");

const UBUNTU_PACKAGES: &str = include_str!("../recipes/ubuntu/packages");
const UBUNTU_SCRIPT: [Text; 1] = texts!("ubuntu": "ubuntu.sh");
const UBUNTU_FILES: [Text; 2] = texts!("ubuntu": "90-ubuntu.cfg", "fstab");
const UBUNTU_FAT: [Text; 5] =
    texts!("ubuntu": "cmdline.txt", "config.txt", "meta-data", "network-config", "user-data");

/// Everything that decides what comes out, apart from the state of the mirror.
#[derive(Debug)]
pub(crate) struct Recipe {
    /// The image's name, which its files in the cache begin with.
    pub(crate) name: String,
    /// Debian's name of the release it is made from.
    pub(crate) suite: &'static str,
    pub(crate) architecture: String,
    /// Lists of packages, one name a line.
    packages: Vec<&'static str>,
    /// Scripts that run before the packages of those lists are installed.
    essential: Vec<Text>,
    /// Whether this machine's own programs help to make the tree. That decides how fast, not what comes out.
    native: bool,
    /// Put one after the other, the script that finishes the tree.
    scripts: Vec<Text>,
    /// Files for the scripts.
    pub(crate) files: Vec<Text>,
    /// Files for the FAT partition and, some of them, the scripts.
    pub(crate) fat: Vec<Text>,
    pub(crate) layout: Layout,
    /// Whether it starts itself: real firmware, kernel and initramfs on the FAT, instead of their names.
    pub(crate) bootable: bool,
    /// Whether the card says that pi-gen made it, in `issue.txt`.
    pub(crate) issue: bool,
}

impl Recipe {
    /// The rack's image: a Pi OS userland for `architecture` without a kernel.
    pub(crate) fn rack(architecture: &str) -> Self {
        Self {
            name: format!("pios-trixie-{architecture}"),
            suite: "trixie",
            architecture: architecture.to_owned(),
            packages: vec![PIOS_PACKAGES],
            essential: Vec::new(),
            native: false,
            scripts: [&SYSTEM[..], &PIOS_SCRIPT].concat(),
            files: PIOS_FILES.to_vec(),
            fat: PIOS_FAT.to_vec(),
            // Docker has to fit without growing the root partition.
            layout: Layout { free: Free::Fixed, ..Layout::PIOS },
            bootable: false,
            issue: true,
        }
    }

    /// The image of `release`.
    pub(crate) fn bootable(release: Release) -> Self {
        let trixie = Self {
            name: format!("bootable-{}-arm64", release.name()),
            architecture: "arm64".to_owned(),
            packages: vec![PIOS_PACKAGES, BOOT_PACKAGES],
            essential: BOOT_ESSENTIAL.to_vec(),
            native: true,
            scripts: [&SYSTEM[..], &PIOS_SCRIPT, &TRIXIE_SCRIPT, &BOOT_SCRIPT].concat(),
            files: [&PIOS_FILES[..], &TRIXIE_FILES, &BOOT_FILES].concat(),
            layout: Layout::PIOS,
            bootable: true,
            ..Self::rack("arm64")
        };
        match release {
            Release::Trixie => trixie,
            Release::Bookworm => Self {
                suite: "bookworm",
                scripts: [&SYSTEM[..], &PIOS_SCRIPT, &BOOKWORM_SCRIPT, &BOOT_SCRIPT].concat(),
                files: [&PIOS_FILES[..], &BOOKWORM_FILES, &BOOT_FILES].concat(),
                fat: BOOKWORM_FAT.to_vec(),
                layout: Layout { sectors_per_cluster: 4, ..Layout::PIOS },
                ..trixie
            },
            Release::TrixieCloudInit => Self {
                packages: vec![PIOS_PACKAGES, BOOT_PACKAGES, CLOUD_INIT_PACKAGES],
                essential: [&BOOT_ESSENTIAL[..], &PYTHON_ESSENTIAL].concat(),
                scripts: [
                    &SYSTEM[..],
                    &PIOS_SCRIPT,
                    &TRIXIE_SCRIPT,
                    &CLOUD_INIT_SCRIPT,
                    &PYTHON_SCRIPT,
                    &BOOT_SCRIPT,
                ]
                .concat(),
                files: [&trixie.files[..], &CLOUD_INIT_FILES].concat(),
                fat: [&PIOS_FAT[..], &CLOUD_INIT_FAT].concat(),
                ..trixie
            },
            Release::Ubuntu => Self {
                packages: vec![UBUNTU_PACKAGES, BOOT_PACKAGES, CLOUD_INIT_PACKAGES],
                essential: [&BOOT_ESSENTIAL[..], &PYTHON_ESSENTIAL].concat(),
                scripts: [&SYSTEM[..], &UBUNTU_SCRIPT, &PYTHON_SCRIPT, &BOOT_SCRIPT].concat(),
                files: [&UBUNTU_FILES[..], &BOOT_FILES].concat(),
                fat: UBUNTU_FAT.to_vec(),
                layout: Layout { fat_label: "system-boot", root_label: "writable", ..Layout::PIOS },
                issue: false,
                ..trixie
            },
        }
    }

    /// The packages beyond Debian's required ones.
    pub(crate) fn packages(&self) -> Vec<&'static str> {
        self.packages.iter().flat_map(|list| list.lines()).filter(|line| !line.starts_with('#')).collect()
    }

    /// The script that finishes the tree.
    pub(crate) fn customize(&self) -> String {
        self.scripts.iter().map(|(_, text)| *text).collect::<Vec<_>>().join("\n")
    }

    /// The script that runs before the packages are installed, if anything has to.
    pub(crate) fn essential(&self) -> Option<String> {
        let texts: Vec<&str> = self.essential.iter().map(|(_, text)| *text).collect();
        (!texts.is_empty()).then(|| texts.join("\n"))
    }

    /// The script that lets this machine's own programs help, if they are to: its arguments are the tree and the stage,
    /// `extract` or `essential`.
    pub(crate) fn native(&self) -> Option<&'static str> {
        self.native.then_some(NATIVE.1)
    }

    /// The name of this recipe's result with this mirror; its last bytes name the disk.
    pub(crate) fn digest(&self, mirror: &Mirror) -> [u8; 32] {
        let mut hash = Sha256::new();
        let sources = mirror.sources(self.suite, KEYRING);
        let shape = format!("{:?} {} {}", self.layout, self.bootable, self.issue);
        let parts = [VERSION, &self.name, &self.architecture, &sources, &shape];
        let texts = [&self.essential, &self.scripts, &self.files, &self.fat].into_iter().flatten();
        let parts = parts.into_iter().chain(self.packages.iter().copied());
        for part in parts.chain(texts.flat_map(|(name, text)| [*name, *text])) {
            hash.update(part);
            hash.update([0]);
        }
        hash.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mirror(host: &str) -> Mirror {
        Mirror { archive: format!("http://{host}.example/debian"), security: None }
    }

    fn text<'a>(texts: &[(&str, &'a str)], name: &str) -> &'a str {
        texts.iter().find(|(other, _)| *other == name).unwrap_or_else(|| panic!("no {name}")).1
    }

    #[test]
    fn another_recipe_or_mirror_is_another_image() {
        let digest = Recipe::rack("amd64").digest(&mirror("a"));
        assert_eq!(digest, Recipe::rack("amd64").digest(&mirror("a")));
        assert_ne!(digest, Recipe::rack("arm64").digest(&mirror("a")));
        assert_ne!(digest, Recipe::rack("amd64").digest(&mirror("b")));
        let digests = Release::ALL.map(|release| Recipe::bootable(release).digest(&mirror("a")));
        for (index, digest) in digests.iter().enumerate() {
            assert!(!digests.iter().skip(index + 1).any(|other| other == digest), "{index}");
        }
    }

    #[test]
    fn every_text_of_a_recipe_is_part_of_its_digest() {
        let changed = |change: fn(&mut Recipe)| {
            let mut recipe = Recipe::bootable(Release::TrixieCloudInit);
            change(&mut recipe);
            recipe.digest(&mirror("a"))
        };
        let whole = changed(|_| ());
        assert_ne!(whole, changed(|recipe| recipe.packages = vec![PIOS_PACKAGES]));
        assert_ne!(whole, changed(|recipe| recipe.essential = BOOT_ESSENTIAL.to_vec()));
        assert_ne!(whole, changed(|recipe| recipe.scripts = Vec::new()));
        assert_ne!(whole, changed(|recipe| recipe.files = Vec::new()));
        assert_ne!(whole, changed(|recipe| recipe.fat = Vec::new()));
        assert_ne!(whole, changed(|recipe| recipe.suite = "sid"));
        assert_ne!(whole, changed(|recipe| recipe.layout.sectors_per_cluster = 4));
    }

    #[test]
    fn the_command_line_is_that_of_an_image_never_booted() {
        for release in Release::ALL {
            let recipe = Recipe::bootable(release);
            let line = text(&recipe.fat, "cmdline.txt");
            assert_eq!(line.lines().count(), 1, "{release:?}");
            let end = match release {
                Release::Bookworm => " rootwait quiet init=/usr/lib/raspberrypi-sys-mods/firstboot\n",
                Release::Trixie | Release::TrixieCloudInit => " rootwait resize\n",
                Release::Ubuntu => " rootwait fixrtc\n",
            };
            assert!(line.ends_with(end), "{release:?}: {line}");
        }
    }

    #[test]
    fn only_bookworm_says_firstboot_on_its_command_line() {
        for release in [Release::Trixie, Release::TrixieCloudInit, Release::Ubuntu] {
            assert!(
                !text(&Recipe::bootable(release).fat, "cmdline.txt").contains("firstboot"),
                "{release:?}"
            );
        }
    }

    #[test]
    fn every_file_the_scripts_put_is_in_the_recipe() {
        for recipe in Release::ALL.map(Recipe::bootable).iter().chain([&Recipe::rack("amd64")]) {
            let script = recipe.customize();
            for line in script.lines().filter_map(|line| line.trim().strip_prefix("put ")) {
                let name = line.split_whitespace().nth(1).unwrap();
                assert!(
                    name == "issue.txt" && recipe.issue
                        || recipe.files.iter().any(|(other, _)| *other == name),
                    "{}: {name}",
                    recipe.name
                );
            }
        }
    }

    #[test]
    fn the_seed_of_pi_os_says_nothing() {
        let recipe = Recipe::bootable(Release::TrixieCloudInit);
        for name in ["user-data", "network-config"] {
            assert!(text(&recipe.fat, name).lines().all(|line| line.starts_with('#')), "{name}");
        }
    }

    #[test]
    fn python_is_only_where_cloud_init_is() {
        for release in Release::ALL {
            let recipe = Recipe::bootable(release);
            let has = matches!(release, Release::TrixieCloudInit | Release::Ubuntu);
            assert_eq!(recipe.packages().contains(&"cloud-init"), has, "{release:?}");
            assert_eq!(recipe.customize().contains("python3"), has, "{release:?}");
        }
    }
}
