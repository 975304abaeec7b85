//! What is done with hostile bytes where a key is looked for: certificates as peers send them, ids as people paste them.

use aws_lc_rs::digest::{SHA256, digest};
use hikyaku::KeyId;
use hikyaku::machines::key_of_certificate;

/// How the SubjectPublicKeyInfo of an Ed25519 key begins (RFC 8410), and how long it is.
const KEY_INFO: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
const KEY_INFO_LEN: usize = 44;

/// A certificate with an Ed25519 key is named by the hash of a key that is really in it; nothing else has a name.
pub fn certificate(bytes: &[u8]) {
    if let Some(id) = key_of_certificate(bytes) {
        let named =
            |info: &[u8]| info.starts_with(&KEY_INFO) && digest(&SHA256, info).as_ref() == id.as_bytes();
        assert!(bytes.windows(KEY_INFO_LEN).any(named), "{id} is the hash of no key in the certificate");
        assert_eq!(id.to_string().parse(), Ok(id));
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(id) = text.parse::<KeyId>() {
        assert_eq!(id.to_string(), text.to_ascii_lowercase());
    }
}
