//! What the Pi's firmware would load, by `config.txt`. Pure. The Pi imitated is a Pi 4.
//!
//! After the documentation of `config.txt` ("Boot options", "Conditional filters"): the last setting counts, a section
//! such as `[pi5]` holds for that model only, `initramfs` is the one directive without an equals sign.

/// Sections that hold for the Pi imitated.
const SECTIONS: [&str; 2] = ["all", "pi4"];

/// What `config.txt` asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Config {
    kernel: Option<String>,
    initramfs: Option<Vec<String>>,
    auto_initramfs: bool,
    cmdline: Option<String>,
    os_prefix: String,
    /// Whether a 32-bit kernel is asked for.
    pub(super) wants_32_bit: bool,
}

/// Names of files on the FAT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Files {
    /// What is before the names of the operating system's files.
    pub(super) prefix: String,
    /// The kernel.
    pub(super) kernel: String,
    /// The parts of the initramfs. `true`: it may be missing.
    pub(super) initramfs: Vec<(String, bool)>,
    /// The kernel command line.
    pub(super) cmdline: String,
}

impl Config {
    pub(super) fn parse(text: &str) -> Self {
        let mut config = Self::default();
        let mut holds = true;
        for line in text.lines().map(|line| line.split('#').next().unwrap_or_default().trim()) {
            if let Some(section) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
                holds = SECTIONS.contains(&section.trim().to_ascii_lowercase().as_str());
            } else if holds {
                config.take(line);
            }
        }
        config
    }

    fn take(&mut self, line: &str) {
        if let Some(words) = line.strip_prefix("initramfs ") {
            let names = words.split_whitespace().next().unwrap_or_default();
            self.initramfs = Some(names.split(',').map(str::to_owned).collect());
        }
        let Some((key, value)) = line.split_once('=').map(|(key, value)| (key.trim(), value.trim())) else {
            return;
        };
        match key {
            "kernel" => self.kernel = Some(value.to_owned()),
            "auto_initramfs" => self.auto_initramfs = value != "0",
            "cmdline" => self.cmdline = Some(value.to_owned()),
            "os_prefix" => value.clone_into(&mut self.os_prefix),
            "arm_64bit" => self.wants_32_bit = value == "0",
            _ => {}
        }
    }

    /// The files to load. `exists` says what is on the FAT.
    pub(super) fn files(&self, exists: impl Fn(&str) -> bool) -> Files {
        let kernel = self.kernel.as_deref().unwrap_or("kernel8.img");
        // A prefix under which there is no kernel is passed over.
        let prefix =
            if exists(&format!("{}{kernel}", self.os_prefix)) { self.os_prefix.as_str() } else { "" };
        let at = |name: &str| format!("{prefix}{name}");
        let initramfs = match &self.initramfs {
            Some(names) => names.iter().map(|name| (at(name), false)).collect(),
            None if self.auto_initramfs => {
                automatic_initramfs(kernel).map(|name| (at(&name), true)).into_iter().collect()
            }
            None => Vec::new(),
        };
        let name = self.cmdline.as_deref().unwrap_or("cmdline.txt");
        let cmdline = if exists(&at(name)) { at(name) } else { name.to_owned() };
        Files { prefix: prefix.to_owned(), kernel: at(kernel), initramfs, cmdline }
    }
}

/// `kernel8.img` goes with `initramfs8`.
fn automatic_initramfs(kernel: &str) -> Option<String> {
    Some(format!("initramfs{}", kernel.strip_prefix("kernel")?.strip_suffix(".img")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(config: &str, present: &[&str]) -> Files {
        Config::parse(config).files(|name| present.contains(&name))
    }

    fn required(names: &[&str]) -> Vec<(String, bool)> {
        names.iter().map(|&name| (name.to_owned(), false)).collect()
    }

    #[test]
    fn raspberry_pi_os() {
        let config = "# For more options see the documentation\ndtparam=audio=on\nauto_initramfs=1\narm_64bit=1\n\
                      [cm4]\notg_mode=1\n[pi5]\nkernel=kernel_2712.img\n[all]\n";
        let files = files(config, &["kernel8.img", "cmdline.txt"]);
        assert_eq!(files.kernel, "kernel8.img");
        assert_eq!(files.initramfs, [("initramfs8".to_owned(), true)]);
        assert_eq!(files.cmdline, "cmdline.txt");
    }

    #[test]
    fn bullseye_has_no_initramfs() {
        assert_eq!(files("[pi4]\narm_boost=1\n[all]\n", &["kernel8.img"]).initramfs, []);
    }

    #[test]
    fn ubuntu() {
        let config = "[all]\nkernel=vmlinuz\ncmdline=cmdline.txt\ninitramfs initrd.img followkernel\n\n[pi4]\nmax_framebuffers=2\n";
        let files = files(config, &["vmlinuz", "initrd.img", "cmdline.txt"]);
        assert_eq!(files.kernel, "vmlinuz");
        assert_eq!(files.initramfs, required(&["initrd.img"]));
        assert_eq!(files.cmdline, "cmdline.txt");
    }

    #[test]
    fn ubuntu_that_can_go_back_to_its_last_kernel() {
        let config = "[all]\nos_prefix=current/\nkernel=vmlinuz\ninitramfs initrd.img followkernel # as ever\n[tryboot]\nos_prefix=new/\n";
        let found = files(config, &["current/vmlinuz", "current/initrd.img", "current/cmdline.txt"]);
        assert_eq!(found.kernel, "current/vmlinuz");
        assert_eq!(found.initramfs, required(&["current/initrd.img"]));
        assert_eq!(found.cmdline, "current/cmdline.txt");
        let unprefixed = files(config, &["vmlinuz", "cmdline.txt"]);
        assert_eq!((unprefixed.kernel.as_str(), unprefixed.cmdline.as_str()), ("vmlinuz", "cmdline.txt"));
    }

    #[test]
    fn the_last_word_counts_and_several_parts_are_one_initramfs() {
        let config = "kernel=old.img\nkernel = new.img\ninitramfs a,b 0x00800000\narm_64bit=0\n";
        assert!(Config::parse(config).wants_32_bit);
        let files = files(config, &["new.img"]);
        assert_eq!(files.kernel, "new.img");
        assert_eq!(files.initramfs, required(&["a", "b"]));
        assert_eq!(automatic_initramfs("vmlinuz"), None);
        assert!(!Config::parse("[none]\narm_64bit=0\n").wants_32_bit);
    }
}
