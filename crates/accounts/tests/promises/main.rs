//! The promises of accounts, on the store's in-memory model.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod devices;
mod grants;
mod invites;
mod protocol;
mod redeem;
mod revoke;
mod world;
