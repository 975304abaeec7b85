//! Proof of delivery: "exactly once, in order, to the application, for acknowledged messages, while the disk honours
//! fsync".
//!
//! Real clients, each a process, send to a real server and write down what they did and saw ([`history`]). A run
//! ([`run`]) kills them and the server, cuts the power under its disk, stops them, moves its clock and breaks their
//! connections. What they wrote is then checked ([`check`]) against ten invariants; since the server gives every event
//! its place, checking needs no search.
//!
//! `chat-soak` is a run as a program, `chat-client` the client it starts. [`files`] proves transfers in the same manner;
//! `files-soak` is a run of it. [`vault`] proves what rooms promise of parcels; `vault-soak` is a run of it.

#![forbid(unsafe_code)]

pub mod check;
pub mod client;
pub mod files;
pub mod history;
mod host;
mod plan;
mod power;
mod program;
pub mod run;
pub mod soaking;
mod tree;
pub mod vault;

pub use plan::{Faults, Plan, Random};
