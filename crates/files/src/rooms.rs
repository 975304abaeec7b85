//! What files ask of rooms. The program answers, over its room log and its permissions.

use std::future::Future;

use hikyaku::Failure;
use hikyaku_wire::files::{Target, Wanted};
use hikyaku_wire::parcel::{EntryKind, EventRef, Metadata, Parcel, ParcelEnd, Root, TransferId};

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

/// A parcel that can be fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The transfer that brought it.
    pub transfer: TransferId,
    /// Its name.
    pub name: Vec<u8>,
    /// Its root.
    pub root: Root,
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
}

/// Rooms, as far as parcels need them. `C` is a connection's context.
///
/// `announce` and `conclude` are durable when they return, and idempotent: by transfer id, and by event.
pub trait Rooms<C>: Send + Sync + 'static {
    /// Who is speaking.
    fn owner(&self, context: &C) -> Owner;

    /// Whether the speaker may put something there.
    fn may_put(&self, context: &C, target: &Target) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Writes the event `parcel`, or finds the one that this transfer wrote before.
    fn announce(
        &self,
        context: &C,
        room: &str,
        parcel: &Parcel,
    ) -> impl Future<Output = Result<Announced, Failure>> + Send;

    /// Writes the event `parcel-end`, unless the parcel has one.
    fn conclude(&self, event: &EventRef, end: &ParcelEnd)
    -> impl Future<Output = Result<(), Failure>> + Send;

    /// Finds a parcel that the speaker may read and that is settled.
    fn resolve(&self, context: &C, wanted: &Wanted)
    -> impl Future<Output = Result<Resolved, Failure>> + Send;

    /// Every parcel without an end.
    fn open_parcels(&self) -> impl Future<Output = Result<Vec<OpenParcel>, Failure>> + Send;
}
