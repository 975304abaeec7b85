//! The record of a parcel, and where it and its indexes are in the store.
//!
//! `parcel/<transfer>` the record; `parcel-open/<transfer>` parcels without an end; `parcel-at/<room><seq>` the transfer
//! of an event; `parcel-kept/<room><time><transfer>` what is kept since when, `parcel-size/<room><size><transfer>` the roots of
//! files that are; `parcel-name/<room><kind and name><time, the latest first><transfer>` the roots of what is kept under a
//! name. Records and indexes are always written in one
//! batch ([`ParcelRecord::index`]), so that each follows from the other after any crash.

use hikyaku_chat::Author;
use hikyaku_files::rooms::{Content, Counts, Holds};
use hikyaku_storage::{Batch, Key};
use hikyaku_wire::chat::{DeviceId, MessageId, RoomId, UserId};
use hikyaku_wire::parcel::{EndStatus, EntryKind, EventRef, Parcel, ParcelEnd, Root, TransferId};
use minicbor::{Decode, Encode};

/// Everything about one parcel.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(super) struct ParcelRecord {
    #[n(0)]
    pub(super) room: RoomId,
    #[n(1)]
    pub(super) room_name: String,
    #[n(2)]
    pub(super) parcel: Parcel,
    #[n(3)]
    pub(super) author: UserId,
    #[n(4)]
    pub(super) author_name: String,
    #[n(5)]
    pub(super) device: DeviceId,
    /// Where the event `parcel` is, once it is there.
    #[n(6)]
    pub(super) place: Option<Place>,
    /// How it ended, once it has.
    #[n(7)]
    pub(super) end: Option<ParcelEnd>,
    /// What was kept of it, and since when; it stays when the parcel has expired.
    #[n(8)]
    pub(super) kept: Option<Kept>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(super) struct Place {
    #[n(0)]
    pub(super) epoch: u32,
    #[n(1)]
    pub(super) seq: u64,
}

/// The content of a settled parcel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(super) struct Kept {
    /// When it was settled, in milliseconds since 1970.
    #[n(0)]
    pub(super) since_ms: u64,
    #[n(1)]
    pub(super) root: Root,
    #[n(2)]
    pub(super) bytes: u64,
}

impl ParcelRecord {
    pub(super) fn author(&self) -> Author {
        Author { id: self.author, name: self.author_name.clone(), device: self.device }
    }

    pub(super) fn event(&self, place: Place) -> EventRef {
        EventRef { room: self.room_name.clone(), epoch: Some(place.epoch), seq: place.seq }
    }

    /// Notes its end, unless it has one.
    pub(super) fn conclude(&mut self, end: ParcelEnd, now_ms: u64) {
        if self.end.is_some() {
            return;
        }
        self.end = Some(end);
        self.note_kept(now_ms);
    }

    /// Notes what is kept of it, unless that stands there.
    pub(super) fn note_kept(&mut self, since_ms: u64) {
        if let (None, Some(ParcelEnd { status: EndStatus::Settled, root: Some(root), bytes, .. })) =
            (self.kept, &self.end)
        {
            self.kept = Some(Kept { since_ms, root: *root, bytes: bytes.unwrap_or(0) });
        }
    }

    /// Notes that its time is over.
    pub(super) fn expire(&mut self) {
        if let Some(end) = self.end.as_mut().filter(|end| end.status == EndStatus::Settled) {
            *end = ParcelEnd { status: EndStatus::Expired, root: None, bytes: None, ..end.clone() };
        }
    }

    /// What the vault keeps for it.
    pub(super) fn holds(&self) -> Holds {
        match &self.end {
            None => Holds::Open,
            Some(ParcelEnd { status: EndStatus::Settled, root: Some(root), .. }) => Holds::Content(*root),
            Some(_) => Holds::Nothing,
        }
    }

    pub(super) fn content(&self) -> Option<Content> {
        match self.holds() {
            Holds::Content(root) => {
                Some(Content { transfer: self.parcel.transfer, root, counts: self.counts() })
            }
            _ => None,
        }
    }

    /// What it counts, and against whom.
    pub(super) fn counts(&self) -> Counts {
        let kept = self.kept.map(|kept| kept.bytes);
        let settled = kept.or_else(|| self.end.as_ref().and_then(|end| end.bytes));
        let bytes = settled.or(self.parcel.bytes).unwrap_or(0);
        Counts { owner: self.author.0, room: self.room.0, bytes }
    }

    fn name_key(&self, kept: Kept) -> Key {
        let (parcel, since) = (&self.parcel, (u64::MAX - kept.since_ms).to_be_bytes());
        let named = name_prefix(self.room, parcel.kind, &parcel.name);
        Key::join([named.as_bytes(), &since, &parcel.transfer.0])
    }

    /// Everything that follows from the record, in the batch that writes it.
    pub(super) fn index(&self, mut batch: Batch) -> Batch {
        let transfer = self.parcel.transfer;
        if let Some(place) = self.place {
            batch = batch.put(place_key(self.room, place.seq), transfer.0.to_vec());
        }
        batch = match self.end {
            None => batch.put(open_key(Some(transfer)), transfer.0.to_vec()),
            Some(_) => batch.delete(open_key(Some(transfer))),
        };
        match (self.kept, self.holds()) {
            (Some(kept), Holds::Content(_)) => {
                let batch = batch
                    .put(kept_key(self.room, kept.since_ms, transfer), transfer.0.to_vec())
                    .put(self.name_key(kept), kept.root.0.to_vec());
                match self.parcel.kind {
                    EntryKind::File => {
                        batch.put(size_key(self.room, kept.bytes, transfer), kept.root.0.to_vec())
                    }
                    _ => batch,
                }
            }
            (Some(kept), _) => batch
                .delete(kept_key(self.room, kept.since_ms, transfer))
                .delete(self.name_key(kept))
                .delete(size_key(self.room, kept.bytes, transfer)),
            (None, _) => batch,
        }
    }
}

/// The id of the event `parcel-end`: the transfer's, which the event `parcel` has, with one bit changed.
pub(super) fn end_id(transfer: TransferId) -> MessageId {
    derived(transfer, 0x80)
}

/// The id of the event that says that it has expired.
pub(super) fn expired_id(transfer: TransferId) -> MessageId {
    derived(transfer, 0x40)
}

fn derived(transfer: TransferId, bit: u8) -> MessageId {
    let mut id = transfer.0;
    id[0] ^= bit;
    MessageId(id)
}

/// Under this prefix are all records.
pub(super) fn records_prefix() -> Key {
    Key::from("parcel/")
}

pub(super) fn record_key(transfer: TransferId) -> Key {
    Key::join([&b"parcel/"[..], &transfer.0])
}

pub(super) fn open_key(transfer: Option<TransferId>) -> Key {
    Key::join([&b"parcel-open/"[..], transfer.as_ref().map_or(&[][..], |transfer| &transfer.0)])
}

pub(super) fn place_key(room: RoomId, seq: u64) -> Key {
    Key::join([&b"parcel-at/"[..], &room.0, &seq.to_be_bytes()])
}

/// Under this prefix are all events of a room that are parcels, oldest first.
pub(super) fn places_prefix(room: RoomId) -> Key {
    Key::join([&b"parcel-at/"[..], &room.0])
}

/// Under this prefix is everything that is kept.
pub(super) fn kept_prefix() -> Key {
    Key::from("parcel-kept/")
}

pub(super) fn kept_key(room: RoomId, since_ms: u64, transfer: TransferId) -> Key {
    Key::join([&b"parcel-kept/"[..], &room.0, &since_ms.to_be_bytes(), &transfer.0])
}

/// Under this prefix are the roots of a room's files of one size.
pub(super) fn size_prefix(room: RoomId, size: u64) -> Key {
    Key::join([&b"parcel-size/"[..], &room.0, &size.to_be_bytes()])
}

/// Under this prefix are the roots of what a room keeps of one kind under one name, the latest first.
pub(super) fn name_prefix(room: RoomId, kind: EntryKind, name: &[u8]) -> Key {
    let kind = match kind {
        EntryKind::File => b"f",
        EntryKind::Tree => b"t",
        EntryKind::Symlink => b"l",
    };
    Key::join([&b"parcel-name/"[..], &room.0, kind, blake3::hash(name).as_bytes()])
}

fn size_key(room: RoomId, size: u64, transfer: TransferId) -> Key {
    Key::join([size_prefix(room, size).as_bytes(), &transfer.0])
}

/// Room, time and transfer of a key under [`kept_prefix`].
pub(super) fn parse_kept(key: &Key) -> Option<(RoomId, u64, TransferId)> {
    let rest = key.as_bytes().strip_prefix(b"parcel-kept/")?;
    let (room, rest) = rest.split_first_chunk::<16>()?;
    let (since, rest) = rest.split_first_chunk::<8>()?;
    Some((RoomId(*room), u64::from_be_bytes(*since), TransferId(rest.try_into().ok()?)))
}

/// The sequence number of a key under [`places_prefix`].
pub(super) fn parse_place(key: &Key) -> Option<u64> {
    key.as_bytes().last_chunk::<8>().copied().map(u64::from_be_bytes)
}
