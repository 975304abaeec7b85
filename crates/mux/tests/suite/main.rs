//! What a QMux connection promises, one file per topic. `pair` joins two connections on a virtual clock; `raw` is a
//! peer made of bytes, for everything a well-behaved one never says.

// A failed unwrap is a failed test.
#![allow(clippy::unwrap_used)]

mod close;
mod datagrams;
mod flow;
mod hostile;
mod input;

mod interop;
mod memory;
mod model;

mod pair;
mod raw;
mod records;
mod refusals;
mod streams;
