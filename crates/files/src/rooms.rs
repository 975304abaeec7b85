//! What files ask of rooms. The program answers, over its room log and its permissions.

use std::future::Future;
use std::net::SocketAddr;

use hikyaku::{ErrorCode, Failure};
use hikyaku_wire::files::{Offer, Receipt, Wanted};
use hikyaku_wire::parcel::{Addressee, EntryKind, EventRef, Metadata, Parcel, ParcelEnd, Root, TransferId};

/// Which room: 16 bytes that stay the same when its name changes.
pub type RoomKey = [u8; 16];

/// Who a transfer belongs to: 16 bytes that stay the same over connections and devices (the user's id).
pub type Owner = [u8; 16];

/// A parcel that was announced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announced {
    /// Its event.
    pub event: EventRef,
    /// How it ended, if it has.
    pub end: Option<ParcelEnd>,
}

/// A parcel that can be fetched, or will be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The transfer that brought it.
    pub transfer: TransferId,
    /// Its name.
    pub name: Vec<u8>,
    /// Its root; `None` as long as it is still being sent.
    pub root: Option<Root>,
    /// Its size: of one that is settled, and where the sender said it.
    pub size: Option<u64>,
    /// Whether it is a file or a tree.
    pub kind: EntryKind,
    /// Its metadata.
    pub meta: Option<Metadata>,
}

/// A parcel without an end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenParcel {
    /// Its transfer.
    pub transfer: TransferId,
    /// Its event.
    pub event: EventRef,
    /// Whose it is.
    pub counts: Counts,
}

/// What a room says of the content that one transfer brings or brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// Its parcel has no end yet: whatever there is of it stays.
    Open,
    /// Its parcel is settled, and this is its content.
    Content(Root),
    /// It was given up, or its time is over: nothing of it stays.
    Nothing,
}

impl Holds {
    /// Whether a reference of this transfer to an object is to stay. `said` is `None` where no room knows of the
    /// transfer; a room is told before anything is referenced, so that nobody will.
    //= S5.70
    pub fn keeps(said: Option<Self>, root: Root) -> bool {
        match said {
            Some(Self::Open) => true,
            Some(Self::Content(kept)) => kept == root,
            Some(Self::Nothing) | None => false,
        }
    }
}

/// The content of a parcel, kept by its transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Content {
    /// Who keeps it.
    pub transfer: TransferId,
    /// What is kept.
    pub root: Root,
    /// Whose it is.
    pub counts: Counts,
}

/// Against whose quotas a parcel counts, and how many bytes it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Who sent it.
    pub owner: Owner,
    /// Where to.
    pub room: RoomKey,
    /// How many bytes it has; of an open one, how many it is said to have.
    pub bytes: u64,
}

/// What one user may have, where that is not what the server gives everybody; [`Allowance::BOUNDLESS`] is no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allowance {
    /// The most bytes in rooms.
    pub rooms: Option<u64>,
    /// The most bytes in the drop directory.
    pub directory: Option<u64>,
}

impl Allowance {
    /// As much as there is room for.
    pub const BOUNDLESS: u64 = hikyaku_wire::cbor::MAX_INTEGER;

    /// What holds, of this and what everybody may have.
    pub fn bound(own: Option<u64>, usual: Option<u64>) -> Option<u64> {
        own.or(usual).filter(|bytes| *bytes != Self::BOUNDLESS)
    }
}

/// What became of an offer, for the record that the program keeps.
#[derive(Clone, Copy, Debug)]
pub struct Deed<'a> {
    /// What was offered.
    pub offer: &'a Offer,
    /// From where, as far as that is known.
    pub address: Option<SocketAddr>,
    /// What became of it.
    pub outcome: Outcome<'a>,
}

/// What became of a request for a parcel, for the record that the program keeps.
#[derive(Clone, Copy, Debug)]
pub struct Fetch<'a> {
    /// What was asked for.
    pub wanted: &'a Wanted,
    /// What that is, once it is known.
    pub found: Option<&'a Resolved>,
    /// From where it was asked, as far as that is known.
    pub address: Option<SocketAddr>,
    /// How many bytes of it were sent.
    pub sent: u64,
    /// What became of it.
    pub outcome: Outcome<'a>,
}

/// What became of somebody's giving back what of a parcel had decayed, for the record that the program keeps.
#[derive(Clone, Copy, Debug)]
pub struct Mend<'a> {
    /// What was to be mended.
    pub wanted: &'a Wanted,
    /// What that is, once it is known.
    pub found: Option<&'a Resolved>,
    /// From where, as far as that is known.
    pub address: Option<SocketAddr>,
    /// How many bytes had decayed, as far as they are named at once; `None` before that was known.
    pub lacking: Option<u64>,
    /// How many of them came and were right.
    pub mended: u64,
    /// Whether the hashes beside the content were made anew.
    pub values: bool,
    /// What became of it.
    pub outcome: Outcome<'a>,
}

/// What can become of an offer, or of a request.
#[derive(Clone, Copy, Debug)]
pub enum Outcome<'a> {
    /// It was refused before a byte was taken or given, for this reason.
    Refused(&'a str),
    /// It is taken: bytes come, or go.
    Accepted,
    /// It was taken and ended early, for this reason.
    Failed(&'a str),
    /// It is whole, durable and in its place; this is what its receiver says of it.
    Finished(&'a Receipt),
    /// It is done and durable, and there is no receipt of such a thing.
    Done,
}

/// Rooms, as far as parcels need them. `C` is a connection's context.
///
/// `announce` and `conclude` are durable when they return, and idempotent: by transfer id, and by event.
pub trait Rooms<C>: Send + Sync + 'static {
    /// Who is speaking.
    fn owner(&self, context: &C) -> Owner;

    /// Whether the speaker may put this where it is to go, and replace what is there if that is asked for. In a drop directory
    /// whoever asks for `checksum` learns what is in its files, and needs the same right (S5.68).
    fn may_put(&self, context: &C, offer: &Offer) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Keeps a record of what became of an offer. Durable on return: nothing is accepted, and no receipt is sent, before.
    fn record(&self, context: &C, deed: Deed<'_>) -> impl Future<Output = Result<(), Failure>> + Send {
        let _ = (context, deed);
        std::future::ready(Ok(()))
    }

    /// Keeps a record of what became of a request. Durable on return: no byte is given before.
    fn record_fetch(
        &self,
        context: &C,
        fetch: Fetch<'_>,
    ) -> impl Future<Output = Result<(), Failure>> + Send {
        let _ = (context, fetch);
        std::future::ready(Ok(()))
    }

    /// Keeps a record of what became of somebody's mending. Durable on return: nothing is taken, and nobody told that it is
    /// done, before.
    fn record_mend(&self, context: &C, mend: Mend<'_>) -> impl Future<Output = Result<(), Failure>> + Send {
        let _ = (context, mend);
        std::future::ready(Ok(()))
    }

    /// What a user may have that others may not, or the other way round.
    fn allowance(&self, owner: Owner) -> impl Future<Output = Result<Allowance, Failure>> + Send {
        let _ = owner;
        std::future::ready(Ok(Allowance::default()))
    }

    /// Which room the speaker means.
    fn room(&self, context: &C, room: &str) -> impl Future<Output = Result<RoomKey, Failure>> + Send;

    /// Which device of the other member of a direct room has this name.
    fn addressee(
        &self,
        context: &C,
        room: &str,
        device: &str,
    ) -> impl Future<Output = Result<Addressee, Failure>> + Send {
        let _ = (context, room, device);
        let nobody = Failure::new(ErrorCode::NOT_FOUND, "nobody's devices are known here");
        std::future::ready(Err(nobody))
    }

    /// Writes the event `parcel`, or finds the one that this transfer wrote before.
    fn announce(
        &self,
        context: &C,
        room: &str,
        parcel: &Parcel,
    ) -> impl Future<Output = Result<Announced, Failure>> + Send;

    /// Writes the event `parcel-end`, unless the parcel has one; returns the one it has now.
    fn conclude(
        &self,
        event: &EventRef,
        end: &ParcelEnd,
    ) -> impl Future<Output = Result<ParcelEnd, Failure>> + Send;

    /// Finds a parcel that the speaker may read and that was not given up.
    fn resolve(&self, context: &C, wanted: &Wanted)
    -> impl Future<Output = Result<Resolved, Failure>> + Send;

    /// Every parcel without an end.
    fn open_parcels(&self) -> impl Future<Output = Result<Vec<OpenParcel>, Failure>> + Send;

    /// The contents of files of this size that settled parcels have in rooms which the speaker may read: some of them.
    ///
    /// What is in other rooms must change neither the answer nor the time it takes.
    fn known(
        &self,
        context: &C,
        room: &str,
        size: u64,
    ) -> impl Future<Output = Result<Vec<Root>, Failure>> + Send {
        let _ = (context, room, size);
        std::future::ready(Ok(Vec::new()))
    }

    /// The newest content that a settled parcel of this name and kind has in the room, if the speaker may read it.
    ///
    /// What the speaker may not read must change neither the answer nor the time it takes.
    fn older(
        &self,
        context: &C,
        room: &str,
        name: &[u8],
        kind: EntryKind,
    ) -> impl Future<Output = Result<Option<Root>, Failure>> + Send {
        let _ = (context, room, name, kind);
        std::future::ready(Ok(None))
    }

    /// What is said of a transfer now; `None` if no room knows of it.
    fn holds(&self, transfer: TransferId) -> impl Future<Output = Result<Option<Holds>, Failure>> + Send;

    /// Contents of settled parcels in the order of their transfers, after one of them: a part at a time, none at the end.
    fn contents(
        &self,
        after: Option<TransferId>,
    ) -> impl Future<Output = Result<Vec<Content>, Failure>> + Send;

    /// Says of parcels whose time is over that they have expired, durably, and names what they kept. Some at a time:
    /// to be asked until there are none.
    fn expire(&self) -> impl Future<Output = Result<Vec<Content>, Failure>> + Send {
        std::future::ready(Ok(Vec::new()))
    }
}
