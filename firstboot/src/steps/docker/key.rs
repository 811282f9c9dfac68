//! OpenPGP keys, as far as telling which one a file holds.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Whether a key file, armored or not, holds the key of the armored block `wanted`.
///
/// Exporters differ in headers, user ids and signatures, but not in the body of the primary key's packet (RFC 9580, 5.5.2).
/// Text that is no key block counts only as a whole.
pub(super) fn holds(file: &[u8], wanted: &str) -> bool {
    if let Some(packet) = dearmored(wanted).as_deref().and_then(first_body) {
        let text = String::from_utf8_lossy(file);
        let mut blocks: Vec<Vec<u8>> = text.split(END).filter_map(dearmored).collect();
        blocks.push(file.to_vec());
        return blocks.iter().any(|block| block.windows(packet.len()).any(|window| window == packet));
    }
    file.trim_ascii() == wanted.trim().as_bytes()
}

const BEGIN: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----";
const END: &str = "-----END PGP PUBLIC KEY BLOCK-----";

/// The bytes of the first armored block (RFC 9580, 6.2): headers, an empty line, base64, a checksum after `=`.
fn dearmored(text: &str) -> Option<Vec<u8>> {
    let (_, block) = text.split_once(BEGIN)?;
    let body: String = block
        .lines()
        .map(str::trim)
        .skip(1)
        .skip_while(|line| !line.is_empty())
        .take_while(|line| !line.starts_with(['=', '-']))
        .collect();
    STANDARD.decode(body).ok()
}

/// The body of the first packet, which is the primary key's (RFC 9580, 4.2).
fn first_body(packets: &[u8]) -> Option<&[u8]> {
    let byte = |at: usize| packets.get(at).map(|byte| usize::from(*byte));
    let tag = byte(0)?;
    let (start, length) = match (tag & 0x40 != 0, tag & 3, byte(1)?) {
        (false, 0, length) => (2, length),
        (false, 1, high) => (3, (high << 8) | byte(2)?),
        (true, _, length @ 0..192) => (2, length),
        (true, _, high @ 192..224) => (3, ((high - 192) << 8) + byte(2)? + 192),
        _ => return None,
    };
    // A key is longer than this; anything shorter would be found anywhere.
    packets.get(start..start + length).filter(|body| body.len() >= 32)
}

#[cfg(test)]
mod tests {
    use super::super::plan::DOCKER_KEY;
    use super::*;

    /// RFC 4880, 12.2: SHA-1 over 0x99, the length of two bytes, and the body of the public key packet.
    #[test]
    fn pinned_key_is_dockers() {
        let packets = dearmored(DOCKER_KEY).unwrap();
        let body = first_body(&packets).unwrap();
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        let hashed = [&[0x99], &length[..], body].concat();
        let digest = ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, &hashed);
        let fingerprint: String = digest.as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
        assert_eq!(fingerprint, "9DC858229FC7DD38854AE2D88D81803C0EBFCD88");
    }

    #[test]
    fn finds_a_key_armored_or_not() {
        let binary = dearmored(DOCKER_KEY).unwrap();
        // As a keyring with another key before it.
        let other = [&[0x98, 40][..], &[7; 40]].concat();
        assert!(holds(&binary, DOCKER_KEY) && holds(&[other.clone(), binary].concat(), DOCKER_KEY));
        assert!(holds(DOCKER_KEY.as_bytes(), DOCKER_KEY));
        let other_block = format!("{BEGIN}\n\n{}\n=abcd\n{END}\n", STANDARD.encode(&other));
        assert!(holds(format!("{other_block}{DOCKER_KEY}").as_bytes(), DOCKER_KEY));
        for another in [&other[..], other_block.as_bytes(), b"", &DOCKER_KEY.as_bytes()[..500]] {
            assert!(!holds(another, DOCKER_KEY));
        }
    }

    #[test]
    fn compares_text_that_is_no_key_as_a_whole() {
        assert!(holds(b"KEY\n", "KEY"));
        assert!(!holds(b"KEYS\n", "KEY"));
    }
}
