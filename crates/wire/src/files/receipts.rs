//! Signed receipts: a device's word that it holds a parcel, which anybody can check without the server.
//!
//! `receipt.give`: → [`SignedReceipt`] ← [`Given`]. `receipt.list`: → [`ListReceipts`] ← [`Receipts`]. `receipt.hands`:
//! → [`AskHands`] ← [`Hands`]*. What is signed is carried as the bytes that were signed, and is never encoded again.
//! Spec: section 5.9.

use minicbor::{Decode, Encode};

use super::Arrival;
use crate::chat::{DeviceId, RoomId, UserId};
use crate::parcel::{EventRef, Root, TransferId};

/// The method that gives a receipt to the server that keeps the parcel.
pub const GIVE: &str = "receipt.give";
/// The method that lists the receipts of a parcel.
pub const LIST: &str = "receipt.list";
/// The method that tells in how many hands parcels are.
pub const HANDS: &str = "receipt.hands";

/// The longest statement, in bytes.
pub const MAX_STATEMENT: usize = 1024;
/// The most receipts of one answer.
pub const MAX_LISTED: usize = 64;
/// The most parcels that one question about hands is about.
pub const MAX_ASKED: usize = 256;

/// What a receiving device states: that it has verified all bytes of a parcel, made them durable and given them their
/// final names.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Statement {
    /// The server whose room it is: its host id.
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    pub host: [u8; 32],
    /// The room.
    #[n(1)]
    pub room: RoomId,
    /// The epoch of the room, as the device knew it.
    #[n(2)]
    pub epoch: u32,
    /// The event `parcel`.
    #[n(3)]
    pub seq: u64,
    /// The transfer that brought the parcel to the server.
    #[n(4)]
    pub transfer: TransferId,
    /// The parcel's root.
    #[n(5)]
    pub root: Root,
    /// The size in bytes of what the root covers.
    #[n(6)]
    pub size: u64,
    /// Whose device it is.
    #[n(7)]
    pub user: UserId,
    /// The device: the id of the key that signs.
    #[n(8)]
    pub device: DeviceId,
    /// When, by the device's clock, in milliseconds since 1970.
    #[n(9)]
    pub at_ms: u64,
    /// Of a tree: how many files were there before and were not compared byte by byte.
    #[n(10)]
    pub kept: Option<u64>,
    /// Of a tree: how much of it is not there, or not as it was sent.
    #[n(11)]
    pub missing: Option<u64>,
}

/// A statement and the signature of the device over it, made under the context `receipt`.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SignedReceipt {
    /// The [`Statement`], as it was signed.
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    pub statement: Vec<u8>,
    /// The device's public key (Ed25519), whose id the statement has.
    #[n(1)]
    #[cbor(with = "minicbor::bytes")]
    pub key: [u8; 32],
    /// The signature (Ed25519).
    #[n(2)]
    #[cbor(with = "minicbor::bytes")]
    pub signature: [u8; 64],
}

/// The answer to a receipt that was given: it is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Given {
    /// In how many hands the parcel is now.
    #[n(0)]
    pub hands: u64,
}

/// Asks for the receipts of a parcel.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ListReceipts {
    /// The parcel.
    #[n(0)]
    pub parcel: EventRef,
    /// Only those after this one.
    #[n(1)]
    pub after: Option<After>,
}

/// Where a list goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct After {
    /// The user of the last receipt.
    #[n(0)]
    pub user: UserId,
    /// The device of the last receipt.
    #[n(1)]
    pub device: DeviceId,
}

/// Some of the receipts of a parcel, by user and device.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Receipts {
    /// The receipts.
    #[n(0)]
    #[cbor(decode_with = "crate::cbor::few::<_, _, MAX_LISTED>")]
    pub receipts: Vec<KeptReceipt>,
    /// Ask again with `after` = this; absent at the end.
    #[n(1)]
    pub more: Option<After>,
}

/// A receipt as the server keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct KeptReceipt {
    /// What the device said.
    #[n(0)]
    pub receipt: SignedReceipt,
    /// What the user was called then. The server's word, and not signed.
    #[n(1)]
    pub name: String,
    /// When the server got it, in milliseconds since 1970.
    #[n(2)]
    pub got_ms: u64,
}

/// Asks in how many hands parcels are, and how far those are that are still being sent.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct AskHands {
    /// The room's name.
    #[n(0)]
    pub room: String,
    /// The events `parcel`, 1 to [`MAX_ASKED`].
    #[n(1)]
    #[cbor(decode_with = "crate::cbor::few::<_, _, MAX_ASKED>")]
    pub parcels: Vec<u64>,
    /// Whether to go on telling: of these, and of every other parcel of the room that comes into another hand or is being
    /// sent.
    #[n(2)]
    pub follow: Option<bool>,
}

/// In how many hands a parcel is: users that have given a receipt, without the one who sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Hands {
    /// The event `parcel`.
    #[n(0)]
    pub seq: u64,
    /// How many users.
    #[n(1)]
    pub hands: u64,
    /// Of how many: the members of the room without the one who sent it. Absent when more than those have it, as in a
    /// room that is open to everybody.
    #[n(2)]
    pub of: Option<u64>,
    /// Of a parcel that has no end yet: how far it is.
    #[n(3)]
    pub arrival: Option<Arrival>,
}
