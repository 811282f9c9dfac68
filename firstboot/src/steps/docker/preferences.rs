//! Our own file of apt preferences (apt_preferences(5)): a wanted version is kept, and Docker's repository replaces nothing
//! but its own packages.
//!
//! A record that names packages counts more than one for all of them, and of several the first. Priority 1 is for what
//! nothing else has: such a version is never an upgrade, and loses against every other repository's. The official repository
//! is known by its host, whatever its index calls itself; a mirror may share its host with other repositories and is known by
//! its index.

use cluster::card::{CardDocker, DockerSource};

/// Docker's packages, present and future.
const DOCKERS: &str = "docker-ce docker-ce-* docker-*-plugin containerd.io";
/// Where the official repository is.
const HOST: &str = "download.docker.com";
const OFFICIAL: &str = "Pin: origin \"download.docker.com\"";
const MIRROR: &str = "Pin: release o=Docker";
const EXPLANATION: &str = "Explanation: Docker's repository replaces nothing but its own packages.";
/// The packages that have the wanted version, by source.
const VERSIONED: [&str; 2] = ["Package: docker-ce docker-ce-cli", "Package: docker.io docker-cli"];

/// The file's text, if it is needed.
pub(super) fn text(docker: &CardDocker) -> Option<String> {
    let [dockers, debians] = VERSIONED;
    let packages = if docker.source == DockerSource::Docker { dockers } else { debians };
    let version = docker.version.as_ref();
    let mut stanzas: Vec<_> = version
        .map(|version| format!("{packages}\nPin: version {version}\nPin-Priority: 990\n"))
        .into_iter()
        .collect();
    if docker.source == DockerSource::Docker {
        let is_official = docker.url.as_ref().is_none_or(|url| host(url) == HOST);
        let pin = if is_official { OFFICIAL } else { MIRROR };
        stanzas.push(format!("Package: {DOCKERS}\n{pin}\nPin-Priority: 500\n"));
        stanzas.push(format!("{EXPLANATION}\nPackage: *\n{pin}\nPin-Priority: 1\n"));
    }
    (!stanzas.is_empty()).then(|| stanzas.join("\n"))
}

/// Whether a file is what this agent or an older one writes.
pub(super) fn is_ours(text: &str) -> bool {
    text.split("\n\n").all(|stanza| match stanza.lines().collect::<Vec<_>>()[..] {
        [packages, version, "Pin-Priority: 990"] => {
            VERSIONED.contains(&packages) && version.starts_with("Pin: version ")
        }
        [packages, OFFICIAL | MIRROR, "Pin-Priority: 500"] => {
            packages.strip_prefix("Package: ") == Some(DOCKERS)
        }
        [EXPLANATION, "Package: *", OFFICIAL | MIRROR, "Pin-Priority: 1"] => true,
        _ => false,
    })
}

fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split('/').next().unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    host.split(':').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn docker(source: DockerSource, version: Option<&str>, url: Option<&str>) -> CardDocker {
        CardDocker { source, version: version.map(str::to_owned), url: url.map(str::to_owned), key: None }
    }

    #[test]
    fn dockers_repository_is_pinned_by_its_host() {
        assert_eq!(
            text(&docker(DockerSource::Docker, Some("5:29.*"), None)).unwrap(),
            "Package: docker-ce docker-ce-cli\nPin: version 5:29.*\nPin-Priority: 990\n\n\
             Package: docker-ce docker-ce-* docker-*-plugin containerd.io\nPin: origin \"download.docker.com\"\n\
             Pin-Priority: 500\n\n\
             Explanation: Docker's repository replaces nothing but its own packages.\nPackage: *\n\
             Pin: origin \"download.docker.com\"\nPin-Priority: 1\n"
        );
    }

    #[test]
    fn a_mirror_is_pinned_by_what_its_index_says() {
        for (url, pin) in [
            ("http://mirror.example/linux/debian", MIRROR),
            ("http://download.docker.com.example/linux/debian", MIRROR),
            ("http://me:download.docker.com@mirror.example", MIRROR),
            ("http://me:secret@download.docker.com:8080/linux/debian", OFFICIAL),
        ] {
            let text = text(&docker(DockerSource::Docker, None, Some(url))).unwrap();
            assert!(text.contains(pin) && !text.contains("secret"), "{url}: {text}");
            assert!(!text.contains(if pin == MIRROR { OFFICIAL } else { MIRROR }), "{url}: {text}");
        }
    }

    #[test]
    fn debians_packages_need_a_pin_for_a_version_only() {
        assert_eq!(text(&docker(DockerSource::Debian, None, None)), None);
        let kept = text(&docker(DockerSource::Debian, Some("26.*"), None)).unwrap();
        assert_eq!(kept, "Package: docker.io docker-cli\nPin: version 26.*\nPin-Priority: 990\n");
    }

    #[test]
    fn recognises_what_this_agent_and_older_ones_write() {
        for source in [DockerSource::Docker, DockerSource::Debian] {
            for url in [None, Some("http://mirror.example")] {
                let texts = [None, Some("5:29.*")].map(|version| text(&docker(source, version, url)));
                assert!(texts.iter().flatten().all(|text| is_ours(text)), "{texts:?}");
            }
        }
        // Written by 6bc94bb.
        for packages in VERSIONED {
            assert!(is_ours(&format!("{packages}\nPin: version 5:28.*\nPin-Priority: 990\n")));
        }
        for text in [
            "",
            "Package: docker-ce\nPin: version 5:28.*\nPin-Priority: 990\n",
            "Package: *\nPin: origin \"download.docker.com\"\nPin-Priority: 1\n",
            "Package: docker-ce docker-ce-cli\nPin: version 5:28.*\nPin-Priority: 990\n\nPackage: vim\nPin: version 9\nPin-Priority: 990\n",
        ] {
            assert!(!is_ours(text), "{text}");
        }
    }
}
