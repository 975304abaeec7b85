//! How many streams each side has opened and may open (RFC 9000 §4.6).

use crate::frame::MaxStreams;

/// Streams that this side opens, of one direction.
#[derive(Debug, Default)]
#[cfg_attr(test, derive(Clone, Hash))]
pub(crate) struct Local {
    /// The index of the next stream: how many were opened.
    opened: u64,
    limit: u64,
    /// `open` found no credit.
    wanted: bool,
    /// The limit that STREAMS_BLOCKED has named already, plus one.
    reported: u64,
}

impl Local {
    pub(crate) fn opened(&self) -> u64 {
        self.opened
    }

    #[cfg(test)]
    pub(crate) fn is_within(&self, granted: u64) -> bool {
        self.opened <= self.limit && self.limit <= granted
    }

    /// The index of a new stream.
    pub(crate) fn open(&mut self) -> Option<u64> {
        self.wanted = self.opened >= self.limit;
        (!self.wanted).then(|| {
            self.opened += 1;
            self.opened - 1
        })
    }

    /// A new limit; true when somebody waits for it.
    // RFC 9000 §4.6: "MAX_STREAMS frames that do not increase the stream limit MUST be ignored."
    pub(crate) fn raise(&mut self, limit: u64) -> bool {
        let more = limit > self.limit;
        self.limit = self.limit.max(limit);
        more && std::mem::take(&mut self.wanted)
    }

    pub(crate) fn is_blocked_news(&self) -> bool {
        self.wanted && self.reported != self.limit + 1
    }

    /// The limit for STREAMS_BLOCKED, which is now sent.
    pub(crate) fn take_blocked(&mut self) -> Option<u64> {
        self.is_blocked_news().then(|| {
            self.reported = self.limit + 1;
            self.limit
        })
    }
}

/// Streams that the peer opens, of one direction.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone, Hash))]
pub(crate) struct Remote {
    /// How many may be open at one time.
    concurrent: u64,
    /// The limit that the peer knows.
    advertised: u64,
    opened: u64,
    closed: u64,
    accepted: u64,
}

impl Remote {
    pub(crate) fn new(concurrent: u64) -> Self {
        let concurrent = concurrent.min(MaxStreams::LIMIT);
        Self { concurrent, advertised: concurrent, opened: 0, closed: 0, accepted: 0 }
    }

    pub(crate) fn advertised(&self) -> u64 {
        self.advertised
    }

    pub(crate) fn opened(&self) -> u64 {
        self.opened
    }

    /// The peer used the stream `index`, and with it all before; the caller checked the limit.
    pub(crate) fn open_up_to(&mut self, index: u64) {
        self.opened = index + 1;
    }

    /// One stream is over.
    pub(crate) fn close(&mut self) {
        self.closed += 1;
    }

    /// The index of the next stream that the application has not seen.
    pub(crate) fn accept(&mut self) -> Option<u64> {
        (self.accepted < self.opened).then(|| {
            self.accepted += 1;
            self.accepted - 1
        })
    }

    pub(crate) fn resize(&mut self, concurrent: u64) {
        self.concurrent = concurrent.min(MaxStreams::LIMIT);
    }

    fn target(&self) -> u64 {
        (self.closed + self.concurrent).min(MaxStreams::LIMIT)
    }

    /// Whether saying the new limit is worth a frame: it grew by an eighth, or the peer has nearly used it up.
    pub(crate) fn is_due(&self) -> bool {
        let gained = self.target().saturating_sub(self.advertised);
        let step = self.concurrent / 8;
        gained > 0 && (gained >= step || self.advertised - self.opened <= step)
    }

    /// Advertises the new limit and returns it.
    pub(crate) fn advertise(&mut self) -> u64 {
        self.advertised = self.target().max(self.advertised);
        self.advertised
    }
}
