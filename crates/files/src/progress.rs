//! How far a transfer is, for whoever shows it.

use hikyaku_wire::parcel::TransferId;
use tokio::sync::watch;

/// A moment of a transfer. Rates are for the one who looks: it knows when it looked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// The transfer, once it is known.
    pub transfer: Option<TransferId>,
    /// Where this attempt began: bytes before it were there already.
    pub from: u64,
    /// How far it is, from the beginning of the file.
    pub bytes: u64,
    /// The size, once it is known.
    pub total: Option<u64>,
}

/// Where a transfer says how far it is. Costs nothing when nobody looks.
#[derive(Clone, Debug)]
pub struct Progress(watch::Sender<Moment>);

impl Progress {
    /// A progress and a view of it.
    pub fn new() -> (Self, watch::Receiver<Moment>) {
        let (sender, receiver) = watch::channel(Moment::default());
        (Self(sender), receiver)
    }

    /// A progress that nobody looks at.
    pub fn none() -> Self {
        Self::new().0
    }

    pub(crate) fn began(&self, transfer: TransferId, from: u64, total: Option<u64>) {
        self.0.send_replace(Moment { transfer: Some(transfer), from, bytes: from, total });
    }

    pub(crate) fn reached(&self, bytes: u64) {
        self.0.send_modify(|moment| moment.bytes = bytes);
    }
}
