//! Moving a finished tree to its place.
//!
//! Every step is one rename, so a crash leaves each file either where it was made or where it belongs, and doing it all
//! again goes on from there.

use std::io;

use hikyaku_wire::files::Overwrite;

use super::{Missing, Report};
use crate::error::Result;
use crate::jail::{Dir, Found};
use crate::names::{Dots, SafeName};

/// The most names that are tried for a file that is to get another one.
const MAX_RENAMES: u32 = 10_000;

/// Moves everything in `from` into `into`: whole where the name is free, file by file where a directory has it.
///
/// What has to stay behind because its name is taken is removed and reported.
//= S5.33
//= S5.50
pub(crate) fn publish(from: &Dir, into: &Dir, overwrite: Overwrite, report: &mut Report) -> Result<()> {
    report.tops = from.all_names().map_err(super::vault)?.len() as u64;
    merge(from, into, overwrite, &mut Vec::new(), report).map_err(super::vault)
}

fn merge(
    from: &Dir,
    into: &Dir,
    overwrite: Overwrite,
    path: &mut Vec<u8>,
    report: &mut Report,
) -> io::Result<()> {
    let mut names = from.all_names()?;
    names.sort_unstable();
    for name in names {
        let above = path.len();
        if above > 0 {
            path.push(b'/');
        }
        path.extend_from_slice(name.as_bytes());
        place(from, into, &name, overwrite, path, report)?;
        path.truncate(above);
    }
    into.sync()
}

fn place(
    from: &Dir,
    into: &Dir,
    name: &SafeName,
    overwrite: Overwrite,
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
            merge(&inner, &existing, overwrite, path, report)?;
            existing.set_metadata(&meta)?;
            return from.remove_dir(name);
        }
        // The same size and time: what is there is what was sent, as far as anybody keeps books.
        (Some(ours @ Found::File { .. }), Some(theirs)) if ours == theirs => return from.remove(name),
        (Some(ours), Some(theirs)) if replaces(ours, theirs, overwrite) => {
            return from.rename(name, into, name, true);
        }
        (Some(_), _) if overwrite == Overwrite::Rename => {
            for number in 1..=MAX_RENAMES {
                let other = [name.as_bytes(), format!("~{number}").as_bytes()].concat();
                let Ok(other) = SafeName::parse(&other, Dots::Inside) else { break };
                match from.rename(name, into, &other, false) {
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                    moved => return moved,
                }
            }
        }
        _ => {}
    }
    report.add(path.clone(), Missing::Exists);
    from.remove_all(name)
}

/// Whether ours takes the place of theirs. A directory is never replaced, and never replaces.
fn replaces(ours: Found, theirs: Found, overwrite: Overwrite) -> bool {
    if ours == Found::Directory || theirs == Found::Directory {
        return false;
    }
    match (overwrite, ours, theirs) {
        (Overwrite::Always, ..) => true,
        (Overwrite::Newer, Found::File { modified: ours, .. }, Found::File { modified: theirs, .. }) => {
            ours > theirs
        }
        _ => false,
    }
}
