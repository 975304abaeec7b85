//! Proof of transfers, for long: both ends killed, the power cut, directories swapped while trees arrive, and every call
//! to the disk failed once in each of four ways.

use std::path::Path;

use crate::Outcome;
use crate::workspace::{Workspace, must};

/// `kill -9` of either end of 2 GiB and 5,000 small files. Whatever is given on the command line comes after it and wins.
const KILLS: &[&str] = &["--large", "2147483648", "--small", "5000", "--kills", "200", "--patience", "1800"];
/// Power cuts under a smaller tree, so that they lie close.
const CUTS: &[&str] = &["--large", "67108864", "--small", "500", "--kills", "20", "--cuts", "60"];

/// Runs everything; with arguments, only the kills and cuts that they describe.
pub(super) fn run(arguments: &[String]) -> Outcome {
    let workspace = Workspace::find()?;
    // Built with optimisation: hashing 2 GiB after each of 200 kills takes a debug build hours.
    let packages = ["--package", "hikyaku-cli", "--package", "hikyaku-checker"];
    must(workspace.cargo(&["build", "--release", "--locked", "--bins"]).args(packages))?;
    let memory = Path::new("/dev/shm");
    let in_memory: &[&str] = if memory.is_dir() { &["--directory", "/dev/shm"] } else { &[] };
    let soak = || workspace.command(workspace.target.join("release/files-soak"));
    if !arguments.is_empty() {
        return must(soak().args(in_memory).args(arguments));
    }
    let tests = ["test", "--locked", "--package", "hikyaku-files", "--"];
    let mut attacked = workspace.cargo(&tests);
    // One after the other: each attacker wants a core of its own.
    let alone = ["attacker", "disk::", "--nocapture", "--test-threads", "1"];
    must(attacked.env("HIKYAKU_RECEIVES", "10000").args(alone))?;
    must(soak().args(in_memory).args(KILLS))?;
    must(soak().args(in_memory).args(CUTS))
}
