//! Runs a body over its corpus and over mutations of it: what `cargo xtask test` does in place of libFuzzer.

use std::path::{Path, PathBuf};

/// Mutations of each input.
const MUTATIONS: u64 = 200;

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The inputs kept for one target.
pub(crate) fn corpus(target: &str) -> Vec<Vec<u8>> {
    let directory = root().join("fuzz/corpus").join(target);
    let mut files: Vec<PathBuf> = std::fs::read_dir(&directory)
        .unwrap_or_else(|error| panic!("{}: {error}", directory.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files.into_iter().map(|file| std::fs::read(file).unwrap()).collect()
}

/// Runs `body` over the inputs and over mutations of them that are the same at every run.
pub(crate) fn replay(inputs: Vec<Vec<u8>>, body: fn(&[u8])) {
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
