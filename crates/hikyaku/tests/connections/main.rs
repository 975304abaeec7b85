//! What a connection promises: whom it is with, what a peer may say on it, how it begins and ends. Spec: chapters 1, 3
//! and 6. The peers here are made of bytes (`raw`), so that they can do what no decent peer would.

#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;
mod ending;
mod events;
mod evil_quic;
mod floods;
mod goodbye;
mod identity;
mod impostors;
mod limits;
mod raw;
mod reaching;
mod sealed;
mod seeing;
mod session;
mod strangers;
mod unread;
mod wire;
