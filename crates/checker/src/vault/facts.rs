//! What a run of the vault's proof knows: what rooms say, what senders and receivers have, what lay on the disk.

use std::collections::{BTreeMap, BTreeSet};

/// A room, and an event of it. The room of two people is named by the sender's name and that of the other: `s0@r1`.
pub type Place = (String, u64);

/// What an event says of a parcel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Its place.
    pub seq: u64,
    /// Who has written it, or in whose name the server has.
    pub author: String,
    /// When, as text that sorts like time.
    pub ts: String,
    /// What.
    pub what: Says,
}

/// A parcel's beginning, or an end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Says {
    /// The event `parcel`.
    Parcel {
        /// Its name: that of its source.
        name: String,
        /// Its transfer, in hexadecimal.
        transfer: String,
        /// Its size, where the sender said it.
        bytes: Option<u64>,
    },
    /// The event `parcel-end`.
    End {
        /// Of which event.
        of: u64,
        /// `settled`, `aborted` or `expired`.
        status: String,
        /// The root of what is settled, in hexadecimal.
        root: Option<String>,
        /// And its size.
        bytes: Option<u64>,
    },
}

/// A sender was told that its parcel is whole and durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Who.
    pub who: String,
    /// The parcel.
    pub place: Place,
    /// What it was told.
    pub root: String,
}

/// Somebody has a parcel under its final name, or was told that it ended well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Got {
    /// Who.
    pub who: String,
    /// The parcel.
    pub place: Place,
    /// When, or later: as text that sorts like time.
    pub at: String,
    /// What is wrong with it, compared with what was sent.
    pub wrong: Option<String>,
    /// It was begun before the parcel had its end.
    pub early: bool,
    /// It went into a pipe: nobody gives a receipt for that.
    pub poured: bool,
    /// Parcels that lie in the same place, with the same name and content: what is there already is left, and of that nobody
    /// gives a receipt.
    pub beside: BTreeSet<Place>,
}

impl Got {
    /// Whether somebody's receipt of it is there, or of what lies in its place.
    pub fn is_receipted(&self, hands: &BTreeMap<Place, BTreeSet<String>>) -> bool {
        let mut places = [&self.place].into_iter().chain(&self.beside);
        places.any(|place| hands.get(place).is_some_and(|hands| hands.contains(&self.who)))
    }
}

/// What lies in the vault at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// When, as text that sorts like time.
    pub at: String,
    /// After which fault.
    pub after: &'static str,
    /// How many collections had been finished until then.
    pub collections: u64,
    /// Objects by root: their sizes.
    pub objects: BTreeMap<String, u64>,
    /// Objects whose content is not that of their source, or that have no chaining values.
    pub damaged: Vec<String>,
    /// References by root: the transfers that keep it.
    pub references: BTreeMap<String, BTreeSet<String>>,
    /// Transfers that left something.
    pub unfinished: BTreeSet<String>,
    /// The bytes of all objects and their chaining values.
    pub stored: u64,
}

impl Look {
    /// Objects that nobody refers to.
    pub fn unreferenced(&self) -> impl Iterator<Item = &String> {
        let kept = |root: &&String| self.references.get(*root).is_none_or(BTreeSet::is_empty);
        self.objects.keys().filter(kept)
    }
}

/// Whose bytes are counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Account {
    /// A user's, in all rooms.
    User(String),
    /// A room's.
    Room(String),
    /// The vault's, each content once.
    Vault,
}

/// What the server counts of somebody, at a moment when nothing moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    /// Of whom.
    pub account: Account,
    /// How many bytes.
    pub said: u64,
}

/// What rooms, disk and server say at a moment when nothing moves.
#[derive(Clone, Debug, Default)]
pub struct Rest {
    /// Every parcel event by room.
    pub rooms: BTreeMap<String, Vec<Told>>,
    /// The vault.
    pub look: Look,
    /// What the server counts.
    pub counted: Vec<Counted>,
}

/// A revocation that the server had acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revoked {
    /// Who was revoked.
    pub who: String,
    /// What somebody else said after that in the room to which this one sends: whatever has a later place came later.
    pub before: Place,
}

/// A whole run.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// What senders were told.
    pub sent: Vec<Sent>,
    /// What receivers have.
    pub got: Vec<Got>,
    /// Parcels that somebody has given up to fetch: no receipt may say that they are there.
    pub left: BTreeSet<Place>,
    /// What lay on the disk right after faults.
    pub looks: Vec<Look>,
    /// After the last fault, with transfers that nobody will end.
    pub calm: Rest,
    /// At the end, after a time in which all of those are given up.
    pub end: Rest,
    /// Who has given a receipt that the server has at the end.
    pub hands: BTreeMap<Place, BTreeSet<String>>,
    /// Rooms that keep files for a time only, and how many milliseconds.
    pub retention: BTreeMap<String, i64>,
    /// Who was revoked, if that was done.
    pub revoked: Option<Revoked>,
    /// Places of which somebody was told that there is nothing.
    pub gone: BTreeSet<Place>,
    /// How often a sender was told that there is no room.
    pub full: u64,
    /// How often each fault was done.
    pub faults: BTreeMap<&'static str, u64>,
    /// Objects that were collected.
    pub collected: u64,
    /// What the server, its doctor, or a client complained of.
    pub complaints: Vec<String>,
    /// Why the run did not come to its end.
    pub stuck: Option<String>,
}
