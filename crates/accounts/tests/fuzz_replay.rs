//! The fuzz targets of this crate, replayed over their corpus and over mutations of it at every test run.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a corpus that cannot be read is a failed test")]

#[path = "../../../fuzz/bodies/accounts.rs"]
mod accounts;
// The bodies live beside the fuzz targets, which are outside the workspace; a path is how both get at one copy.
#[path = "../../../fuzz/bodies/replay.rs"]
#[allow(dead_code, reason = "the vectors' place is for another crate")]
mod replay;

use replay::{corpus, replay};

#[test]
fn links_and_names_keep_their_promises() {
    replay(corpus("invite_link"), accounts::invite_link);
}
