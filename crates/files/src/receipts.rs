//! Signed receipts: made by the device that has a parcel, kept by the server, checked by anybody.
//!
//! Pure: [`Holder::sign`] makes one of a [`Fetched`], which only exists once everything is durable and in its place;
//! [`verify`] believes nothing but the signature; [`accept`] is what a server asks beyond that; [`printed`] is how receipts are
//! kept in files. Shells: [`server`], and
//! the methods that [`FilesClient`](crate::FilesClient) has for them. Spec: section 5.9.

mod client;
pub mod printed;
pub mod server;

use hikyaku::{ErrorCode, Failure, Identity, KeyId, is_signed};
use hikyaku_wire::cbor;
use hikyaku_wire::chat::{DeviceId, RoomId, UserId};
use hikyaku_wire::codes::context;
use hikyaku_wire::files::receipts::{MAX_STATEMENT, SignedReceipt, Statement};
use hikyaku_wire::parcel::{Root, TransferId};

pub use client::{Following, Receipted};

use crate::client::Fetched;

/// Who receives, and which parcel.
#[derive(Clone, Debug)]
pub struct Holder {
    /// The device's key for this server.
    pub identity: Identity,
    /// The server.
    pub host: KeyId,
    /// Whose device it is.
    pub user: UserId,
    /// The room.
    pub room: RoomId,
    /// Its epoch.
    pub epoch: u32,
    /// The event `parcel`.
    pub seq: u64,
}

impl Holder {
    /// The receipt of what was fetched: it is whole, durable and in its place. `None` where nobody has said what the
    /// root of the parcel is.
    //= S5.90
    pub fn sign(&self, fetched: &Fetched, now_ms: u64) -> Option<SignedReceipt> {
        let tree = fetched.receipt.tree.as_ref();
        // What was fetched while some of it was there has a root of its own.
        let whole = tree.is_none_or(|tree| tree.kept.is_none());
        let statement = Statement {
            host: *self.host.as_bytes(),
            room: self.room,
            epoch: self.epoch,
            seq: self.seq,
            transfer: fetched.head.transfer,
            root: fetched.head.root.or(whole.then_some(fetched.receipt.root))?,
            size: fetched.head.size.or(whole.then_some(fetched.receipt.size))?,
            user: self.user,
            device: DeviceId(*self.identity.id().as_bytes()),
            at_ms: now_ms,
            kept: tree.and_then(|tree| tree.kept),
            missing: tree.map(|tree| tree.missing).filter(|missing| *missing > 0),
        };
        Some(signed(&self.identity, &statement))
    }
}

/// A statement with the signature of a device.
pub fn signed(identity: &Identity, statement: &Statement) -> SignedReceipt {
    let statement = cbor::encode(statement);
    let signature = identity.sign(context::RECEIPT, &statement);
    SignedReceipt { statement, key: identity.public_key(), signature }
}

/// Why a receipt is worth nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// The signature is not that of the key over the statement.
    #[error("the signature is not that of the key over the statement")]
    Signature,
    /// The statement is about the device of another key.
    #[error("the statement is about another device than the one that signed it")]
    Device,
    /// The statement is none, or longer than one may be.
    #[error("the statement cannot be read: {0}")]
    Statement(String),
}

/// What a device has stated, if it has.
//= S5.94
pub fn verify(receipt: &SignedReceipt) -> Result<Statement, Invalid> {
    if receipt.statement.len() > MAX_STATEMENT {
        return Err(Invalid::Statement(format!("longer than {MAX_STATEMENT} bytes")));
    }
    if !is_signed(context::RECEIPT, &receipt.statement, &receipt.key, &receipt.signature) {
        return Err(Invalid::Signature);
    }
    let statement: Statement = cbor::decode(&receipt.statement, &cbor::Limits::default())
        .map_err(|error| Invalid::Statement(error.to_string()))?;
    if KeyId::of_key(&receipt.key).as_bytes() != &statement.device.0 {
        return Err(Invalid::Device);
    }
    Ok(statement)
}

/// What a server knows: who speaks, and what became of the parcel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// The server.
    pub host: KeyId,
    /// The user of the connection.
    pub user: UserId,
    /// The device of the connection.
    pub device: DeviceId,
    /// The epoch in which the parcel was announced; the room may have a later one since.
    pub epoch: u32,
    /// The transfer that brought it.
    pub transfer: TransferId,
    /// Its root.
    pub root: Root,
    /// Its size.
    pub size: Option<u64>,
}

/// What a device has stated of this parcel and of itself; anything else is refused.
//= S5.91
pub fn accept(receipt: &SignedReceipt, known: &Known) -> Result<Statement, Failure> {
    let invalid = |why: String| Failure::new(ErrorCode::RECEIPT_INVALID, why);
    let said = verify(receipt).map_err(|error| invalid(error.to_string()))?;
    let differs = [
        ("the server", said.host == *known.host.as_bytes()),
        ("the device", said.device == known.device),
        ("the user", said.user == known.user),
        ("the epoch", said.epoch >= known.epoch),
        ("the transfer", said.transfer == known.transfer),
        ("the root", said.root == known.root),
        ("the size", known.size.is_none_or(|size| said.size == size)),
    ];
    match differs.into_iter().find(|(_, same)| !same) {
        Some((what, _)) => Err(invalid(format!("the receipt is of something else: {what} differs"))),
        None => Ok(said),
    }
}
