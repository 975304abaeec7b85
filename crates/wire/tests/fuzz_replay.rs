//! The fuzz targets of this crate, replayed over their corpus and over the vectors of the specification, each input also
//! in a few hundred mutations. Finds at every test run what libFuzzer found once; needs neither nightly nor libFuzzer.

#![allow(clippy::unwrap_used, reason = "a corpus that cannot be read is a failed test")]

use std::path::{Path, PathBuf};

use serde_json::Value;

// The bodies live beside the fuzz targets, which are outside the workspace; a path is how both get at one copy.
#[path = "../../../fuzz/bodies/wire.rs"]
mod wire;

/// Mutations of each input.
const MUTATIONS: u64 = 200;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The inputs kept for one target.
fn corpus(target: &str) -> Vec<Vec<u8>> {
    let directory = root().join("fuzz/corpus").join(target);
    let mut files: Vec<PathBuf> = std::fs::read_dir(&directory)
        .unwrap_or_else(|error| panic!("{}: {error}", directory.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files.into_iter().map(|file| std::fs::read(file).unwrap()).collect()
}

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

/// Runs `body` over the inputs and over mutations of them that are the same at every run.
fn replay(inputs: Vec<Vec<u8>>, body: fn(&[u8])) {
    assert!(!inputs.is_empty());
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % (below as u64).max(1)) as usize
    };
    for input in &inputs {
        body(input);
        for _ in 0..MUTATIONS {
            let mut mutant = input.clone();
            for _ in 0..=random(3) {
                let at = random(mutant.len() + 1);
                match random(5) {
                    0 => mutant.truncate(at),
                    1 => mutant.insert(at, random(256) as u8),
                    2 if at < mutant.len() => mutant[at] ^= 1 << random(8),
                    3 if at < mutant.len() => drop(mutant.remove(at)),
                    _ => {
                        let other = &inputs[random(inputs.len())];
                        mutant.splice(at.., other[random(other.len() + 1)..].iter().copied());
                    }
                }
            }
            mutant.truncate(4096);
            body(&mutant);
        }
    }
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
