//! Events that this computer has copies of: ranges per room and epoch, filled where something is missing.
//!
//! A copy is shown only after everything behind it was fetched: a deletion among that takes the copies it concerns with
//! it, and they come again as the server has them now.

use std::ops::RangeInclusive;

use bytes::Bytes;
use hikyaku_chat::{Event, RoomName};
use hikyaku_sqlite::client::{ClientStore, KnownRoom};
use hikyaku_storage::RoomId;
use hikyaku_wire::chat::{Head, Kind};

use crate::exit::Result;

/// The most events that are shown by way of copies; more are shown as they come.
const MOST: u64 = 20_000;
/// Events and bytes of them read from the store at once.
const AT_ONCE: (usize, usize) = (1_024, 1 << 20);
/// Under this name, and a room's id, stands the epoch of its copies.
const EPOCH: &str = "epoch/";

/// Whether showing from `from` to the end goes by way of copies.
pub(crate) fn suits(head: &Head, from: u64) -> bool {
    head.last.saturating_sub(from) < MOST
}

/// Takes note of where a room stands: copies of what it no longer has go.
pub(crate) fn note_head(store: &mut ClientStore, room_name: &RoomName, head: &Head) -> Result {
    let (room, name) = (RoomId(head.room.0), format!("{EPOCH}{}", head.room));
    let epoch = head.epoch.to_be_bytes();
    if store.room(room_name.as_str())?.is_none_or(|known| known.room != room) {
        let (name, last) = (room_name.as_str().to_owned(), head.last);
        let known = KnownRoom { room, name, epoch: head.epoch, last, title: None };
        store.change(|changes| changes.put_room(&known))?;
    }
    let known = store.meta(&name)?;
    let trimmed = store.ranges(room, head.epoch)?.first().is_some_and(|range| *range.start() < head.first);
    if known.as_deref() == Some(&epoch[..]) && !trimmed {
        return Ok(());
    }
    store.change(|changes| {
        // All come again, also those from before the new epoch: what was deleted in the history that a restoration has
        // replaced is whole again on the server, and a copy made since is not.
        changes.rewind(room, head.epoch, 1)?;
        if head.first > 1 {
            changes.forget_events(room, head.epoch, 1..=head.first - 1)?;
        }
        changes.set_meta(&name, Some(&epoch))
    })?;
    Ok(())
}

/// Forgets a room that the server no longer shows, and everything that was said in it.
pub(crate) fn forget(store: &mut ClientStore, name: &RoomName) -> Result {
    if let Some(KnownRoom { room, .. }) = store.room(name.as_str())? {
        store.change(|changes| changes.forget_room(room))?;
    }
    Ok(())
}

/// Filling what is missing in a stretch of a room.
pub(crate) struct Filling {
    /// Copies from before, oldest first.
    old: Vec<RangeInclusive<u64>>,
}

impl Filling {
    pub(crate) fn new(store: &ClientStore, head: &Head) -> Result<Self> {
        Ok(Self { old: store.ranges(RoomId(head.room.0), head.epoch)? })
    }

    /// The next stretch to be fetched to have everything from `from` to the end; `None` when all of it is here.
    pub(crate) fn gap(
        &self,
        store: &ClientStore,
        head: &Head,
        from: u64,
    ) -> Result<Option<RangeInclusive<u64>>> {
        if from > head.last {
            return Ok(None);
        }
        Ok(store.missing(RoomId(head.room.0), head.epoch, from..=head.last)?.into_iter().next())
    }

    /// Keeps what was fetched, and drops copies from before of what it deletes: it and its edits lie between that and
    /// the deletion, and come again as the server has them now.
    //= S4.25
    pub(crate) fn keep(
        &mut self,
        store: &mut ClientStore,
        head: &Head,
        first: u64,
        records: &[Bytes],
    ) -> Result {
        let room = RoomId(head.room.0);
        let deleted = records.iter().filter_map(|record| {
            let envelope = Event::from_record(record).ok()?.envelope;
            envelope.refs.first().copied().filter(|_| envelope.kind == Kind::DELETE)
        });
        let oldest = deleted.min().unwrap_or(first);
        let (mut gone, mut left) = (Vec::new(), Vec::new());
        for range in std::mem::take(&mut self.old) {
            let (start, end) = (*range.start(), *range.end());
            // What lies behind this page has been fetched with the deletion known, or is yet to be judged.
            gone.push(start.max(oldest)..=end.min(first.saturating_sub(1)));
            left.push(start..=end.min(oldest.saturating_sub(1)));
            left.push(start.max(first)..=end);
        }
        left.retain(|range| !range.is_empty());
        self.old = left;
        store.change(|changes| {
            for range in gone.into_iter().filter(|range| !range.is_empty()) {
                changes.forget_events(room, head.epoch, range)?;
            }
            changes.insert_events(room, head.epoch, first, records)
        })?;
        Ok(())
    }
}

/// The next events that are here, from `from` on or, unless the rest is `cut` off, behind a gap; `None` at the end.
pub(crate) fn next(
    store: &ClientStore,
    head: &Head,
    from: u64,
    cut: bool,
) -> Result<Option<(u64, Vec<Bytes>)>> {
    let room = RoomId(head.room.0);
    let ranges = store.ranges(room, head.epoch)?;
    let Some(range) = ranges.iter().find(|range| *range.end() >= from) else { return Ok(None) };
    let first = from.max(*range.start());
    if first > head.last || (cut && first > from) {
        return Ok(None);
    }
    let left = usize::try_from(head.last - first + 1).unwrap_or(usize::MAX);
    let events = store.events(room, head.epoch, first, AT_ONCE.0.min(left), AT_ONCE.1)?;
    let records: Vec<Bytes> = events.into_iter().map(|(_, record)| record).collect();
    Ok(Some((first, records)).filter(|(_, records)| !records.is_empty()))
}
