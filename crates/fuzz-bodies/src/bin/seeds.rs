//! `seeds DIRECTORY` writes what every target begins with into `DIRECTORY/<target>/`, for libFuzzer, which reads nothing
//! but files.

#![forbid(unsafe_code)]

use std::path::Path;

use hikyaku_fuzz_bodies::{TARGETS, seeds::seeds};

fn main() -> std::io::Result<()> {
    let directory = std::env::args_os().nth(1).expect("usage: seeds DIRECTORY");
    for target in TARGETS {
        let directory = Path::new(&directory).join(target.name);
        std::fs::create_dir_all(&directory)?;
        for seed in seeds(target.name) {
            let name = blake3::hash(&seed).to_hex();
            std::fs::write(directory.join(&name[..16]), &seed)?;
        }
    }
    Ok(())
}
