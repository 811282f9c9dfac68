//! Which redirects are followed.

use std::error::Error;

use reqwest::Url;
use reqwest::redirect::Policy;
use thiserror::Error;

use super::oslist::is_near;
use crate::trusted_hosts::{ImageHost, TrustedHosts};

/// As many as browsers follow of one kind; mirrors need two or three.
const LIMIT: usize = 10;

/// Whose redirects are followed where.
#[derive(Debug, Clone)]
pub(super) enum Follow {
    /// To any host: the publisher says where its files are, and the user knows the URL of an image that they typed.
    Anywhere,
    /// To confirmed hosts and within the host that was asked. A host that only a repository or a list names could otherwise
    /// have this computer send requests to any server that it can reach.
    Confirmed {
        /// The user's.
        hosts: TrustedHosts,
        /// The list that the user named. Redirects to its host are followed as well.
        list: Option<Url>,
    },
}

impl Follow {
    fn allows(&self, asked: &[Url], next: &Url) -> bool {
        let host = ImageHost::of(next);
        match self {
            Self::Anywhere => true,
            Self::Confirmed { hosts, list } => {
                hosts.may_serve(next)
                    || list.as_ref().is_some_and(|list| is_near(list, next))
                    || asked.iter().any(|url| ImageHost::of(url) == host)
            }
        }
    }
}

/// Why a redirect is not followed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RedirectError {
    /// It leads back.
    #[error("the server sends us in a circle: {0} was asked before")]
    Circle(Box<Url>),
    /// It goes on and on.
    #[error("the server sends us on more than {LIMIT} times, the last time to {0}")]
    TooMany(Box<Url>),
    /// Anybody on the way could change what comes.
    #[error("the server sends us from https: to {0}, where anybody on the way can change what comes")]
    Downgrade(Box<Url>),
    /// The user has not confirmed that host.
    #[error("the server redirects to {0}, and {host} is not confirmed", host = .0.host_str().unwrap_or_default())]
    Unconfirmed(Box<Url>),
    /// Nothing that is fetched.
    #[error("the server sends us to {0}, which is neither https: nor http:")]
    Scheme(Box<Url>),
}

/// Decides about one step. `asked` is what was asked so far, first to last.
pub(super) fn judge(asked: &[Url], next: &Url, follow: &Follow) -> Result<(), RedirectError> {
    match next.scheme() {
        "https" => {}
        "http" if asked.iter().any(|url| url.scheme() == "https") => {
            return Err(RedirectError::Downgrade(Box::new(next.clone())));
        }
        "http" => {}
        _ => return Err(RedirectError::Scheme(Box::new(next.clone()))),
    }
    if !follow.allows(asked, next) {
        return Err(RedirectError::Unconfirmed(Box::new(next.clone())));
    }
    if asked.contains(next) {
        return Err(RedirectError::Circle(Box::new(next.clone())));
    }
    if asked.len() > LIMIT {
        return Err(RedirectError::TooMany(Box::new(next.clone())));
    }
    Ok(())
}

/// The same for the client.
pub(super) fn policy(follow: Follow) -> Policy {
    Policy::custom(move |attempt| match judge(attempt.previous(), attempt.url(), &follow) {
        Ok(()) => attempt.follow(),
        Err(error) => attempt.error(error),
    })
}

/// Finds our own error in the client's.
pub(super) fn found_in(error: &reqwest::Error) -> Option<RedirectError> {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(ours) = error.downcast_ref::<RedirectError>() {
            return Some(ours.clone());
        }
        cause = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    fn judge(asked: &[Url], next: &Url) -> Result<(), RedirectError> {
        super::judge(asked, next, &Follow::Anywhere)
    }

    #[test]
    fn a_host_that_is_not_typed_leads_only_to_confirmed_ones() {
        let folder = tempfile::tempdir().unwrap();
        let mut hosts = TrustedHosts::at(&folder.path().join("trusted-hosts.json")).unwrap();
        hosts.confirm(&"cdn.example.org".parse().unwrap()).unwrap();
        let (asked, follow) =
            ([url("https://example.org/os")], Follow::Confirmed { hosts: hosts.clone(), list: None });
        for allowed in [
            "https://example.org/mirror/os",
            "https://cdn.example.org/os",
            "https://downloads.raspberrypi.com/os",
        ] {
            assert_eq!(super::judge(&asked, &url(allowed), &follow), Ok(()), "{allowed}");
        }
        for other in ["https://example.org:8443/os", "https://192.168.1.1/reboot", "https://localhost/"] {
            let refused = Err(RedirectError::Unconfirmed(Box::new(url(other))));
            assert_eq!(super::judge(&asked, &url(other), &follow), refused, "{other}");
            assert_eq!(judge(&asked, &url(other)), Ok(()), "{other}");
        }
        let list = url("https://lists.example.org/list.json");
        let asked = [url("https://downloads.raspberrypi.com/os")];
        let follow = Follow::Confirmed { hosts, list: Some(list.clone()) };
        assert_eq!(super::judge(&asked, &list, &follow), Ok(()), "where the list is");
        assert!(super::judge(&asked, &url("https://192.168.1.1/reboot"), &follow).is_err());
    }

    #[test]
    fn never_goes_from_https_to_http_by_whatever_way() {
        let (secure, plain) = (url("https://example.org/os"), url("http://example.org/os"));
        assert_eq!(judge(std::slice::from_ref(&plain), &secure), Ok(()));
        assert_eq!(judge(std::slice::from_ref(&plain), &url("http://mirror.example.org/os")), Ok(()));
        let refused = Err(RedirectError::Downgrade(Box::new(plain.clone())));
        assert_eq!(judge(std::slice::from_ref(&secure), &plain), refused);
        assert_eq!(judge(&[url("http://example.org/a"), secure.clone()], &plain), refused);
        let file = url("file:///etc/shadow");
        assert_eq!(judge(&[secure], &file), Err(RedirectError::Scheme(Box::new(file.clone()))));
    }

    #[test]
    fn ends_in_circles_and_in_long_ways() {
        let asked: Vec<_> = (0..=LIMIT).map(|step| url(&format!("https://example.org/{step}"))).collect();
        let (first, next) = (asked[0].clone(), url("https://example.org/next"));
        assert_eq!(judge(&asked[..LIMIT], &next), Ok(()));
        assert_eq!(judge(&asked, &next), Err(RedirectError::TooMany(Box::new(next.clone()))));
        assert_eq!(judge(&asked[..3], &first), Err(RedirectError::Circle(Box::new(first.clone()))));
    }
}
