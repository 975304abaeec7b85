//! A vault's whole life, with every call to the disk failing once in every way: two parcels of one content and one that is
//! given up, from the first byte until nothing is left of them.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use hikyaku::Failure;
use hikyaku_wire::files::Wanted;
use hikyaku_wire::parcel::{EndStatus, EventRef, Parcel, ParcelEnd};

use super::*;
use crate::rooms::{Announced, Content, Counts, Holds, OpenParcel, Owner, Resolved, Rooms};
use crate::server::{FilesLimits, FilesServer};

/// A room log that outlives every crash: one parcel for each transfer, and its ends.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Parcels>>);

type Parcels = Vec<(TransferId, Vec<ParcelEnd>)>;

impl Log {
    fn parcels(&self) -> MutexGuard<'_, Parcels> {
        self.0.lock().unwrap()
    }

    fn begin(&self, transfer: TransferId) -> EventRef {
        let mut parcels = self.parcels();
        let known = parcels.iter().position(|(known, _)| *known == transfer);
        let at = known.unwrap_or_else(|| {
            parcels.push((transfer, Vec::new()));
            parcels.len() - 1
        });
        event(at)
    }

    fn said(&self, transfer: TransferId) -> Option<Holds> {
        let parcels = self.parcels();
        let (_, ends) = parcels.iter().find(|(known, _)| *known == transfer)?;
        Some(match ends.last() {
            None => Holds::Open,
            Some(ParcelEnd { root: Some(root), .. }) => Holds::Content(*root),
            Some(_) => Holds::Nothing,
        })
    }

    fn expire(&self, transfer: TransferId) -> Option<Content> {
        let Some(Holds::Content(root)) = self.said(transfer) else { return None };
        let mut parcels = self.parcels();
        let (_, ends) = parcels.iter_mut().find(|(known, _)| *known == transfer)?;
        ends.push(end(EndStatus::Expired, None));
        Some(Content { transfer, root, counts: COUNTS })
    }
}

const COUNTS: Counts = Counts { owner: [0; 16], room: [0; 16], bytes: 0 };

fn event(at: usize) -> EventRef {
    EventRef { room: "lab".into(), epoch: Some(1), seq: at as u64 + 1 }
}

fn end(status: EndStatus, root: Option<Root>) -> ParcelEnd {
    ParcelEnd { parcel: 1, status, root, bytes: None, entries: None }
}

/// Rooms whose parcels expire when they are told to.
struct Keeping {
    log: Log,
    over: Mutex<Vec<TransferId>>,
}

impl Rooms<()> for Keeping {
    fn owner(&self, (): &()) -> Owner {
        [0; 16]
    }

    async fn may_put(&self, (): &(), _: &Offer) -> Result<(), Failure> {
        Ok(())
    }

    async fn room(&self, (): &(), _: &str) -> Result<[u8; 16], Failure> {
        Ok([0; 16])
    }

    async fn announce(&self, (): &(), _: &str, parcel: &Parcel) -> Result<Announced, Failure> {
        Ok(Announced { event: self.log.begin(parcel.transfer), end: None })
    }

    async fn conclude(&self, event: &EventRef, end: &ParcelEnd) -> Result<ParcelEnd, Failure> {
        let mut parcels = self.log.parcels();
        let ends = &mut parcels[usize::try_from(event.seq - 1).unwrap()].1;
        if ends.is_empty() {
            ends.push(end.clone());
        }
        Ok(ends[0].clone())
    }

    async fn resolve(&self, (): &(), _: &Wanted) -> Result<Resolved, Failure> {
        unreachable!("nobody fetches here")
    }

    async fn open_parcels(&self) -> Result<Vec<OpenParcel>, Failure> {
        let parcels = self.log.parcels();
        let open = parcels.iter().enumerate().filter(|(_, (_, ends))| ends.is_empty());
        Ok(open
            .map(|(at, (transfer, _))| OpenParcel { transfer: *transfer, event: event(at), counts: COUNTS })
            .collect())
    }

    async fn holds(&self, transfer: TransferId) -> Result<Option<Holds>, Failure> {
        Ok(self.log.said(transfer))
    }

    async fn contents(&self, after: Option<TransferId>) -> Result<Vec<Content>, Failure> {
        let known: Vec<_> = self.log.parcels().iter().map(|(transfer, _)| *transfer).collect();
        let later = known.into_iter().filter(|transfer| after.is_none_or(|after| *transfer > after));
        Ok(later
            .filter_map(|transfer| match self.log.said(transfer)? {
                Holds::Content(root) => Some(Content { transfer, root, counts: COUNTS }),
                _ => None,
            })
            .collect())
    }

    async fn expire(&self) -> Result<Vec<Content>, Failure> {
        let over = std::mem::take(&mut *self.over.lock().unwrap());
        Ok(over.into_iter().filter_map(|transfer| self.log.expire(transfer)).collect())
    }
}

const A: TransferId = TransferId([1; 16]);
const B: TransferId = TransferId([2; 16]);
const GIVEN_UP: TransferId = TransferId([3; 16]);

/// One life of the process: it goes on where the last one ended.
struct Life<'a> {
    at: &'a Path,
    log: &'a Log,
    data: &'a [u8],
}

impl Life<'_> {
    fn vault(&self) -> Result<FsVault> {
        Ok(FsVault::open(&self.at.join("vault"), 0).map_err(hikyaku_storage::vault::VaultError::Io)?)
    }

    /// As `put` does it: the vault makes room, the room is told, bytes, seal, the room is told, the transfer goes.
    fn put(&self, transfer: TransferId, whole: bool) -> Result<()> {
        if self.log.said(transfer).is_some_and(|said| said != Holds::Open) {
            return Ok(());
        }
        let (vault, size) = (self.vault()?, self.data.len() as u64);
        let reserved = vault.reserve(Transfer(transfer.0), Some(size))?;
        let event = self.log.begin(transfer);
        if let Reserved::Open(mut partial) = reserved {
            let receiving = Receiving::resume(partial.mark(), Some(size), u64::MAX);
            let mut blocks = work(self.data, receiving.offset());
            if !whole {
                let (to, less) = mpsc::channel(1);
                to.try_send(blocks.try_recv().unwrap()).ok().unwrap();
                blocks = less;
            }
            match write_all(&mut partial, receiving, blocks, &Progress::none(), &mut Waiting::none()) {
                Err(FilesError::Exchange(_)) if !whole => return Ok(()),
                written => {
                    let (root, size) = written?;
                    partial.seal(ObjectId(root.0), size, Reference(transfer.0))?;
                }
            }
        }
        let root = Root(*blake3::hash(self.data).as_bytes());
        let ends = &mut self.log.parcels()[usize::try_from(event.seq - 1).unwrap()].1;
        ends.push(end(EndStatus::Settled, Some(root)));
        Ok(vault.discard(Transfer(transfer.0))?)
    }

    fn sweep(&self, over: &[TransferId]) -> Result<()> {
        let rooms = Keeping { log: self.log.clone(), over: Mutex::new(over.to_vec()) };
        let limits = FilesLimits { expiry: Duration::ZERO, ..FilesLimits::default() };
        let server = FilesServer::<(), _>::new(rooms, Arc::new(self.vault()?), None, limits);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let swept = runtime.block_on(server.sweep())?;
        assert_eq!(swept.lost, 0);
        Ok(())
    }

    fn live(&self) -> Result<()> {
        self.put(A, true)?;
        self.put(B, true)?;
        self.put(GIVEN_UP, false)?;
        self.sweep(&[])?;
        self.sweep(&[A])?;
        self.sweep(&[B])?;
        self.sweep(&[])
    }

    /// What a room promises is whole in the vault.
    fn check(&self) {
        let vault = self.vault().unwrap();
        for transfer in [A, B] {
            let Some(Holds::Content(root)) = self.log.said(transfer) else { continue };
            let object = vault.open(ObjectId(root.0)).expect("what a room promises is there");
            let mut found = vec![0; self.data.len() + 1];
            let read = object.read(0, &mut found).unwrap();
            assert!(found[..read] == *self.data);
            let values = fs::File::open(self.at.join(format!("vault/objects/{root}.tree"))).unwrap();
            assert!(tree::proves(&values, self.data.len() as u64, root).unwrap());
        }
    }
}

/// Names that were promised too early. (Of bytes, each transfer's own test tells: the last record of a journal that was
/// removed is never durable, and need not be.)
fn early(seen: &Seen) -> Vec<&String> {
    seen.early.iter().filter(|early| early.starts_with("Names")).collect()
}

/// Everything in the vault's directories.
fn left(at: &Path) -> Vec<String> {
    look(&at.join("vault")).into_keys().map(|path| path.display().to_string()).collect()
}

//= S5.70 (test)
//= S5.71 (test)
#[test]
fn whichever_call_fails_nothing_that_a_room_promises_is_lost_and_nothing_else_stays() {
    let data = content(300_000);
    let mut calls = 0;
    for fault in FAULTS {
        for number in 0.. {
            let (place, log) = (place(), Log::default());
            let life = Life { at: place.path(), log: &log, data: &data };
            let (first, seen) = run(Some((number, fault)), &Seen::default(), || life.live());
            assert_eq!(early(&seen), [""; 0], "{fault:?} at call {number}");
            life.check();
            let fired = seen.fired;
            let (again, seen) = run(None, &seen, || life.live());
            assert_eq!(early(&seen), [""; 0], "after {fault:?} at call {number}");
            again.unwrap_or_else(|error| {
                panic!("after {fault:?} at call {number}: {error}, before: {first:?}")
            });
            assert_eq!(
                left(place.path()),
                ["mending", "objects", "partials", "refs"],
                "after {fault:?} at call {number}"
            );
            let ends =
                |transfer| log.parcels().iter().find(|(known, _)| *known == transfer).unwrap().1.clone();
            let statuses = |transfer| ends(transfer).iter().map(|end| end.status).collect::<Vec<_>>();
            for transfer in [A, B] {
                assert_eq!(statuses(transfer), [EndStatus::Settled, EndStatus::Expired]);
            }
            assert_eq!(statuses(GIVEN_UP), [EndStatus::Aborted]);
            if !fired {
                break;
            }
            calls += 1;
        }
    }
    assert!(calls > 200, "{calls}");
    println!("{calls} calls failed");
}
