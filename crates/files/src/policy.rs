//! What becomes of names that are taken: the rules that a file and a tree have in common, at a server and at a client.
//!
//! Spec: `put-options`, S5.39, S5.50.

use std::collections::HashSet;
use std::io;

use hikyaku_wire::files::{Overwrite, PutOptions, Verdict};
use hikyaku_wire::parcel::Root;

use crate::folded::fold;
use crate::jail::{Dir, Found};
use crate::names::{Dots, SafeName};
use crate::tree::{GROUP, hash_file};

/// The most names that are tried for a file that is to get another one.
const MAX_RENAMES: u32 = 10_000;
/// The most names that are tried for something whose own is the same as another. Looking for them costs, and a peer can
/// send many.
pub(crate) const MAX_ASIDE: usize = 100;

/// What becomes of names that are taken.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Policy {
    pub(crate) overwrite: Overwrite,
    /// Whether the same size and time is not enough to be the same.
    pub(crate) checksum: bool,
    /// Whether names of one directory that differ by case or composition alone are taken for one.
    pub(crate) distinct: bool,
    /// Whether what is not made because its name and another are one gets another name instead.
    pub(crate) aside: bool,
}

impl Policy {
    pub(crate) fn of(options: &PutOptions) -> Self {
        let overwrite = options.overwrite.unwrap_or_default();
        let is = |option: Option<bool>| option == Some(true);
        let (checksum, distinct, aside) = (is(options.checksum), is(options.distinct), is(options.aside));
        Self { overwrite, checksum, distinct, aside }
    }
}

/// Gives it the first other name that is free, and says which; `None` when there is none.
pub(crate) fn rename_aside(
    (from, what): (&Dir, &SafeName),
    into: &Dir,
    name: &SafeName,
) -> io::Result<Option<SafeName>> {
    for other in other_names(name) {
        match from.rename(what, into, &other, false) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            moved => return moved.map(|()| Some(other)),
        }
    }
    Ok(None)
}

/// The names that something gets whose own is taken, in the order in which they are tried.
pub(crate) fn other_names(name: &SafeName) -> impl Iterator<Item = SafeName> {
    let name = name.clone();
    (1..=MAX_RENAMES).map_while(move |number| {
        SafeName::parse(&[name.as_bytes(), format!("~{number}").as_bytes()].concat(), Dots::Inside).ok()
    })
}

/// The names under which something may be found that was sent as `name`.
pub(crate) fn names_of(name: &SafeName, policy: Policy) -> impl Iterator<Item = SafeName> {
    let others = (policy.overwrite == Overwrite::Rename || policy.aside).then(|| other_names(name));
    std::iter::once(name.clone()).chain(others.into_iter().flatten())
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

/// Whether the file that is there has this content. One that cannot be read has not.
pub(crate) fn has_root(there: &Dir, name: &SafeName, root: Root) -> bool {
    let Ok(Some(found)) = there.open_file(name, false) else { return false };
    hash_file(&found, 8 * GROUP).is_ok_and(|found| found == root)
}

/// A name that is there and the same as this one but for case or composition, where this one is not there itself.
//= S5.53
pub(crate) fn twin(there: &Dir, name: &SafeName) -> io::Result<Option<SafeName>> {
    if there.identify(name)?.is_some() {
        return Ok(None);
    }
    let folded = fold(name.as_bytes());
    Ok(there.all_names()?.into_iter().find(|other| fold(other.as_bytes()) == folded))
}

/// Moves what has a twin there to the first other name that is free and has none, and says which.
pub(crate) fn rename_beside_twin(
    (from, what): (&Dir, &SafeName),
    into: &Dir,
    name: &SafeName,
) -> io::Result<Option<SafeName>> {
    let there: HashSet<_> = into.all_names()?.iter().map(|name| fold(name.as_bytes())).collect();
    for other in other_names(name).take(MAX_ASIDE).filter(|other| !there.contains(&fold(other.as_bytes()))) {
        match from.rename(what, into, &other, false) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            moved => return moved.map(|()| Some(other)),
        }
    }
    Ok(None)
}
