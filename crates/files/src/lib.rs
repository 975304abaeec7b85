//! Files: tree hash, journal, jail, vault, server side, client side.

#![forbid(unsafe_code)]

pub mod jail;
pub mod journal;
pub mod names;
pub mod tree;

pub use names::escape;
