//! What apt and dpkg complain of, as a [`Cause`]. They give no code but 100, so their words have to do.
//!
//! The words are those of apt 2.6.1 (Debian 12, with gpgv and GnuTLS) and 3.0.4 (Debian 13, with sqv and OpenSSL), with
//! `LC_ALL=C.UTF-8`: apt-pkg/acquire-item.cc, methods/connect.cc, methods/gpgv.cc and sqv.cc, apt-private/private-install.cc;
//! of sequoia-openpgp (`Error::NotYetLive`, `Error::Expired`), and of dpkg's src/main/errors.c.

use cluster::wire::{Cause, ProblemCode};

/// Where the subject of a complaint is: in the words after the ones that gave it away.
#[derive(Debug, Clone, Copy)]
enum Subject {
    /// There is none.
    None,
    /// In quotes right after it.
    Quoted,
    /// The next word, up to a colon that is not part of a URL.
    Word,
    /// The URL nearest before it.
    UrlBefore,
}

/// A complaint's words, what it means, and where its subject is. The first that occurs counts, so causes come before their
/// consequences: what cannot be downloaded is not found afterwards.
const WORDS: &[(&str, ProblemCode, Subject)] = {
    use ProblemCode::*;
    &[
        ("No space left on device", DiskFull, Subject::None),
        ("You don't have enough free space in", DiskFull, Subject::Word),
        ("Read-only file system", DiskReadOnly, Subject::None),
        ("Input/output error", DiskBroken, Subject::None),
        ("Could not get lock", PackagesLocked, Subject::None),
        ("Unable to acquire the dpkg frontend lock", PackagesLocked, Subject::None),
        ("dpkg frontend lock was locked by another process", PackagesLocked, Subject::None),
        // dpkg runs only when everything was downloaded.
        ("error processing package", PackageBroken, Subject::Word),
        ("Sub-process /usr/bin/dpkg returned an error code", PackageBroken, Subject::None),
        // sqv says it in a line of its own, and then apt calls the repository "not signed".
        ("Not live until", ClockWrong, Subject::None),
        ("is not valid yet", ClockWrong, Subject::None),
        ("not yet valid", ClockWrong, Subject::None),
        ("not yet activated", ClockWrong, Subject::None),
        ("certificate has expired", ClockWrong, Subject::None),
        ("uses expired certificate", ClockWrong, Subject::None),
        ("Temporary failure resolving", NoNameServer, Subject::Quoted),
        ("Could not resolve", NoNameServer, Subject::Quoted),
        ("System error resolving", NoNameServer, Subject::Quoted),
        ("Something wicked happened resolving", NoNameServer, Subject::Quoted),
        ("Could not connect to", PackageServerUnreachable, Subject::Word),
        ("Unable to connect to", PackageServerUnreachable, Subject::Word),
        ("Cannot initiate the connection to", PackageServerUnreachable, Subject::Word),
        ("onnection timed out", PackageServerUnreachable, Subject::UrlBefore),
        ("Connection failed", PackageServerUnreachable, Subject::UrlBefore),
        ("is expired (invalid since", RepositoryExpired, Subject::UrlBefore),
        // sqv again.
        ("Expired on", RepositoryExpired, Subject::UrlBefore),
        ("does not have a Release file", RepositoryMissing, Subject::UrlBefore),
        ("no longer has a Release file", RepositoryMissing, Subject::UrlBefore),
        ("Hash Sum mismatch", DownloadDamaged, Subject::None),
        ("File has unexpected size", DownloadDamaged, Subject::None),
        ("is not signed", RepositoryUntrusted, Subject::UrlBefore),
        ("signatures couldn't be verified", RepositoryUntrusted, Subject::UrlBefore),
        ("signatures were invalid", RepositoryUntrusted, Subject::UrlBefore),
        ("Unable to locate package", PackageMissing, Subject::Word),
        ("has no installation candidate", PackageMissing, Subject::None),
        ("was not found", PackageMissing, Subject::None),
    ]
};

/// What a failed `apt-get` or `dpkg` complains of in its standard error; `None` for words that are not known.
pub(crate) fn classify(text: &str) -> Option<Cause> {
    WORDS.iter().find_map(|(words, code, subject)| {
        let (before, after) = text.split_once(words)?;
        let cause = Cause::new(*code);
        Some(match find_subject(*subject, before, after) {
            Some(subject) => cause.about(subject),
            None => cause,
        })
    })
}

fn find_subject<'t>(subject: Subject, before: &'t str, after: &'t str) -> Option<&'t str> {
    match subject {
        Subject::None => None,
        // "System error resolving" quotes the port, too.
        Subject::Quoted => after.trim_start().strip_prefix('\'')?.split(['\'', ':']).next(),
        Subject::Word => after.split_whitespace().next()?.trim_end_matches([',', '.']).split(':').next(),
        Subject::UrlBefore => {
            let line = before.rsplit('\n').next().unwrap_or(before);
            let start = line.rfind("http")?;
            // What is before an @ may be a password.
            line.get(start..)?.split([' ', '\'']).next().filter(|url| !url.contains('@'))
        }
    }
}

#[cfg(test)]
mod tests {
    use ProblemCode::*;

    use super::*;

    #[track_caller]
    fn assert_cause(text: &str, code: ProblemCode, subject: Option<&str>) {
        let cause = classify(text).unwrap_or_else(|| panic!("no cause for {text:?}"));
        assert_eq!((cause.code(), cause.subject()), (code, subject), "{text}");
    }

    #[test]
    fn classifies_the_words_of_apt_2_6_and_3_0() {
        for (text, code, subject) in [
            (
                "W: Failed to fetch http://deb.example.org/debian/dists/trixie/InRelease  Temporary failure resolving 'deb.example.org'\n\
                 W: Some index files failed to download. They have been ignored, or old ones used instead.\n\
                 E: Unable to locate package docker-ce",
                NoNameServer,
                Some("deb.example.org"),
            ),
            (
                "E: Failed to fetch http://mirror.example/x.deb  Could not resolve 'mirror.example'",
                NoNameServer,
                Some("mirror.example"),
            ),
            (
                "W: Failed to fetch http://deb.example.org/debian/dists/trixie/InRelease  Could not connect to deb.example.org:80 (151.101.2.132), connection timed out\n\
                 E: Unable to locate package docker-ce",
                PackageServerUnreachable,
                Some("deb.example.org"),
            ),
            (
                "E: Failed to fetch http://10.0.0.1/debian/dists/trixie/InRelease  Could not connect to 10.0.0.1:80 (10.0.0.1). - connect (111: Connection refused)",
                PackageServerUnreachable,
                Some("10.0.0.1"),
            ),
            (
                "W: Failed to fetch https://download.docker.com/linux/debian/dists/trixie/InRelease  Unable to connect to download.docker.com:https:",
                PackageServerUnreachable,
                Some("download.docker.com"),
            ),
            (
                "W: Failed to fetch http://deb.example.org/debian/dists/trixie/InRelease  Cannot initiate the connection to deb.example.org:80 (2a04:4e42::644). - connect (101: Network is unreachable)",
                PackageServerUnreachable,
                Some("deb.example.org"),
            ),
            (
                "E: Failed to fetch http://mirror.example/d/InRelease  Connection timed out [IP: 10.0.0.1 80]",
                PackageServerUnreachable,
                Some("http://mirror.example/d/InRelease"),
            ),
            // apt 2.6.1 with a clock that is behind.
            (
                "E: Release file for http://deb.example.org/debian/dists/bookworm-updates/InRelease is not valid yet (invalid for another 364d 2h 3min 4s). Updates for this repository will not be applied.",
                ClockWrong,
                None,
            ),
            // apt 3.0.4 with a clock that is behind: it calls the repository not signed.
            (
                "W: OpenPGP signature verification failed: http://deb.example.org/debian trixie InRelease: Sub-process /usr/bin/sqv returned an error code (1), error message is: Verifying signature: Not live until 2026-11-15T08:30:00Z\n\
                 E: The repository 'http://deb.example.org/debian trixie InRelease' is not signed.",
                ClockWrong,
                None,
            ),
            (
                "E: Release file for http://security.debian.org/debian-security/dists/bullseye-security/InRelease is expired (invalid since 84d 3h 2min 1s). Updates for this repository will not be applied.",
                RepositoryExpired,
                Some("http://security.debian.org/debian-security/dists/bullseye-security/InRelease"),
            ),
            // apt 3.0.4 with a clock that is ahead.
            (
                "W: OpenPGP signature verification failed: https://apt.example/stable InRelease: Sub-process /usr/bin/sqv returned an error code (1), error message is: Verifying signature: Expired on 2027-01-01T00:00:00Z",
                RepositoryExpired,
                Some("https://apt.example/stable"),
            ),
            (
                "E: Failed to fetch https://download.docker.com/linux/debian/dists/trixie/InRelease  SSL connection failed: error:0A000086:SSL routines::certificate verify failed / certificate is not yet valid",
                ClockWrong,
                None,
            ),
            (
                "W: Failed to fetch https://download.docker.com/linux/debian/dists/bookworm/InRelease  Certificate verification failed: The certificate is NOT trusted. The certificate chain uses not yet valid certificate.  Could not handshake: Error in the certificate verification. [IP: 10.0.0.1 443]",
                ClockWrong,
                None,
            ),
            (
                "W: GPG error: https://apt.example/stable InRelease: The following signatures couldn't be verified because the public key is not available: NO_PUBKEY 7EA0A9C3F273FCD8\n\
                 E: The repository 'https://apt.example/stable InRelease' is not signed.",
                RepositoryUntrusted,
                Some("https://apt.example/stable"),
            ),
            (
                "E: The repository 'http://deb.example.org/debian nonesuch Release' does not have a Release file.",
                RepositoryMissing,
                Some("http://deb.example.org/debian"),
            ),
            // A proxy setting without "http://".
            (
                "E: The repository 'http://deb.example.org/debian trixie Release' no longer has a Release file.",
                RepositoryMissing,
                Some("http://deb.example.org/debian"),
            ),
            ("E: Unable to locate package docker-ce", PackageMissing, Some("docker-ce")),
            ("E: Package 'docker-ce' has no installation candidate", PackageMissing, None),
            ("E: Version '5:99*' for 'docker-ce' was not found", PackageMissing, None),
            (
                "E: Failed to fetch http://mirror.example/x.deb  Hash Sum mismatch\n   Hashes of expected file:",
                DownloadDamaged,
                None,
            ),
            (
                "E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 412 (unattended-upgr)\n\
                 E: Unable to acquire the dpkg frontend lock (/var/lib/dpkg/lock-frontend), is another process using it?",
                PackagesLocked,
                None,
            ),
            (
                "dpkg: error processing package broken-driver (--configure):\n installed broken-driver package post-installation script subprocess returned error exit status 1\n\
                 Errors were encountered while processing:\n broken-driver\nE: Sub-process /usr/bin/dpkg returned an error code (1)",
                PackageBroken,
                Some("broken-driver"),
            ),
            (
                "E: You don't have enough free space in /var/cache/apt/archives/.",
                DiskFull,
                Some("/var/cache/apt/archives/"),
            ),
            (
                "dpkg: error processing archive /var/cache/apt/archives/docker-ce.deb (--unpack):\n cannot copy extracted data for './usr/bin/dockerd' to '/usr/bin/dockerd.dpkg-new': failed to write (No space left on device)\n\
                 E: Sub-process /usr/bin/dpkg returned an error code (1)",
                DiskFull,
                None,
            ),
            (
                "E: Could not open file /var/lib/apt/lists/lock - open (30: Read-only file system)",
                DiskReadOnly,
                None,
            ),
        ] {
            assert_cause(text, code, subject);
        }
    }

    #[test]
    fn a_password_is_no_subject() {
        let text = "E: The repository 'http://ann:hunter2@mirror.example/debian trixie Release' does not have a Release file.";
        assert_cause(text, RepositoryMissing, None);
    }

    /// A repository that somebody else added is broken, and yet it is dpkg that failed.
    #[test]
    fn an_error_of_dpkg_counts_more_than_a_warning_of_update() {
        let text = "W: Failed to fetch http://foreign.example/InRelease  Could not resolve 'foreign.example'\n\
                    dpkg: error processing package broken-driver (--configure):\n";
        assert_cause(text, PackageBroken, Some("broken-driver"));
    }

    #[test]
    fn other_words_have_no_cause() {
        for text in ["", "E: The value 'x' is invalid for APT::Default-Release", "Segmentation fault"] {
            assert_eq!(classify(text), None, "{text}");
        }
    }
}
