//! The secret of an invite, and the digest that the server keeps instead of it.
//!
//! A secret is 128 random bits, so plain SHA-256 is enough: there is nothing to guess. Neither type is shown by
//! `Debug`, and neither has `Display`.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// What makes an invite valid. Wiped from memory when dropped.
#[derive(Clone)]
pub struct Secret(Zeroizing<[u8; 16]>);

//= S6.12
/// The SHA-256 of a [`Secret`].
#[derive(Clone, Copy)]
pub(crate) struct SecretDigest([u8; 32]);

impl Secret {
    /// A new secret from the operating system's randomness.
    pub(crate) fn generate() -> Result<Self, getrandom::Error> {
        random().map(Self::from_bytes)
    }

    /// The secret with these bytes.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes, for the wire and for the link alone.
    pub fn reveal(&self) -> &[u8; 16] {
        &self.0
    }

    /// What the server keeps.
    pub(crate) fn digest(&self) -> SecretDigest {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest(&SHA256, self.reveal()).as_ref());
        SecretDigest(bytes)
    }
}

impl SecretDigest {
    pub(crate) fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    pub(crate) fn to_bytes(self) -> [u8; 32] {
        self.0
    }
}

/// Compares in constant time: how long it takes says nothing about how much was right.
impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.reveal().ct_eq(other.reveal()).into()
    }
}

impl Eq for Secret {}

/// Compares in constant time.
impl PartialEq for SecretDigest {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for SecretDigest {}

//= S6.13
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

impl fmt::Debug for SecretDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretDigest(hidden)")
    }
}

/// Random bytes from the operating system.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], getrandom::Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}
