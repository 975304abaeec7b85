//! What models see of a connection's inside: whether two are in the same state, and whether the accounts are in order.

use super::Connection;
use crate::StreamId;
use crate::stream::Stream;
use std::hash::{Hash, Hasher};

impl Connection {
    /// Everything that decides what the connection will do, time and the flood allowance excepted.
    pub(crate) fn fingerprint(&self, hasher: &mut impl Hasher) {
        for id in self.sorted_streams() {
            id.hash(hasher);
            self.streams.get(id).hash(hasher);
        }
        (self.introduced, self.peer.is_some(), &self.schedule, &self.pending).hash(hasher);
        (&self.local, &self.remote, &self.window, &self.credit, &self.pings).hash(hasher);
        (&self.datagrams_out, &self.datagrams_in, self.datagrams_blocked).hash(hasher);
        if let Some(closed) = self.closed.as_deref() {
            (&closed.reason, closed.unsent, closed.unheard).hash(hasher);
        }
    }

    fn sorted_streams(&self) -> Vec<StreamId> {
        let mut ids = self.streams.ids();
        ids.sort_unstable();
        ids
    }

    /// No account is overdrawn, and nobody believes to have more than the peer has granted.
    pub(crate) fn check_accounts(&self, peer: &Self) {
        assert!(self.window.is_sound(), "{:?}", self.window);
        for (own, granted) in self.local.iter().zip(&peer.remote) {
            assert!(self.closed.is_some() || own.is_within(granted.advertised()), "{own:?} and {granted:?}");
        }
        assert!(self.credit.is_within(peer.window.advertised()), "{:?} and {:?}", self.credit, peer.window);
        for id in self.sorted_streams() {
            let Some(stream) = self.streams.get(id) else { continue };
            assert!(stream.recv.as_ref().is_none_or(|recv| recv.window().is_sound()), "{id}: {stream:?}");
            let Some(send) = stream.send.as_ref() else { continue };
            let granted = peer.streams.get(id).and_then(|stream| stream.recv.as_ref());
            if let Some(granted) = granted {
                let (credit, window) = (send.credit(), granted.window());
                assert!(credit.is_within(window.advertised()), "{id}: {credit:?} and {window:?}");
            }
        }
    }

    /// The parts of a stream that are alive.
    pub(crate) fn stream(&self, id: StreamId) -> Option<&Stream> {
        self.streams.get(id)
    }

    /// The state's name in the specification's table.
    pub(crate) fn name(&self) -> &'static str {
        match (self.closed.as_deref(), &self.peer) {
            (Some(closed), _) if closed.unsent => "closing",
            (Some(_), _) => "closed",
            (None, Some(_)) => "open",
            (None, None) => "waiting for the peer's parameters",
        }
    }

    /// Nothing that was received counts as unread.
    pub(crate) fn is_all_consumed(&self) -> bool {
        self.window.is_consumed()
    }
}
