//! The fuzz targets of this crate, replayed over their corpus and over the vectors of the specification, each input also
//! in a few hundred mutations. Finds at every test run what libFuzzer found once; needs neither nightly nor libFuzzer.

#![allow(clippy::unwrap_used, reason = "a corpus that cannot be read is a failed test")]

use replay::{corpus, replay, root};
use serde_json::Value;

// The bodies live beside the fuzz targets, which are outside the workspace; a path is how both get at one copy.
#[path = "../../../fuzz/bodies/replay.rs"]
mod replay;
#[path = "../../../fuzz/bodies/wire.rs"]
mod wire;

/// Every hexadecimal string called `field` in a file of vectors.
fn vectors(file: &str, field: &str) -> Vec<Vec<u8>> {
    let path = root().join("spec/vectors").join(file).with_extension("json");
    let table: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let hex = |vector: &Value| vector[field].as_str().unwrap().to_owned();
    let vectors = table["vectors"].as_array().unwrap().iter().map(hex);
    vectors
        .map(|hex| {
            (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
        })
        .collect()
}

#[test]
fn varints_keep_their_promises() {
    replay([corpus("varint"), vectors("varint", "hex")].concat(), wire::varint);
}

#[test]
fn the_frame_decoder_keeps_its_promises() {
    let cut = |stream: &Vec<u8>| [&[2], &stream[..]].concat();
    let streams = [vectors("frames", "hex"), vectors("errors", "frame")].concat();
    replay([corpus("frame_decoder"), streams.iter().map(cut).collect()].concat(), wire::frame_decoder);
}

#[test]
fn the_cbor_profile_keeps_its_promises() {
    replay([corpus("cbor_check"), vectors("cbor", "hex"), vectors("chat", "hex")].concat(), wire::cbor_check);
}

#[test]
fn messages_keep_their_promises() {
    let families = ["session", "accounts", "chat", "files"].map(|family| vectors(family, "hex")).concat();
    replay([corpus("message"), families].concat(), wire::message);
}
