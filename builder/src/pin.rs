//! What is promised of an image, and the proof that it was kept.

use thiserror::Error;

use crate::digest::Digest;

/// What is promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pin {
    /// Nothing: a local file without `sha256`.
    Nothing,
    /// The digest of the file as published: catalog and lock say which of the two it is.
    Published(Digest),
    /// The digest of the image in it: all that the official OS list says of Raspberry Pi OS.
    Content(Digest),
    /// The digest of the file as published or of the image in it: the cluster file does not say.
    Either(Digest),
}

/// The image is another one than promised.
#[derive(Debug, Error)]
#[error("the image {what} is not the one its sha256 promises: {wanted} was promised, {found} was found")]
pub struct WrongDigest {
    /// Path or URL.
    pub what: String,
    /// The promised digest.
    pub wanted: Digest,
    /// That of the file as published.
    pub found: Digest,
}

/// Proof that all of an image was read and is what was promised. Made only by [`Pin::verify`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verified {
    digest: Digest,
    published: Digest,
    content: Option<Digest>,
}

impl Verified {
    /// What identifies the image: the promised digest, else that of the file as published.
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// The digest of the file as published.
    pub const fn published(&self) -> Digest {
        self.published
    }

    /// The digest of the unpacked image as it is kept, if it was read.
    pub const fn content(&self) -> Option<Digest> {
        self.content
    }

    /// The same proof of an image that is kept with zeros behind its end, so that its file has another digest.
    #[must_use]
    pub(crate) const fn padded(self, content: Option<Digest>) -> Self {
        Self { content, ..self }
    }
}

impl Pin {
    /// The digests that are the same promise, best first.
    pub(crate) const fn of(published: Option<Digest>, content: Option<Digest>) -> Self {
        match (published, content) {
            (Some(digest), _) => Self::Published(digest),
            (None, Some(digest)) => Self::Content(digest),
            (None, None) => Self::Nothing,
        }
    }

    /// The promised digest.
    pub const fn digest(self) -> Option<Digest> {
        match self {
            Self::Nothing => None,
            Self::Published(digest) | Self::Content(digest) | Self::Either(digest) => Some(digest),
        }
    }

    /// Whether the image's own digest decides, which takes seconds to compute, and that of the file does not.
    pub fn wants_content(self, published: Digest) -> bool {
        match self {
            Self::Content(_) => true,
            Self::Either(wanted) => wanted != published,
            Self::Nothing | Self::Published(_) => false,
        }
    }

    /// Refuses a file before it is unpacked if nothing in it can mend the promise.
    pub fn refuse_early(self, what: &str, published: Digest) -> Result<(), WrongDigest> {
        match self {
            Self::Published(wanted) if wanted != published => Err(wrong(what, wanted, published)),
            _ => Ok(()),
        }
    }

    /// Of a file that could not be unpacked: if it is not the promised one either, that is the reason to name.
    pub fn blame<E: From<WrongDigest>>(self, what: &str, published: Digest, error: E) -> E {
        match self {
            Self::Published(wanted) | Self::Either(wanted) if wanted != published => {
                wrong(what, wanted, published).into()
            }
            _ => error,
        }
    }

    /// Gives the proof, or says what was found instead. `content` is the digest of the unpacked image.
    pub fn verify(
        self,
        what: &str,
        published: Digest,
        content: Option<Digest>,
    ) -> Result<Verified, WrongDigest> {
        let proof = |digest| Ok(Verified { digest, published, content });
        match self {
            Self::Nothing => proof(published),
            Self::Published(wanted) | Self::Either(wanted) if wanted == published => proof(wanted),
            Self::Content(wanted) | Self::Either(wanted) if content == Some(wanted) => proof(wanted),
            Self::Content(wanted) => Err(wrong(what, wanted, content.unwrap_or(published))),
            Self::Published(wanted) | Self::Either(wanted) => Err(wrong(what, wanted, published)),
        }
    }
}

fn wrong(what: &str, wanted: Digest, found: Digest) -> WrongDigest {
    WrongDigest { what: what.to_owned(), wanted, found }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::of_bytes;

    #[test]
    fn the_content_is_wanted_where_it_decides() {
        let (file, image) = (of_bytes(b"file"), of_bytes(b"image"));
        for pin in [Pin::Either(image), Pin::Content(image)] {
            assert!(pin.wants_content(file));
            assert!(pin.verify("os.img.xz", file, None).is_err());
        }
        for pin in [Pin::Nothing, Pin::Published(image), Pin::Either(file)] {
            assert!(!pin.wants_content(file));
        }
    }

    #[test]
    fn gives_the_proof_only_for_the_promised_bytes() {
        let (file, image, other) = (of_bytes(b"file"), of_bytes(b"image"), of_bytes(b"other"));
        let verify = |pin: Pin| pin.verify("os.img.xz", file, Some(image)).map(|proof| proof.digest()).ok();
        assert_eq!(verify(Pin::Nothing), Some(file));
        assert_eq!(verify(Pin::Published(file)), Some(file));
        assert_eq!(verify(Pin::Either(file)), Some(file));
        assert_eq!(verify(Pin::Either(image)), Some(image));
        assert_eq!(verify(Pin::Content(image)), Some(image));
        assert_eq!(verify(Pin::Content(file)), None);
        assert_eq!(verify(Pin::Published(image)), None);
        assert_eq!(verify(Pin::Published(other)), None);
        assert_eq!(verify(Pin::Either(other)), None);
        for pin in [Pin::Either(image), Pin::Content(image)] {
            assert!(pin.verify("os.img.xz", file, None).is_err());
        }
    }
}
