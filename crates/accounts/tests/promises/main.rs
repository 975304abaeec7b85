//! The promises of accounts, on the store's in-memory model.

mod devices;
mod invites;
mod protocol;
mod redeem;
mod revoke;
mod world;
