//! What is on the wire: varints, frames, CBOR messages and code tables. No I/O, no clock.
//!
//! Everything here is a function of bytes. Whatever a peer may send, decoding it ends with a value or with an error
//! that names what was wrong, and costs memory in proportion to the bytes that arrived, never to a length they claim.

#![forbid(unsafe_code)]

pub mod accounts;
pub mod bundle;
pub mod cbor;
pub mod chat;
pub mod codes;
pub mod enroll;
pub mod exchange;
pub mod files;
pub mod frame;
pub mod hello;
pub mod parcel;
pub mod recording;
pub mod text;
pub mod varint;

mod generated;
