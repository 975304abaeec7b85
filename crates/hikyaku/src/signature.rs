//! Signatures with an identity's key, each for one purpose. Spec: section 6.6.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};

use crate::identity::{ED25519_KEY_INFO, Identity, KeyId};

impl KeyId {
    /// The id of a public key (Ed25519, 32 bytes).
    //= S6.1
    pub fn of_key(key: &[u8; 32]) -> Self {
        let hash = digest(&SHA256, &[&ED25519_KEY_INFO[..], key].concat());
        // A SHA-256 has 32 bytes.
        Self::from_bytes(hash.as_ref().try_into().unwrap_or([0; 32]))
    }
}

impl Identity {
    /// The public key (Ed25519).
    pub fn public_key(&self) -> [u8; 32] {
        self.pair().and_then(|pair| pair.public_key().as_ref().try_into().ok()).unwrap_or([0; 32])
    }

    /// Signs `bytes` for the purpose that `context` names: one of chapter 6's, or a library user's own. It ends with a
    /// zero byte, so that none is the beginning of another.
    ///
    /// ```
    /// use hikyaku::{Identity, KeyId, is_signed};
    /// let device = Identity::generate()?;
    /// let signature = device.sign(b"example.org/1 order\0", b"two lemons");
    /// assert!(is_signed(b"example.org/1 order\0", b"two lemons", &device.public_key(), &signature));
    /// assert!(!is_signed(b"example.org/1 offer\0", b"two lemons", &device.public_key(), &signature));
    /// assert_eq!(KeyId::of_key(&device.public_key()), device.id());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    //= S6.40
    pub fn sign(&self, context: &[u8], bytes: &[u8]) -> [u8; 64] {
        let signed = [context, bytes].concat();
        // An identity's key was read once already, and a signature has 64 bytes: a verifier refuses what is zero.
        self.pair().and_then(|pair| pair.sign(&signed).as_ref().try_into().ok()).unwrap_or([0; 64])
    }

    fn pair(&self) -> Option<Ed25519KeyPair> {
        Ed25519KeyPair::from_pkcs8_maybe_unchecked(self.private_key().secret_der()).ok()
    }
}

/// Whether `signature` is the one of `key` over `bytes` for the purpose that `context` names.
//= S6.40
pub fn is_signed(context: &[u8], bytes: &[u8], key: &[u8; 32], signature: &[u8; 64]) -> bool {
    let signed = [context, bytes].concat();
    UnparsedPublicKey::new(&ED25519, key).verify(&signed, signature).is_ok()
}

#[cfg(test)]
mod tests {
    use hikyaku_wire::codes::context;

    use super::*;

    //= S6.40 (test)
    #[test]
    fn a_signature_is_worth_nothing_for_another_purpose_other_bytes_or_another_key() {
        let (device, other) = (Identity::generate().unwrap(), Identity::generate().unwrap());
        let signature = device.sign(context::RECEIPT, b"bytes");
        let key = device.public_key();
        assert!(is_signed(context::RECEIPT, b"bytes", &key, &signature));
        assert!(!is_signed(b"", b"bytes", &key, &signature), "TLS signs under a context of its own, too");
        assert!(!is_signed(b"hikyaku/1 other\0", b"bytes", &key, &signature));
        assert!(!is_signed(context::RECEIPT, b"byte", &key, &signature));
        assert!(!is_signed(context::RECEIPT, b"bytes", &other.public_key(), &signature));
        let cut = [&context::RECEIPT[..8], b"bytes"].concat();
        assert!(!is_signed(&context::RECEIPT[8..], &cut, &key, &signature), "the context is in front");
        for bit in 0..512 {
            let mut damaged = signature;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(!is_signed(context::RECEIPT, b"bytes", &key, &damaged), "bit {bit}");
        }
    }
}
