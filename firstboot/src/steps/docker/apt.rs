//! How apt is called, and what it complained about.
//!
//! The options are measured on Debian 13 with the lists of one architecture, in seconds of processor time (a Pi's cores
//! are several times slower): see "Packages" in `docs/decisions.md`.

use std::collections::BTreeSet;

use super::reload;
use crate::host::{Host, HostError, Output, Program};

/// Most complaints that are passed on; the rest are counted.
const COMPLAINTS: usize = 6;
/// Longest complaint that is passed on, in characters. That of sqv about a missing key has 270.
const LENGTH: usize = 400;

/// Address space for apt's index, in bytes: Debian's lists need 66 MB. apt begins with 24 MB and moves the index for every
/// megabyte more, which takes a tenth of the time (apt.conf(5), `APT::Cache-Start`).
const CACHE_START: &str = "APT::Cache-Start=100000000";

/// What says nothing about a source, or repeats the line before it. Raspbian's key causes the one about the policy with
/// apt 3.0.
const HARMLESS: [&str; 5] = [
    "Some index files failed to download",
    "Couldn't find any package by",
    "is configured multiple times in",
    "Policy will reject signature within a year",
    "stored in legacy trusted.gpg keyring",
];

/// Refreshes the package lists of all sources, for the machine's own architecture only.
///
/// The restriction applies to the lists only: `install` has to know of foreign packages that are installed. Lists that a
/// previous update fetched for other architectures stay. apt would index the lists at the end, but it discards an index of
/// fewer architectures at the next command, so the index is left to `install`.
///
/// `again`: an attempt was made before.
pub fn update(architecture: &str, again: bool) -> Program {
    let mut program = Program::new(
        "apt-get",
        [
            "update",
            "-q",
            "-o",
            "Acquire::Languages=none",
            "-o",
            "Acquire::Retries=2",
            "-o",
            "APT::Get::List-Cleanup=false",
            "-o",
            "pkgCacheFile::Generate=false",
            "-o",
        ],
    );
    program.args.push(format!("APT::Architectures={architecture}"));
    if !again {
        // A source that accepts connections and never answers holds up all others, three times as long with apt's own limit of
        // 30 s. Later attempts use that limit: a proxy that scans files is silent for longer than 10 s.
        program.args.extend(["-o", "Acquire::http::Timeout=10"].map(str::to_owned));
    }
    quiet(program)
}

/// Deletes empty package lists, so that the next update fetches them again.
///
/// apt does not flush the lists that it renames into place. A list that a power cut left empty is complete for apt, because
/// the release file beside it is the current one, until the repository changes (2.6.2 and 3.0.4).
pub fn delete_empty_lists() -> Program {
    let args = ["/var/lib/apt/lists", "-maxdepth", "1", "-type", "f", "-name", "*_*", "-empty", "-delete"];
    Program::new("find", args)
}

/// Installs packages, or reinstalls them if dpkg may not have flushed them before a power cut. apt keeps its index in memory:
/// on disk it is 90 MB, which would be written to the card at the busiest moment and be out of date right afterwards.
pub fn install(packages: &[String], again: bool) -> Program {
    let mut program = Program::new(
        "apt-get",
        [
            "install",
            "-y",
            "-q",
            "--no-install-recommends",
            "--fix-broken",
            // What the owner had stays; what is in the way is named instead.
            "--no-remove",
            "-o",
            "DPkg::Lock::Timeout=300",
            "-o",
            "Dpkg::Use-Pty=0",
            "-o",
            "Acquire::Retries=3",
            "-o",
            "Dir::Cache::pkgcache=",
            "-o",
            "Dir::Cache::srcpkgcache=",
            "-o",
            CACHE_START,
            "-o",
            reload::OPTION,
            "-o",
            "DPkg::Options::=--force-confdef",
            "-o",
            "DPkg::Options::=--force-confold",
            "-o",
            "DPkg::Options::=--force-unsafe-io",
        ],
    );
    if again {
        program.args.push("--reinstall".to_owned());
    }
    program.args.extend_from_slice(packages);
    quiet(program)
}

/// As [`install`] without changing anything, and without sparing what would be removed.
pub fn simulate_install(packages: &[String]) -> Program {
    let mut program = Program::new(
        "apt-get",
        [
            "install",
            "--simulate",
            "-y",
            "-q",
            "--no-install-recommends",
            "--fix-broken",
            "-o",
            "Dir::Cache::pkgcache=",
            "-o",
            "Dir::Cache::srcpkgcache=",
        ],
    );
    program.args.extend_from_slice(packages);
    quiet(program)
}

/// Removes packages with their configuration, or shows what that would remove.
pub fn purge(packages: &[&str], simulate: bool) -> Program {
    let mut program = Program::new("apt-get", ["purge", "--yes", "-q", "-o", "DPkg::Lock::Timeout=300"]);
    if simulate {
        program.args.push("--simulate".to_owned());
    }
    program.args.extend(packages.iter().map(|package| (*package).to_owned()));
    quiet(program)
}

/// The packages that a simulation says would be removed, with their configuration or without.
pub fn removals(simulated: &[u8]) -> Vec<String> {
    let stdout = String::from_utf8_lossy(simulated);
    let mut names: Vec<String> = Vec::new();
    for line in stdout.lines() {
        let Some(rest) = line.strip_prefix("Remv ").or_else(|| line.strip_prefix("Purg ")) else { continue };
        let name = rest.split_whitespace().next().unwrap_or_default().to_owned();
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// Whether apt refused to install because it would have to remove packages.
pub fn would_remove(output: &Output) -> bool {
    // apt-private/private-install.cc, 2.6.1 and 3.0.3.
    !output.success
        && String::from_utf8_lossy(&output.stderr)
            .contains("Packages need to be removed but remove is disabled")
}

/// Those of the packages that dpkg has installed and configured.
pub fn installed(host: &dyn Host, packages: &[&str]) -> BTreeSet<String> {
    let mut query = quiet(Program::new("dpkg-query", ["--show", "--showformat=${Package} ${Status}\\n"]));
    query.args.extend(packages.iter().map(|package| (*package).to_owned()));
    // dpkg-query fails if it does not know one of them, and still shows the others.
    let stdout = host.output(&query).map(|output| output.stdout).unwrap_or_default();
    let lines = String::from_utf8_lossy(&stdout);
    // A package that was removed without its settings has another state.
    lines
        .lines()
        .filter_map(|line| Some(line.strip_suffix(" ok installed")?.split_once(' ')?.0.to_owned()))
        .collect()
}

/// A pattern that selects a package if the distribution has it, and nothing otherwise (apt-patterns(7)).
/// A package without versions is only provided by others, and asking for it would be an error.
pub fn if_available(package: &str, architecture: &str) -> String {
    format!("?and(?exact-name({package}),?architecture({architecture}),?version(.))")
}

/// Lets dpkg finish what it had begun.
pub fn configure() -> Program {
    quiet(Program::new("dpkg", ["--configure", "-a", "--force-confold"]))
}

/// Whether apt can read its sources: any syntax error or contradiction in them makes every apt command fail.
pub fn sources_are_readable(host: &dyn Host) -> Result<bool, HostError> {
    let program = quiet(Program::new("apt-get", ["indextargets", "--format", "$(URI)"]));
    Ok(host.output(&program)?.success)
}

/// Whether dpkg has every one of these packages installed and configured.
pub fn are_installed(host: &dyn Host, packages: &[&str]) -> Result<bool, HostError> {
    let mut query = quiet(Program::new("dpkg-query", ["--show", "--showformat=${Status}\\n"]));
    query.args.extend(packages.iter().map(|package| (*package).to_owned()));
    let output = host.output(&query)?;
    let mut states = output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    // "hold" in the place of "install" is the owner's affair.
    Ok(output.success && states.all(|state| state.ends_with(b" ok installed")))
}

/// The packages that dpkg reports as broken at the end of its run, as it writes them.
pub fn unconfigured(output: &Output) -> Vec<String> {
    let stderr = String::from_utf8_lossy(&output.stderr);
    let list = stderr
        .lines()
        .skip_while(|line| !line.starts_with("Errors were encountered while processing:"))
        .skip(1);
    list.map_while(|line| line.strip_prefix(' ')).map(|name| name.trim().to_owned()).collect()
}

/// Whether dpkg configured a package of the machine's architecture in this run.
pub fn was_set_up(output: &Output, package: &str) -> bool {
    let stdout = String::from_utf8_lossy(&output.stdout);
    stdout.lines().filter_map(|line| line.strip_prefix("Setting up ")).any(|line| {
        line.strip_prefix(package).is_some_and(|rest| rest.starts_with(" (") || rest.starts_with(':'))
    })
}

/// Why apt-get failed: its own complaints, or the end of what dpkg said.
pub fn reason(output: &Output) -> String {
    let complaints = Complaints::of(output);
    if complaints.mention("Sub-process /usr/bin/dpkg") {
        return without_secrets(&output.last_words());
    }
    complaints.line()
}

/// Asks no questions, restarts no services on its own, and speaks English.
fn quiet(mut program: Program) -> Program {
    let env = [
        ("DEBIAN_FRONTEND", "noninteractive"),
        ("NEEDRESTART_MODE", "a"),
        ("NEEDRESTART_SUSPEND", "1"),
        ("LC_ALL", "C.UTF-8"),
    ];
    program.env = env.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    program
}

/// What apt complained about: one sentence each, without repetitions, bounded, without passwords.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Complaints(Vec<String>);

impl Complaints {
    /// Reads the lines that begin with `E: ` and `W: `, or everything if the program failed without any.
    pub fn of(output: &Output) -> Self {
        let stderr = String::from_utf8_lossy(&output.stderr);
        let mut complaints: Vec<String> = Vec::new();
        for line in stderr.lines() {
            let Some(line) = line.strip_prefix("E: ").or_else(|| line.strip_prefix("W: ")) else { continue };
            let line = shown(line);
            if !HARMLESS.iter().any(|harmless| line.contains(harmless)) && !complaints.contains(&line) {
                complaints.push(line);
            }
        }
        if complaints.is_empty() && !output.success {
            complaints.push(shown(&format!("{} {}", output.status, output.last_words())));
        }
        if complaints.len() > COMPLAINTS {
            let rest = complaints.split_off(COMPLAINTS).len();
            complaints.push(format!("and {rest} more"));
        }
        Self(complaints)
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether one of them contains `words`.
    pub fn mention(&self, words: &str) -> bool {
        self.0.iter().any(|complaint| complaint.contains(words))
    }

    /// All of them in one line.
    pub fn line(&self) -> String {
        self.0.join("; ")
    }

    /// The first two in one line, and how many more there are.
    pub fn short(&self) -> String {
        let more = self.0.len().saturating_sub(2);
        let first = self.0.iter().take(2).map(String::as_str).collect::<Vec<_>>().join("; ");
        if more == 0 { first } else { format!("{first}; and {more} more") }
    }

    /// A warning for each.
    pub fn warnings(&self) -> Vec<String> {
        self.0.iter().map(|complaint| format!("package lists are incomplete: {complaint}")).collect()
    }
}

/// One line of apt's, fit to be shown.
fn shown(line: &str) -> String {
    let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
    let line = without_secrets(&line);
    match line.char_indices().nth(LENGTH) {
        Some((end, _)) => format!("{}...", line.get(..end).unwrap_or_default()),
        None => line,
    }
}

/// Hides what may be a password in URLs: user names with passwords, and queries.
pub fn without_secrets(text: &str) -> String {
    let mut clean = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, url) = rest.split_at(at + 3);
        clean.push_str(before);
        let end = url.find(|c: char| c.is_whitespace() || "'\"<>".contains(c)).unwrap_or(url.len());
        let (url, after) = url.split_at(end);
        let (url, query) = url.split_once('?').map_or((url, ""), |(url, _)| (url, "?***"));
        // A password may contain a slash, but what follows an @ in a path is no secret: up to the last one nothing is shown.
        clean.push_str(&url.rsplit_once('@').map_or(url.to_owned(), |(_, host)| format!("***@{host}")));
        clean.push_str(query);
        rest = after;
    }
    clean + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaints(success: bool, stderr: &str) -> Complaints {
        let status = "exit status: 100".to_owned();
        Complaints::of(&Output { success, status, stdout: Vec::new(), stderr: stderr.into() })
    }

    #[test]
    fn only_the_first_update_has_a_short_time_limit() {
        let (first, again) = (update("arm64", false), update("arm64", true));
        assert!(first.args.contains(&"Acquire::http::Timeout=10".to_owned()));
        assert!(!again.args.iter().any(|word| word.contains("Timeout")), "{again:?}");
        for program in [first, again] {
            let options = program.args.iter().filter(|word| *word == "-o").count();
            assert_eq!(options, program.args.iter().filter(|word| word.contains('=')).count(), "{program:?}");
        }
    }

    #[test]
    fn keeps_warnings_of_an_update_that_succeeded() {
        // Debian 13, apt 3.0.4, without a network.
        let heard = complaints(
            true,
            "W: Failed to fetch http://deb.example.org/debian/dists/trixie/InRelease  Temporary failure resolving 'deb.example.org'\n\
             W: Failed to fetch http://deb.example.org/debian/dists/trixie/InRelease  Temporary failure resolving 'deb.example.org'\n\
             W: Some index files failed to download. They have been ignored, or old ones used instead.\n",
        );
        assert_eq!(
            heard.line(),
            "Failed to fetch http://deb.example.org/debian/dists/trixie/InRelease Temporary failure resolving 'deb.example.org'"
        );
    }

    #[test]
    fn ignores_warnings_about_readable_sources() {
        assert!(
            complaints(
                true,
                "W: Target Packages (main/binary-arm64/Packages) is configured multiple times in a:1 and b:1\n\
                 N: Skipping acquire of configured file\n   Hashes of expected file:\n"
            )
            .is_empty()
        );
    }

    #[test]
    fn reads_what_a_simulation_removes() {
        // apt 2.6.1 and 3.0.3.
        let stdout = "NOTE: This is only a simulation!\nReading package lists...\nPurg docker-ce [5:29.0.0-1] [rootless:amd64 ]\n\
                      Remv runc [1.1.5]\nPurg runc [1.1.5]\nInst containerd.io (2.1 Docker:trixie [arm64])\n";
        assert_eq!(removals(stdout.as_bytes()), ["docker-ce", "runc"]);
    }

    #[test]
    fn quotes_a_failure_without_apts_marks() {
        assert_eq!(complaints(false, "Killed\n").line(), "exit status: 100 Killed");
    }

    #[test]
    fn is_bounded() {
        let many: String = (0..500).map(|n| format!("E: {n} {}\n", "x".repeat(5000))).collect();
        let heard = complaints(false, &many);
        assert_eq!(heard.warnings().len(), COMPLAINTS + 1);
        assert!(heard.line().len() < (COMPLAINTS + 1) * (LENGTH + 2) && heard.mention("and 494 more"));
    }

    #[test]
    fn hides_passwords_in_urls() {
        for (text, clean) in [
            ("E: http://me:pw@host/debian x", "E: http://***@host/debian x"),
            (
                "'https://me:p/w@d@host:8080/a' and http://b/?token=1 end",
                "'https://***@host:8080/a' and http://b/?*** end",
            ),
            ("http://plain.example/debian", "http://plain.example/debian"),
            ("no address at all", "no address at all"),
        ] {
            assert_eq!(without_secrets(text), clean);
        }
    }
}
