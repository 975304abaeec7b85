//! `files/1`: the messages that carry parcels between two ends.
//!
//! Two methods, one conversation: whoever has the bytes says what they are, whoever wants them accepts from an offset,
//! blocks follow, and the receiver says success. `put`: → [`Offer`] ← [`Answer::Accept`] → ([`Step::Block`], one DATA
//! frame)* → [`Step::Close`] ← [`Answer::Receipt`]. `get`: → [`Request`] ← [`Head`], then the same the other way round.
//! File bytes are never inside CBOR. Spec: chapter 5.

use minicbor::data::Type;
use minicbor::decode::Error as DecodeError;
use minicbor::encode::{Error as EncodeError, Write};
use minicbor::{Decode, Decoder, Encode, Encoder};

use crate::parcel::{EntryKind, EventRef, Metadata, Root, TransferId};

mod listing;
pub mod mending;
mod options;
pub mod quotas;
pub mod receipts;
mod versions;

pub use listing::{AttributesDigest, List, Listed, MAX_AHEAD, MAX_LISTED, OlderFile, Verdict, Wants};
pub use options::{Overwrite, PutOptions, Synced};
pub use versions::{
    Composed, MAX_AVERAGE, MAX_INDEX, MAX_PARTS, MAX_PIECES, MIN_AVERAGE, MIN_PART, Older, PIECE_LEN, Packed,
    Part, Pieces,
};

/// The application protocol named in OPEN.
pub const PROTOCOL: &str = "files/1";
/// The method that carries a file to the peer.
pub const PUT: &str = "put";
/// The method that fetches a file from the peer.
pub const GET: &str = "get";

/// The bytes covered by one chaining value: the unit of verification and of resuming.
pub const GROUP_LEN: u64 = 64 * 1024;
/// The bytes a sender puts into one block unless it has a reason.
pub const BLOCK_LEN: u64 = 512 * 1024;
/// The most bytes one block may have.
pub const MAX_BLOCK_LEN: u64 = 1024 * 1024;
/// The bytes of one chaining value.
pub const CV_LEN: u64 = 32;
/// The most contents that [`Accept::known`] names.
pub const MAX_KNOWN: usize = 16;
/// The most components of a subdirectory in [`Target::Drop`].
pub const MAX_COMPONENTS: usize = 64;

/// Where an offered file shall go.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(flat)]
pub enum Target {
    /// Into a room, by its name.
    #[n(0)]
    Room(#[n(0)] String),
    /// Into the receiver's drop directory, below these components (none: the directory itself).
    #[n(1)]
    Drop(
        #[n(0)]
        #[cbor(decode_with = "crate::cbor::few::<_, _, 1024>")]
        Vec<Component>,
    ),
    /// Into the direct room with a person, by its name (`@ben`), for one device of theirs, by its name.
    #[n(2)]
    Device(#[n(0)] String, #[n(1)] String),
}

impl Target {
    /// The name of the room, where it goes into one.
    pub fn room(&self) -> Option<&str> {
        match self {
            Self::Room(room) | Self::Device(room, _) => Some(room),
            Self::Drop(_) => None,
        }
    }
}

/// One component of a path: bytes, never text.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct Component(
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    pub Vec<u8>,
);

/// The first message of `put`: what the sender has, and where it shall go.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Offer {
    /// The transfer: the same again resumes.
    #[n(0)]
    pub transfer: TransferId,
    /// Where it shall go.
    #[n(1)]
    pub target: Target,
    /// The file's name: bytes, one component.
    #[n(2)]
    #[cbor(with = "minicbor::bytes")]
    pub name: Vec<u8>,
    /// What it is.
    #[n(3)]
    pub kind: EntryKind,
    /// Its size, when known; a size that is given is binding.
    #[n(4)]
    pub size: Option<u64>,
    /// Its metadata.
    #[n(5)]
    pub meta: Option<Metadata>,
    /// What the sender asks of the receiver's disk; the defaults when there is none.
    #[n(6)]
    pub options: Option<PutOptions>,
    /// Of a tree: how many names it has at its top; one when it is not said.
    #[n(7)]
    pub tops: Option<u64>,
}

/// What the receiver of the bytes says. A sender ignores an answer it does not know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Begin, from this offset on.
    Accept(Accept),
    /// Verified, durable and published.
    Receipt(Receipt),
    /// Which of the files that were listed are wanted.
    Wants(Wants),
    /// It takes nothing for now, or goes on.
    Paused(Paused),
    /// What it has of an older version.
    Pieces(Pieces),
    /// An answer of a later version.
    Unknown(u32),
}

/// The receiver is ready.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Accept {
    /// The transfer that is accepted.
    #[n(0)]
    pub transfer: TransferId,
    /// The offset of the first byte to send: everything before it is verified and durable. Whole groups.
    #[n(1)]
    pub from: u64,
    /// The BLAKE3 hash of the bytes before `from`, present when `from` is not 0.
    #[n(2)]
    pub prefix: Option<Root>,
    /// The longest block the receiver takes, a multiple of [`GROUP_LEN`].
    #[n(3)]
    pub max_block: Option<u64>,
    /// Of a tree: whether its files are to be listed ahead, so that those that are there already need not be sent.
    #[n(4)]
    pub list: Option<bool>,
    /// Whether the listing is to say the files' roots.
    #[n(5)]
    pub roots: Option<bool>,
    /// Of a file: contents of its size that the receiver has and the sender may read. Who finds its own among them sends
    /// the close at once.
    #[cbor(n(6), skip_if = "Vec::is_empty", decode_with = "crate::cbor::few::<_, _, MAX_KNOWN>", default)]
    pub known: Vec<Root>,
    /// An older version, which the sender may use: its pieces follow.
    #[n(7)]
    pub older: Option<Older>,
    /// Whether blocks may come packed.
    #[n(8)]
    pub packed: Option<bool>,
}

impl Accept {
    /// From an offset on, and nothing else to say.
    pub fn new(transfer: TransferId, from: u64) -> Self {
        let known = Vec::new();
        Self {
            transfer,
            from,
            prefix: None,
            max_block: None,
            list: None,
            roots: None,
            known,
            older: None,
            packed: None,
        }
    }
}

/// The receiver's disk is full for now. Everything it has stays, and it goes on by itself when there is room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Paused {
    /// The transfer that waits.
    #[n(0)]
    pub transfer: TransferId,
    /// How many bytes must be free; absent when it goes on.
    #[n(1)]
    pub needed: Option<u64>,
    /// How many are free.
    #[n(2)]
    pub free: Option<u64>,
    /// How many milliseconds longer it waits before it fails.
    #[n(3)]
    pub left_ms: Option<u64>,
}

/// The receiver's word that the file is whole, verified, durable and published.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Receipt {
    /// The transfer.
    #[n(0)]
    pub transfer: TransferId,
    /// The root that the receiver computed from the bytes it has.
    #[n(1)]
    pub root: Root,
    /// The size in bytes.
    #[n(2)]
    pub size: u64,
    /// How durable it is.
    #[n(3)]
    pub synced: Synced,
    /// The name it was published under, in a drop directory.
    #[n(4)]
    #[cbor(with = "minicbor::bytes")]
    pub name: Option<Vec<u8>>,
    /// The event `parcel`, in a room.
    #[n(5)]
    pub event: Option<EventRef>,
    /// Of a tree that was unpacked: what was made of it.
    #[n(6)]
    pub tree: Option<TreeReceipt>,
}

/// What a receiver made of a tree.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct TreeReceipt {
    /// How many directories, files and links the bundle has.
    #[n(0)]
    pub entries: u64,
    /// The sum of its files' sizes.
    #[n(1)]
    pub bytes: u64,
    /// How many things are missing or different at the receiver.
    #[n(2)]
    pub missing: u64,
    /// The first of them, at most [`MAX_MISSING`].
    #[n(3)]
    pub first: Vec<MissingEntry>,
    /// How many files of `entries` were not carried, because the receiver had them.
    #[n(4)]
    pub kept: Option<u64>,
    /// The sum of their sizes: bytes of `bytes` that were not carried.
    #[n(5)]
    pub kept_bytes: Option<u64>,
}

/// The most entries that a [`TreeReceipt`] names.
pub const MAX_MISSING: usize = 64;

/// Something that is not at the receiver as it was at the sender.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct MissingEntry {
    /// Its path from the top of the tree, with slashes.
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    pub path: Vec<u8>,
    /// Why, in words for people.
    #[n(1)]
    pub why: String,
}

/// What follows acceptance, in the direction of the bytes.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(flat)]
pub enum Step {
    /// The next bytes; one DATA frame of exactly `len` bytes follows.
    #[n(0)]
    Block(#[n(0)] Block),
    /// All bytes were sent.
    #[n(1)]
    Close(#[n(0)] Close),
    /// What of a tree comes next, so that the receiver says what it wants of it.
    #[n(2)]
    List(#[n(0)] List),
    /// Of a parcel that is still being sent: how far it is now.
    #[n(3)]
    Arrival(#[n(0)] Arrival),
    /// The next bytes, parts of which the receiver has in an older version.
    #[n(4)]
    Composed(#[n(0)] Composed),
    /// The next bytes, packed.
    #[n(5)]
    Packed(#[n(0)] Packed),
}

/// Announces one DATA frame.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Block {
    /// The entry of a tree; absent for a single file.
    #[n(0)]
    pub entry: Option<u64>,
    /// Where the bytes belong: a multiple of [`GROUP_LEN`].
    #[n(1)]
    pub offset: u64,
    /// How many: 1 to [`MAX_BLOCK_LEN`]; whole groups but for the file's last.
    #[n(2)]
    pub len: u64,
    /// The chaining value of each group, 32 bytes each, in order.
    #[n(3)]
    #[cbor(with = "minicbor::bytes")]
    pub cvs: Vec<u8>,
}

/// All bytes were sent, and this is what they are.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Close {
    /// The entry of a tree; absent for a single file.
    #[n(0)]
    pub entry: Option<u64>,
    /// The size in bytes.
    #[n(1)]
    pub size: u64,
    /// The BLAKE3 hash of all of them.
    #[n(2)]
    pub root: Root,
}

/// What a receiver asks for.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(flat)]
pub enum Wanted {
    /// A transfer, by its id.
    #[n(0)]
    Transfer(#[n(0)] TransferId),
    /// A parcel, by its event in a room.
    #[n(1)]
    Event(#[n(0)] EventRef),
}

/// The first message of `get`.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Request {
    /// What is asked for.
    #[n(0)]
    pub wanted: Wanted,
    /// Whether a parcel that is still being sent is taken too, as it comes.
    #[n(1)]
    pub live: Option<bool>,
    /// The first byte that is wanted, a multiple of [`GROUP_LEN`]: what lies before it is proved and not sent.
    #[n(2)]
    pub from: Option<u64>,
    /// Whether nothing but a listing of a tree is wanted: of one that is still being sent, of what is there.
    #[n(3)]
    pub list: Option<bool>,
}

impl Request {
    /// The whole of something that is whole.
    pub fn new(wanted: Wanted) -> Self {
        Self { wanted, live: None, from: None, list: None }
    }

    /// The whole of something, also while it is still being sent.
    pub fn live(wanted: Wanted) -> Self {
        Self { live: Some(true), ..Self::new(wanted) }
    }
}

/// How far a parcel is that is still being sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Arrival {
    /// How many bytes are there, from the beginning on, and verified.
    #[n(0)]
    pub bytes: u64,
    /// Whether its sender is sending at this moment.
    #[n(1)]
    pub sending: bool,
}

/// The first answer of `get`: what will come.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Head {
    /// The transfer that brought it.
    #[n(0)]
    pub transfer: TransferId,
    /// The file's name: bytes, one component. The receiver of the file decides what to do with it.
    #[n(1)]
    #[cbor(with = "minicbor::bytes")]
    pub name: Vec<u8>,
    /// What it is.
    #[n(2)]
    pub kind: EntryKind,
    /// Its size, when known.
    #[n(3)]
    pub size: Option<u64>,
    /// Its root, when known.
    #[n(4)]
    pub root: Option<Root>,
    /// Its metadata.
    #[n(5)]
    pub meta: Option<Metadata>,
    /// Of a parcel that is still being sent: how far it is. What comes then is provisional until the close.
    #[n(6)]
    pub arrival: Option<Arrival>,
    /// What proves the bytes before [`Request::from`]: the chaining values of the whole subtrees that they are, the
    /// largest first.
    #[n(7)]
    #[cbor(with = "minicbor::bytes")]
    pub before: Option<Vec<u8>>,
}

impl<C> Encode<C> for Answer {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, ctx: &mut C) -> Result<(), EncodeError<W::Error>> {
        e.array(2)?;
        match self {
            Answer::Accept(accept) => e.u32(0)?.encode_with(accept, ctx)?,
            Answer::Receipt(receipt) => e.u32(1)?.encode_with(receipt, ctx)?,
            Answer::Wants(wants) => e.u32(2)?.encode_with(wants, ctx)?,
            Answer::Paused(paused) => e.u32(3)?.encode_with(paused, ctx)?,
            Answer::Pieces(pieces) => e.u32(4)?.encode_with(pieces, ctx)?,
            Answer::Unknown(tag) => e.u32(*tag)?.map(0)?,
        };
        Ok(())
    }
}

/// Unlike the derived form, an answer with an unknown tag is a value.
impl<'b, C> Decode<'b, C> for Answer {
    fn decode(d: &mut Decoder<'b>, ctx: &mut C) -> Result<Self, DecodeError> {
        let position = d.position();
        if d.array()? != Some(2) {
            return Err(DecodeError::message("an answer is an array of two").at(position));
        }
        match d.u32()? {
            0 => Ok(Answer::Accept(d.decode_with(ctx)?)),
            1 => Ok(Answer::Receipt(d.decode_with(ctx)?)),
            2 => Ok(Answer::Wants(d.decode_with(ctx)?)),
            3 => Ok(Answer::Paused(d.decode_with(ctx)?)),
            4 => Ok(Answer::Pieces(d.decode_with(ctx)?)),
            tag => {
                if d.datatype()? != Type::Map {
                    return Err(DecodeError::message("an answer carries a map").at(d.position()));
                }
                d.skip()?;
                Ok(Answer::Unknown(tag))
            }
        }
    }
}

#[cfg(test)]
mod tests;
