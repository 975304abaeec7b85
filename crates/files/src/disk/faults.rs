//! A disk that fails at the n-th call, and an observer of what was promised too early. One per thread of a test.
//!
//! Of bytes it is known in which pages of a file they are. A page whose synchronisation failed is what Linux makes of it: it is
//! read as it was written, and no later synchronisation writes it, until something is written to it again.

use std::cell::RefCell;
use std::collections::HashSet;
use std::fs::File;
use std::io;

use rustix::fd::AsFd;
use rustix::io::Errno;

use super::{Call, Promise};
use crate::jail::FileId;

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Once, with EIO.
    Broken,
    /// Once, with ENOSPC.
    Full,
    /// Once, with ENOSPC after half of a write.
    Short,
    /// From then on everything fails: as if the process had been killed there.
    Dead,
}

pub(crate) const FAULTS: [Fault; 4] = [Fault::Broken, Fault::Full, Fault::Short, Fault::Dead];

/// What a run came to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// Whether the fault happened.
    pub(crate) fired: bool,
    /// How many calls there were.
    pub(crate) calls: u64,
    /// Which call failed first, and whether a full disk was waited for then.
    pub(crate) failed: Option<(Call, bool)>,
    waits: bool,
    /// What was promised before it was durable.
    pub(crate) early: Vec<String>,
    /// Directories with a final name that is not durable yet.
    pub(crate) named: HashSet<(u64, u64)>,
    /// Pages that the disk does not have and that are read nonetheless.
    pub(crate) lost: HashSet<Part>,
}

/// A page of a file, or what else there is of a file or directory.
type Part = (u64, u64, Option<u64>);

/// Bytes of a page.
const PAGE: u64 = 4096;

#[derive(Default)]
struct Disk {
    plan: Option<(u64, Fault)>,
    seen: Seen,
    /// Bytes and names that are not durable yet.
    dirty: HashSet<Part>,
    /// What was not durable when a synchronisation failed: the next one that goes well says nothing about it.
    lost: HashSet<Part>,
}

thread_local! {
    static DISK: RefCell<Option<Disk>> = const { RefCell::new(None) };
}

/// Runs `work` on a disk that fails at call number `at`, counted from 0.
///
/// `before` is what an earlier run left: another process, the same disk and the same memory.
pub(crate) fn run<T>(plan: Option<(u64, Fault)>, before: &Seen, work: impl FnOnce() -> T) -> (T, Seen) {
    let seen = Seen { named: before.named.clone(), ..Seen::default() };
    // Names and lengths are in the file system's own journal: one that it cannot write ends it.
    let lost = before.lost.iter().copied().filter(|(.., page)| page.is_some()).collect();
    DISK.set(Some(Disk { plan, seen, lost, ..Disk::default() }));
    let done = work();
    let seen = DISK.take().map(|disk| Seen { lost: disk.lost, ..disk.seen });
    (done, seen.unwrap_or_default())
}

/// Notes that bytes are about to be written, as [`call`] does, and in which pages.
pub(crate) fn write(file: &File, offset: u64, len: usize) -> io::Result<()> {
    call(Call::Write, file)?;
    let id = FileId::of_file(file)?;
    DISK.with_borrow_mut(|disk| {
        let Some(disk) = disk else { return Ok(()) };
        let end = offset + len as u64;
        for page in offset / PAGE..end.div_ceil(PAGE) {
            let part = (id.device, id.inode, Some(page));
            disk.lost.remove(&part);
            disk.dirty.insert(part);
        }
        Ok(())
    })
}

/// Notes whether a full disk is waited for from here on.
pub(crate) fn waits(waits: bool) {
    DISK.with_borrow_mut(|disk| disk.iter_mut().for_each(|disk| disk.seen.waits = waits));
}

pub(crate) fn is_short() -> bool {
    DISK.with_borrow(|disk| {
        disk.as_ref().and_then(|disk| disk.plan).is_some_and(|(_, fault)| fault == Fault::Short)
    })
}

pub(crate) fn call(call: Call, file: impl AsFd) -> io::Result<()> {
    DISK.with_borrow_mut(|disk| {
        let Some(disk) = disk else { return Ok(()) };
        let now = disk.seen.calls;
        disk.seen.calls += 1;
        let id = FileId::of_file(file)?;
        let id = (id.device, id.inode);
        if let Some((at, fault)) = disk.plan
            && (now == at || (now > at && fault == Fault::Dead))
        {
            disk.seen.fired = true;
            disk.seen.failed.get_or_insert((call, disk.seen.waits));
            let is_lost = |part: &Part| call == Call::SyncAll || call == Call::Sync && (part.0, part.1) == id;
            disk.lost.extend(disk.dirty.extract_if(is_lost));
            let error = if matches!(fault, Fault::Broken | Fault::Dead) { Errno::IO } else { Errno::NOSPC };
            return Err(error.into());
        }
        match call {
            Call::Make | Call::Write | Call::Replace => drop(disk.dirty.insert((id.0, id.1, None))),
            Call::Sync => {
                disk.dirty.retain(|(device, inode, _)| (*device, *inode) != id);
                disk.seen.named.remove(&id);
            }
            Call::SyncAll => disk.dirty.clear(),
            Call::Publish => drop(disk.seen.named.insert(id)),
            Call::Open | Call::Remove | Call::Metadata => {}
        }
        Ok(())
    })
}

pub(crate) fn promise(promise: Promise) {
    DISK.with_borrow_mut(|disk| {
        let Some(disk) = disk else { return };
        let early: Vec<String> = match promise {
            Promise::Data => disk.dirty.union(&disk.lost).map(|part| format!("{part:?}")).collect(),
            Promise::Names => disk.seen.named.iter().map(|id| format!("{id:?}")).collect(),
        };
        if !early.is_empty() {
            disk.seen.early.push(format!("{promise:?} at call {}: {early:?}", disk.seen.calls));
        }
    });
}
