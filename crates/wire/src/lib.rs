//! What is on the wire: varints, frames, CBOR messages and code tables. No I/O, no clock.

#![forbid(unsafe_code)]

pub mod varint;
