//! Where the images that have a name come from.

use reqwest::Url;

/// The host of the publisher's list and images.
const HOST: &str = "downloads.raspberrypi.com";

/// Whether an address is on the publisher's server. Only over https: anyone on the way could answer an http: request.
pub(crate) fn is_publishers(url: &Url) -> bool {
    url.scheme() == "https" && url.host_str() == Some(HOST) && url.port().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_on_the_usual_port_is_the_publishers() {
        let is = |url: &str| is_publishers(&Url::parse(url).unwrap());
        assert!(is("https://downloads.raspberrypi.com/os.img.xz"));
        assert!(is("https://DOWNLOADS.raspberrypi.com:443/os.img.xz"));
        for other in [
            "http://downloads.raspberrypi.com/os.img.xz",
            "https://downloads.raspberrypi.com:8443/os.img.xz",
            "https://downloads.raspberrypi.com.example.org/os.img.xz",
            "https://downloads.raspberrypi.com@example.org/os.img.xz",
            "https://example.org/downloads.raspberrypi.com/os.img.xz",
            "https://xdownloads.raspberrypi.com/os.img.xz",
        ] {
            assert!(!is(other), "{other}");
        }
    }
}
