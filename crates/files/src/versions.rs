//! A newer version of something that the receiver has an older one of: what did not change is not sent.
//!
//! Pure, both ends. The receiver cuts its older version into pieces where the content says (`cut`) and tells what they
//! are ([`Telling`]); the sender listens ([`Index`]), finds them in its own (`matching`) and names what is there
//! ([`Sparing`], and of a tree's files [`Renewing`]); the receiver puts blocks together ([`check`], [`compose`]) and verifies them like all others, so that
//! whatever is told wrongly costs a failure and never a wrong byte. Nothing of it is kept. Spec: section 5.10.

mod composing;
mod cut;
mod index;
mod matching;
mod renewing;
mod sparing;
mod telling;

pub(crate) use composing::unnamed;
pub use composing::{check, compose};
pub use cut::average_of;
pub use index::Index;
pub use renewing::Renewing;
pub use sparing::{Spared, Sparing};
pub use telling::Telling;

/// Smaller ones are sent whole.
pub const OLDER_FROM: u64 = 256 * 1024;

#[cfg(test)]
mod tests;
