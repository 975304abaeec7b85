//! The rolling hash over a room's envelopes. Spec: chapter 4, "Digests and the chain".
//!
//! It detects corruption and divergence, not a dishonest server: whoever can rewrite the log can rewrite the
//! chain. It covers digests instead of bodies, so erasing a body leaves it valid.

use hikyaku_wire::chat::{Digest, RoomId, Salt};

/// Under this context the first value is derived from the room.
const CONTEXT: &str = "hikyaku/1 chat chain";

/// The chain's value after some event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chain(pub Digest);

impl Chain {
    /// The value before the first event.
    //= S4.23
    pub fn genesis(room: RoomId) -> Self {
        Self(Digest(blake3::derive_key(CONTEXT, &room.0)))
    }

    /// The value after one more event: its envelope as stored and the digest of its body.
    //= S4.23
    #[must_use]
    pub fn link(self, envelope: &[u8], digest: &Digest) -> Self {
        let mut hasher = blake3::Hasher::new_keyed(&self.0.0);
        hasher.update(&digest.0).update(envelope);
        Self(Digest(hasher.finalize().into()))
    }
}

/// The digest of a body: BLAKE3(salt ‖ body).
//= S4.22
pub fn digest(salt: &Salt, body: &[u8]) -> Digest {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&salt.0).update(body);
    Digest(hasher.finalize().into())
}
