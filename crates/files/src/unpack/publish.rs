//! Moving a finished tree to its place.
//!
//! Every step is one rename, so a crash leaves each file either where it was made or where it belongs, and doing it all
//! again goes on from there.

use std::io;

use hikyaku_wire::files::{Overwrite, Verdict};

use super::{Missing, Report};
use crate::attributes::{comparable, set_attributes};
use crate::error::Result;
use crate::folded::Folded;
use crate::jail::{Dir, Found};
use crate::names::SafeName;
use crate::policy::{MAX_ASIDE, Policy, other_names, rename_aside, verdict};
use crate::staging::full;

/// Moves everything in `from` into `into`: whole where the name is free, file by file where a directory has it.
///
/// What has to stay behind because its name is taken is removed and reported. Where the disk is full, it can be called
/// again: it goes on with what is left.
//= S5.33
//= S5.50
///
/// Says whether everything was moved as it was, so that nothing was replaced or left out.
pub(crate) fn publish(from: &Dir, into: &Dir, policy: Policy, report: &mut Report) -> Result<bool> {
    merge(from, into, policy, &mut Vec::new(), report).map_err(|error| full(into, 0, error).into())
}

fn merge(
    from: &Dir,
    into: &Dir,
    policy: Policy,
    path: &mut Vec<u8>,
    report: &mut Report,
) -> io::Result<bool> {
    let mut names = from.all_names()?;
    names.sort_unstable();
    let mut known = match policy.distinct {
        true => Some(Folded::of(&into.all_names()?).map_err(io::Error::other)?),
        false => None,
    };
    let mut is_whole = true;
    for name in names {
        let above = path.len();
        if above > 0 {
            path.push(b'/');
        }
        path.extend_from_slice(name.as_bytes());
        match &mut known {
            Some(known) if known.has(&name) && into.find(&name)?.is_none() => {
                is_whole = false;
                collide((from, into), &name, known, policy, path, report)?;
            }
            known => {
                is_whole &= place(from, into, &name, policy, path, report)?;
                known.as_mut().map_or(Ok(()), |known| known.add(&name)).map_err(io::Error::other)?;
            }
        }
        path.truncate(above);
    }
    // Not as a full disk, for which all of it would be done again: names that were lost would look as if they were there.
    into.sync().map_err(|error| io::Error::other(format!("the names are not durable: {error}")))?;
    Ok(is_whole)
}

/// Something there has a name that is the same as this one but for case or composition.
//= S5.53
fn collide(
    (from, into): (&Dir, &Dir),
    name: &SafeName,
    known: &mut Folded,
    policy: Policy,
    path: &[u8],
    report: &mut Report,
) -> io::Result<()> {
    let others = other_names(name).take(if policy.aside { MAX_ASIDE } else { 0 });
    for other in others {
        if known.has(&other) {
            continue;
        }
        match from.rename(name, into, &other, false) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
            moved => moved?,
        }
        known.add(&other).map_err(io::Error::other)?;
        report.add(path.to_vec(), Missing::Aside);
        return Ok(());
    }
    report.add(path.to_vec(), Missing::Collides);
    from.remove_all(name)
}

/// Puts one entry into its place; whether it was moved as it was.
fn place(
    from: &Dir,
    into: &Dir,
    name: &SafeName,
    policy: Policy,
    path: &mut Vec<u8>,
    report: &mut Report,
) -> io::Result<bool> {
    match from.rename(name, into, name, false) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        moved => return moved.map(|()| true),
    }
    match (from.find(name)?, into.find(name)?) {
        (Some(Found::Directory), Some(Found::Directory)) => {
            let (inner, existing) = (from.open_child(name)?, into.open_child(name)?);
            let meta = inner.metadata()?;
            inner.let_in()?;
            existing.let_in()?;
            merge(&inner, &existing, policy, path, report)?;
            if !set_attributes(&existing, &comparable(&inner).unwrap_or_default()) {
                report.add(path.clone(), Missing::Attributes);
            }
            existing.set_metadata(&meta)?;
            return from.remove_dir(name).map(|()| false);
        }
        (Some(Found::Other), Some(Found::Other)) if from.is_same_link(into, name)? => {
            return from.remove(name).map(|()| false);
        }
        (Some(ours), Some(theirs)) => match verdict(ours, theirs, policy) {
            // It may have other extended attributes: whoever wants everything replaced wants those too.
            Verdict::SAME if policy.overwrite == Overwrite::Always => {
                return from.rename(name, into, name, true).map(|()| false);
            }
            // What is there is what was sent, as far as anybody keeps books, or it stays because it is newer.
            Verdict::SAME | Verdict::OLDER => return from.remove(name).map(|()| false),
            Verdict::REPLACES => return from.rename(name, into, name, true).map(|()| false),
            Verdict::RENAMED if rename_aside((from, name), into, name)?.is_some() => return Ok(true),
            _ => {}
        },
        _ => {}
    }
    report.add(path.clone(), Missing::Exists);
    from.remove_all(name).map(|()| false)
}
