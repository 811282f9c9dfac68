//! What to install, from what the card says and what the system is. Pure.

use cluster::card::{CardDocker, DockerSource};

use super::preferences;

/// Docker's release key, fingerprint 9DC8 5822 9FC7 DD38 854A E2D8 8D81 803C 0EBF CD88, as Debian's extrepo-offline-data carries it.
pub const DOCKER_KEY: &str = include_str!("docker.asc");
const DOCKER_URL: &str = "https://download.docker.com/linux";

/// The parts of the system that matter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct System {
    /// `ID` of os-release, such as `debian`.
    pub id: String,
    /// `VERSION_CODENAME` of os-release, such as `trixie`.
    pub codename: String,
    /// Of the packages, as dpkg calls it: a 64-bit kernel may carry a 32-bit system.
    pub arch: String,
}

impl System {
    /// Reads os-release; `None` if it does not say what is needed.
    pub fn read(os_release: &str, arch: &str) -> Option<Self> {
        let value = |key: &str| {
            os_release.lines().find_map(|line| {
                Some(line.strip_prefix(key)?.strip_prefix('=')?.trim().trim_matches('"').to_owned())
            })
        };
        let codename = value("VERSION_CODENAME").filter(|codename| !codename.is_empty())?;
        Some(Self { id: value("ID").unwrap_or_default(), codename, arch: arch.trim().to_owned() })
    }
}

/// Docker's repository, to be written to apt's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repository {
    /// Armored key.
    pub key: String,
    /// deb822 text of the source.
    pub source: String,
}

impl Repository {
    /// The source with another key file or key block, indented as deb822 wants it.
    pub fn signed_by(&self, key: &str) -> String {
        let mut lines = key.lines();
        let mut value = lines.next().unwrap_or_default().to_owned();
        for line in lines {
            value.push_str(if line.is_empty() { "\n ." } else { "\n " });
            value.push_str(line);
        }
        self.source.replace(&format!("Signed-By: {KEYRING}\n"), &format!("Signed-By: {value}\n"))
    }
}

/// What to install.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// An additional repository.
    pub repository: Option<Repository>,
    /// Text of an apt preferences file.
    pub preferences: Option<String>,
    /// Arguments of `apt-get install`.
    pub packages: Vec<String>,
    /// A package to add if the distribution has it for this architecture.
    pub optional: Option<&'static str>,
}

/// Where apt expects the key.
pub const KEYRING: &str = "/etc/apt/keyrings/docker.asc";
/// Where apt expects the source.
pub const SOURCES: &str = "/etc/apt/sources.list.d/docker.sources";
/// Where apt expects the preferences.
pub const PREFERENCES: &str = "/etc/apt/preferences.d/docker";

/// Whether a file at [`SOURCES`] is what some plan writes there.
pub fn is_source_of_ours(text: &str) -> bool {
    let begin = ["Types: deb", "URIs: ", "Suites: ", "Components: stable", "Architectures: ", "Signed-By: "];
    let mut lines = text.lines();
    begin.into_iter().all(|begin| lines.next().is_some_and(|line| line.starts_with(begin)))
        && lines.all(|line| line.starts_with(' '))
}

/// Plans the installation.
pub fn plan(docker: &CardDocker, system: &System) -> Plan {
    let wanted = |package: &str| match &docker.version {
        Some(version) => format!("{package}={version}"),
        None => package.to_owned(),
    };
    match docker.source {
        DockerSource::Docker => Plan {
            repository: Some(repository(docker, system)),
            preferences: preferences::text(docker),
            packages: vec![
                wanted("docker-ce"),
                wanted("docker-ce-cli"),
                "containerd.io".into(),
                "iptables".into(),
            ],
            optional: None,
        },
        // Since Debian 13 the docker command is a package of its own.
        DockerSource::Debian => Plan {
            repository: None,
            preferences: preferences::text(docker),
            packages: vec![wanted("docker.io"), "iptables".into()],
            optional: Some("docker-cli"),
        },
    }
}

fn repository(docker: &CardDocker, system: &System) -> Repository {
    // A 32-bit Pi OS calls itself raspbian, but Docker's Debian packages are the ones that are still made.
    let family = if system.id == "ubuntu" { "ubuntu" } else { "debian" };
    let url = docker.url.clone().unwrap_or_else(|| format!("{DOCKER_URL}/{family}"));
    let source = format!(
        "Types: deb\nURIs: {url}\nSuites: {}\nComponents: stable\nArchitectures: {}\nSigned-By: {KEYRING}\n",
        system.codename, system.arch
    );
    let mut key = docker.key.clone().unwrap_or_else(|| DOCKER_KEY.to_owned());
    if !key.ends_with('\n') {
        key.push('\n');
    }
    Repository { key, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRIXIE: &str = "PRETTY_NAME=\"Debian GNU/Linux 13 (trixie)\"\nVERSION_CODENAME=trixie\nID=debian\n";

    fn docker(source: DockerSource) -> CardDocker {
        CardDocker { source, version: None, url: None, key: None }
    }

    fn trixie() -> System {
        System::read(TRIXIE, "arm64\n").unwrap()
    }

    #[test]
    fn dockers_own_repository_is_signed_by_its_own_key_only() {
        let plan = plan(&docker(DockerSource::Docker), &trixie());
        let repository = plan.repository.unwrap();
        assert_eq!(
            repository.source,
            "Types: deb\nURIs: https://download.docker.com/linux/debian\nSuites: trixie\nComponents: stable\n\
             Architectures: arm64\nSigned-By: /etc/apt/keyrings/docker.asc\n"
        );
        assert!(repository.key.starts_with("-----BEGIN PGP PUBLIC KEY BLOCK-----"));
        assert_eq!(plan.packages, ["docker-ce", "docker-ce-cli", "containerd.io", "iptables"]);
    }

    #[test]
    fn a_mirror_brings_its_own_key() {
        let mirror = CardDocker {
            url: Some("https://mirror.example/linux/debian".into()),
            key: Some("KEY".into()),
            ..docker(DockerSource::Docker)
        };
        let repository = plan(&mirror, &trixie()).repository.unwrap();
        assert!(repository.source.contains("URIs: https://mirror.example/linux/debian\n"));
        assert_eq!(repository.key, "KEY\n");
    }

    #[test]
    fn a_wanted_version_is_asked_for_and_kept() {
        let pinned = CardDocker { version: Some("5:29.*".into()), ..docker(DockerSource::Docker) };
        let plan = plan(&pinned, &trixie());
        assert_eq!(plan.packages[0], "docker-ce=5:29.*");
        assert!(plan.preferences.unwrap().contains("Pin: version 5:29.*\n"));
    }

    #[test]
    fn a_32_bit_pi_os_takes_dockers_packages_for_debian_and_ubuntu_its_own() {
        let source = |id: &str, arch: &str| {
            let system = System { arch: arch.into(), id: id.into(), ..trixie() };
            plan(&docker(DockerSource::Docker), &system).repository.unwrap().source
        };
        let raspbian = source("raspbian", "armhf");
        assert!(raspbian.contains("/linux/debian\n") && raspbian.contains("Architectures: armhf\n"));
        assert!(source("ubuntu", "arm64").contains("/linux/ubuntu\n"));
    }

    #[test]
    fn debians_own_needs_no_repository() {
        let plan = plan(&docker(DockerSource::Debian), &trixie());
        assert_eq!(
            (plan.repository, plan.packages),
            (None, vec!["docker.io".to_owned(), "iptables".to_owned()])
        );
    }

    #[test]
    fn a_system_without_a_code_name_cannot_be_planned_for() {
        assert_eq!(System::read("ID=debian\n", "arm64"), None);
    }
}
