//! Moving a finished tree to its place.
//!
//! Every step is one rename, so a crash leaves each file either where it was made or where it belongs, and doing it all
//! again goes on from there.

use std::io;

use hikyaku_wire::files::{Overwrite, PutOptions, Verdict};

use super::{Missing, Report};
use crate::error::Result;
use crate::jail::{Dir, Found};
use crate::names::{Dots, SafeName};

/// The most names that are tried for a file that is to get another one.
const MAX_RENAMES: u32 = 10_000;

/// What becomes of names that are taken.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Policy {
    pub(crate) overwrite: Overwrite,
    /// Whether the same size and time is not enough to be the same.
    pub(crate) checksum: bool,
}

impl Policy {
    pub(crate) fn of(options: &PutOptions) -> Self {
        let overwrite = options.overwrite.unwrap_or_default();
        Self { overwrite, checksum: options.checksum == Some(true) }
    }
}

/// Moves everything in `from` into `into`: whole where the name is free, file by file where a directory has it.
///
/// What has to stay behind because its name is taken is removed and reported.
//= S5.33
//= S5.50
pub(crate) fn publish(from: &Dir, into: &Dir, policy: Policy, report: &mut Report) -> Result<()> {
    report.tops = from.all_names().map_err(super::vault)?.len() as u64;
    merge(from, into, policy, &mut Vec::new(), report).map_err(super::vault)
}

fn merge(from: &Dir, into: &Dir, policy: Policy, path: &mut Vec<u8>, report: &mut Report) -> io::Result<()> {
    let mut names = from.all_names()?;
    names.sort_unstable();
    for name in names {
        let above = path.len();
        if above > 0 {
            path.push(b'/');
        }
        path.extend_from_slice(name.as_bytes());
        place(from, into, &name, policy, path, report)?;
        path.truncate(above);
    }
    into.sync()
}

fn place(
    from: &Dir,
    into: &Dir,
    name: &SafeName,
    policy: Policy,
    path: &mut Vec<u8>,
    report: &mut Report,
) -> io::Result<()> {
    match from.rename(name, into, name, false) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        moved => return moved,
    }
    match (from.find(name)?, into.find(name)?) {
        (Some(Found::Directory), Some(Found::Directory)) => {
            let (inner, existing) = (from.open_child(name)?, into.open_child(name)?);
            let meta = inner.metadata()?;
            inner.let_in()?;
            existing.let_in()?;
            merge(&inner, &existing, policy, path, report)?;
            existing.set_metadata(&meta)?;
            return from.remove_dir(name);
        }
        (Some(Found::Other), Some(Found::Other)) if from.is_same_link(into, name)? => {
            return from.remove(name);
        }
        (Some(ours), Some(theirs)) => match verdict(ours, theirs, policy) {
            // What is there is what was sent, as far as anybody keeps books, or it stays because it is newer.
            Verdict::SAME | Verdict::OLDER => return from.remove(name),
            Verdict::REPLACES => return from.rename(name, into, name, true),
            Verdict::RENAMED if rename_aside(from, into, name)? => return Ok(()),
            _ => {}
        },
        _ => {}
    }
    report.add(path.clone(), Missing::Exists);
    from.remove_all(name)
}

/// Gives it the first other name that is free; `false` when there is none.
fn rename_aside(from: &Dir, into: &Dir, name: &SafeName) -> io::Result<bool> {
    for other in other_names(name) {
        match from.rename(name, into, &other, false) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            moved => return moved.map(|()| true),
        }
    }
    Ok(false)
}

/// The names that something gets whose own is taken, in the order in which they are tried.
fn other_names(name: &SafeName) -> impl Iterator<Item = SafeName> {
    let name = name.clone();
    (1..=MAX_RENAMES).map_while(move |number| {
        SafeName::parse(&[name.as_bytes(), format!("~{number}").as_bytes()].concat(), Dots::Inside).ok()
    })
}

/// What becomes of ours where theirs has the name. A directory is never replaced, and never replaces.
pub(crate) fn verdict(ours: Found, theirs: Found, policy: Policy) -> Verdict {
    let is_newer = match (ours, theirs) {
        (
            Found::File { size, modified, mode },
            Found::File { size: their_size, modified: their_time, mode: their_mode },
        ) => {
            // Other permission bits are a reason to replace for those who want everything replaced.
            let is_same = (size, modified) == (their_size, their_time)
                && (mode == their_mode || policy.overwrite != Overwrite::Always);
            if is_same && !policy.checksum {
                return Verdict::SAME;
            }
            Some(modified > their_time)
        }
        _ => None,
    };
    let has_directory = ours == Found::Directory || theirs == Found::Directory;
    match policy.overwrite {
        Overwrite::Rename => Verdict::RENAMED,
        Overwrite::Always if !has_directory => Verdict::REPLACES,
        Overwrite::Newer => match is_newer {
            Some(true) => Verdict::REPLACES,
            Some(false) => Verdict::OLDER,
            None => Verdict::TAKEN,
        },
        _ => Verdict::TAKEN,
    }
}
