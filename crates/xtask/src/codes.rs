//! `cargo xtask codes`: the registries of `spec/registries/*.toml` become Rust consts and the tables of chapter 6.
//!
//! Without arguments both are written; with `--check` they are compared with what is there, and a difference is an
//! error. Every rule about numbers (unique, inside their class, never a grease number) is checked on the way.

mod registry;
mod rust;
mod tables;

use std::fs;
use std::path::{Path, PathBuf};

pub(crate) use registry::Registries;

/// The generated Rust file, relative to the root of the repository.
const RUST: &str = "crates/wire/src/generated.rs";
/// The chapter that holds the generated tables.
const CHAPTER: &str = "spec/6-security-and-registries.md";

/// Runs the task.
pub(crate) fn run(args: &[String]) -> Result<(), String> {
    let check = match args {
        [] => false,
        [flag] if flag == "--check" => true,
        _ => return Err("usage: cargo xtask codes [--check]".into()),
    };
    let root = root();
    let registries = Registries::load(&root.join("spec/registries"))?;
    let mut stale = Vec::new();
    settle(&root.join(RUST), &rust::generate(&registries)?, check, &mut stale)?;
    let chapter = root.join(CHAPTER);
    if chapter.exists() {
        let text = read(&chapter)?;
        settle(&chapter, &tables::fill(&text, &registries)?, check, &mut stale)?;
    }
    if stale.is_empty() {
        return Ok(());
    }
    Err(format!("out of date: {}; run `cargo xtask codes` and commit the result", stale.join(", ")))
}

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_path_buf()
}

/// Reads a text file; the error names it.
pub(crate) fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
}

/// Writes `wanted` to `path` if it differs, or notes the path as stale when only checking.
pub(crate) fn settle(path: &Path, wanted: &str, check: bool, stale: &mut Vec<String>) -> Result<(), String> {
    if path.exists() && read(path)? == wanted {
        return Ok(());
    }
    if check {
        let shown = path.strip_prefix(root()).unwrap_or(path);
        stale.push(shown.display().to_string());
        return Ok(());
    }
    fs::write(path, wanted).map_err(|error| format!("cannot write {}: {error}", path.display()))
}
