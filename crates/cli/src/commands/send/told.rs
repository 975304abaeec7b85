//! What a `send` tells: the receipt, what was not kept.

use std::path::PathBuf;
use std::time::Duration;

use hikyaku_files::{Missing, escape};
use hikyaku_wire::files::{Receipt, Synced, Target};

use super::source::Source;
use crate::event;
use crate::exit::Result;
use crate::output;
use crate::reference::place;
use crate::transfer::events::{self, Done, Events};

/// Tells the receipt.
pub(super) fn sent(
    events: &mut Events,
    paths: &[PathBuf],
    target: &Target,
    (source, receipt): (&Source, &Receipt),
    took: Duration,
) -> Result {
    let reference = reference(target, source, receipt);
    // A tree's size is that of its files: the bundle's is nobody's concern. Of one that lies in a room as it came, this
    // side alone has counted them.
    let counted = source.counts().filter(|counts| receipt.tree.is_none() && counts.entries > 0);
    let bytes = counted.map(|counts| counts.bytes);
    let bytes = bytes.unwrap_or_else(|| receipt.tree.as_ref().map_or(receipt.size, |tree| tree.bytes));
    let name = receipt.name.as_ref().filter(|_| source.is_one());
    let place = reference.clone().unwrap_or_else(|| "sent".to_owned());
    events.done(&Done {
        path: paths.first().map(|path| events::path(path.as_os_str())).unwrap_or_default(),
        reference,
        name: name.map(|name| escape(name).to_string()),
        root: receipt.root.to_string(),
        bytes,
        entries: receipt.tree.as_ref().map(|tree| tree.entries).or(counted.map(|counts| counts.entries)),
        missing: receipt.tree.as_ref().map(|tree| tree.missing),
        kept: receipt.tree.as_ref().and_then(|tree| tree.kept),
        kept_bytes: receipt.tree.as_ref().and_then(|tree| tree.kept_bytes),
        synced: Some(match receipt.synced {
            Synced::None => "none",
            Synced::Batch => "batch",
            Synced::Each => "each",
        }),
        seconds: took.as_secs_f64(),
    })?;
    if events.is_json() {
        return Ok(());
    }
    let size = event::bytes(bytes);
    match &receipt.tree {
        Some(tree) => {
            let there = match tree.kept {
                // The same was there, or something else that was not to be replaced.
                Some(kept) => {
                    format!("  (files not sent: {kept}, {})", event::bytes(tree.kept_bytes.unwrap_or(0)))
                }
                None => String::new(),
            };
            // Of a part, the root is that of the part: nobody shall take it for that of the whole.
            let part = if tree.kept.is_some() { "part " } else { "" };
            output::line(format_args!(
                "{place}  {} entries  {size}{there}  {part}{}",
                tree.entries, receipt.root
            ))
        }
        None => match counted {
            Some(counts) => {
                output::line(format_args!("{place}  {} entries  {size}  {}", counts.entries, receipt.root))
            }
            None => output::line(format_args!("{place}  {size}  {}", receipt.root)),
        },
    }
}

/// What was not carried or not made.
pub(super) struct NotKept {
    pub(super) count: u64,
    /// How many of those that are named are links that lead out.
    pub(super) links_out: u64,
    /// The first of them.
    pub(super) paths: Vec<Vec<u8>>,
}

/// Tells what was not carried or not made.
pub(super) fn not_kept(events: &mut Events, source: &Source, receipt: &Receipt) -> Result<NotKept> {
    let (troubles, left_out) = source.troubles();
    // A receiver that unpacks names what the sender left out as well.
    let (listed, count) = match &receipt.tree {
        Some(tree) => {
            let listed = tree.first.iter().map(|entry| (entry.path.clone(), entry.why.clone()));
            (listed.collect::<Vec<_>>(), tree.missing)
        }
        None => {
            let ours = troubles.into_iter();
            let listed = ours.map(|trouble| (trouble.path, Missing::Source(trouble.reason).to_string()));
            (listed.collect(), left_out)
        }
    };
    for (path, why) in &listed {
        events.missing(path, why)?;
    }
    events.count_missing(count, listed.len() as u64);
    let is_out = |why: &str| why == Missing::LinkOut.to_string();
    let links_out = listed.iter().filter(|(_, why)| is_out(why)).count() as u64;
    Ok(NotKept { count, links_out, paths: listed.into_iter().map(|(path, _)| path).collect() })
}

/// Where it is now, as a person would name it.
pub(super) fn reference(target: &Target, source: &Source, receipt: &Receipt) -> Option<String> {
    match (&receipt.event, target, receipt.name.as_ref().filter(|_| source.is_one())) {
        (Some(event), ..) => {
            // A direct room has the name of both; here it is the other's.
            let room = match target {
                Target::Room(name) | Target::Device(name, _) if event.room.starts_with('@') => name,
                _ => &event.room,
            };
            Some(format!("{}:{}", place(room), event.seq))
        }
        (None, Target::Drop(directory), Some(name)) => {
            let parts = directory.iter().map(|part| part.0.as_slice()).chain([name.as_slice()]);
            Some(format!(":{}", escape(&parts.collect::<Vec<_>>().join(&b'/'))))
        }
        // Several have one directory in common, and no name.
        (None, Target::Drop(directory), None) if !source.is_one() => {
            let parts: Vec<_> = directory.iter().map(|part| part.0.as_slice()).collect();
            Some(format!(":{}", escape(&parts.join(&b'/'))))
        }
        _ => None,
    }
}
