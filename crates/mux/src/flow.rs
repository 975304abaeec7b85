//! Flow control credit, one type for each side of it (RFC 9000 §4.1). Absolute offsets, never differences.

use hikyaku_wire::varint;

/// What this side grants: bytes the peer may send, on one stream or on the connection.
///
/// Invariant: `consumed ≤ received ≤ advertised`, and `advertised` never shrinks.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone, Hash))]
pub(crate) struct Window {
    size: u64,
    advertised: u64,
    received: u64,
    consumed: u64,
}

impl Window {
    pub(crate) fn new(size: u64) -> Self {
        let size = size.min(varint::MAX);
        Self { size, advertised: size, received: 0, consumed: 0 }
    }

    /// The limit the peer knows.
    pub(crate) fn advertised(&self) -> u64 {
        self.advertised
    }

    /// Bytes received so far.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    /// How many more bytes the peer may send.
    pub(crate) fn left(&self) -> u64 {
        self.advertised - self.received
    }

    #[cfg(test)]
    pub(crate) fn is_sound(&self) -> bool {
        self.consumed <= self.received && self.received <= self.advertised
    }

    #[cfg(test)]
    pub(crate) fn is_consumed(&self) -> bool {
        self.consumed == self.received
    }

    /// Counts bytes of the peer; false, and nothing counted, when they exceed the limit.
    #[must_use]
    pub(crate) fn receive(&mut self, bytes: u64) -> bool {
        let within = bytes <= self.left();
        if within {
            self.received += bytes;
        }
        within
    }

    /// Gives room back: the application took these bytes, or never will.
    pub(crate) fn consume(&mut self, bytes: u64) {
        self.consumed = (self.consumed + bytes).min(self.received);
    }

    /// How much may be unread from now on. Credit given stays given.
    pub(crate) fn resize(&mut self, size: u64) {
        self.size = size.min(varint::MAX);
    }

    /// The limit to advertise next.
    fn target(&self) -> u64 {
        (self.consumed + self.size).min(varint::MAX)
    }

    /// Whether enough room came free that saying so is worth a frame: a quarter of the window.
    ///
    /// A peer that has used everything up always gets there, because what it sent is at last consumed.
    pub(crate) fn is_due(&self) -> bool {
        let gained = self.target().saturating_sub(self.advertised);
        gained > 0 && gained >= self.size / 4
    }

    /// Advertises the new limit and returns it.
    pub(crate) fn advertise(&mut self) -> u64 {
        self.advertised = self.target().max(self.advertised);
        self.advertised
    }
}

/// What the peer grants: bytes this side may send.
#[derive(Debug, Default)]
#[cfg_attr(test, derive(Clone, Hash))]
pub(crate) struct Credit {
    limit: u64,
    used: u64,
    /// The limit that a *_BLOCKED frame has named already, plus one.
    reported: u64,
}

impl Credit {
    pub(crate) fn new(limit: u64) -> Self {
        Self { limit, used: 0, reported: 0 }
    }

    pub(crate) fn left(&self) -> u64 {
        self.limit - self.used
    }

    pub(crate) fn used(&self) -> u64 {
        self.used
    }

    #[cfg(test)]
    pub(crate) fn is_within(&self, granted: u64) -> bool {
        self.used <= self.limit && self.limit <= granted
    }

    /// Takes at most `bytes` and returns how many.
    pub(crate) fn spend(&mut self, bytes: u64) -> u64 {
        let bytes = bytes.min(self.left());
        self.used += bytes;
        bytes
    }

    /// A new limit from the peer; true when it is more than before.
    // RFC 9000 §4.1: "A sender MUST ignore any MAX_STREAM_DATA or MAX_DATA frames that do not increase flow
    // control limits."
    pub(crate) fn raise(&mut self, limit: u64) -> bool {
        let more = limit > self.limit;
        self.limit = self.limit.max(limit);
        more
    }

    /// The limit to name in a *_BLOCKED frame, once for each limit that was reached.
    pub(crate) fn blocked_at(&mut self) -> Option<u64> {
        let news = self.is_blocked_news();
        news.then(|| {
            self.reported = self.limit + 1;
            self.limit
        })
    }

    pub(crate) fn is_blocked_news(&self) -> bool {
        self.left() == 0 && self.reported != self.limit + 1
    }
}
