//! One stream: a sending half, a receiving half, or both (RFC 9000 §2 and §3).

mod map;
mod recv;
mod send;

pub use map::{BuildIdHasher, IdHasher};

pub(crate) use map::Map;
pub(crate) use recv::{Received, RecvHalf};
pub(crate) use send::SendHalf;

/// The halves that still live, and what is to be said about them.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone, Hash))]
pub(crate) struct Stream {
    pub(crate) send: Option<SendHalf>,
    pub(crate) recv: Option<RecvHalf>,
    /// Control frames that wait; the stream is then in the connection's queue once.
    pub(crate) pending: Pending,
}

impl Stream {
    pub(crate) fn new(send: Option<SendHalf>, recv: Option<RecvHalf>) -> Self {
        Self { send, recv, pending: Pending::default() }
    }

    /// Both directions are over and nothing is left to say: the stream can be forgotten.
    pub(crate) fn is_over(&self) -> bool {
        self.send.is_none() && self.recv.is_none() && !self.pending.any()
    }
}

/// Which control frames of a stream wait to be sent: a set, so that asking twice costs nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(test, derive(Hash))]
pub(crate) struct Pending {
    pub(crate) reset: bool,
    /// STOP_SENDING with this application code.
    pub(crate) stop: Option<u64>,
    pub(crate) max_data: bool,
    pub(crate) blocked: bool,
    /// A FIN without bytes; it needs no credit.
    pub(crate) fin: bool,
    /// Whether the stream is in the connection's queue of streams with pending control frames.
    pub(crate) queued: bool,
}

impl Pending {
    pub(crate) fn any(&self) -> bool {
        self.reset || self.stop.is_some() || self.max_data || self.blocked || self.fin
    }
}
