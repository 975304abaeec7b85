//! Every bound that a peer can reach, in one place.
//!
//! The values a peer must know travel in HELLO or in the transport's own parameters; the others are enforced
//! silently until they are reached, and then the error names them. Spec: chapter 3, "Limits".

use std::time::Duration;

use crate::budget::PLACE;

/// The bounds of one endpoint. `Limits::default()` is safe on the open internet.
///
/// ```
/// use hikyaku::Limits;
/// let limits = Limits { max_message: 64 * 1024, ..Limits::default() };
/// ```
#[derive(Debug, Clone)]
pub struct Limits {
    /// The largest MESSAGE payload accepted, in bytes. At least 64 KiB, at most a quarter of `stream_window`.
    pub max_message: u64,
    /// The largest metadata of an exchange and the largest details of an ERROR accepted, in bytes. At least 4 KiB.
    pub max_metadata: u64,
    /// The largest DATA frame accepted, in bytes; its payload is never buffered as a whole. At least 16 MiB.
    pub max_data_frame: u64,
    /// Bytes a peer may send on one stream before they are read here. At least 256 KiB, at most `connection_window`.
    /// Over QUIC never more than 11 MiB: of a larger window a slow reader would hold twice as much, as it does of this one if
    /// the peer sends it in small pieces.
    pub stream_window: u64,
    /// Bytes a peer may send on one connection before they are read here.
    pub connection_window: u64,
    /// Exchanges a peer may have open at once on one connection. A member may open 32 at first, and more when it does.
    pub max_exchanges: u64,
    /// Unidirectional streams a peer may have open at once (one is its control stream).
    pub max_unidirectional: u64,
    /// Datagrams of one exchange kept until they are read; more are dropped and counted.
    pub datagram_queue: usize,
    /// From the first byte of a connection to its HELLO.
    pub handshake_timeout: Duration,
    /// Bytes of messages above 4 KiB that one connection may have begun and not ended, or that are being worked on.
    pub max_buffered: u64,
    /// Bytes that all connections of a server together may make it hold: the credit they were given, what may wait to be
    /// sent to them, and (a quarter of it at most) what is buffered of their messages, of the answers that they do
    /// not read, and of what handlers read ahead for them. One connection gets an eighth of what is left of it.
    pub max_memory: u64,
    /// Frames in one second that carry nothing (unknown ones, empty DATA), on all streams of a connection.
    pub max_void_frames: u64,
    /// From the first byte of a message to its last.
    pub message_timeout: Duration,
    /// From the first byte of an exchange to its OPEN.
    pub open_timeout: Duration,
    /// A connection on which nothing arrives for this long is closed.
    pub idle_timeout: Duration,
    /// The connecting side sends a ping this often. At least 15 s.
    pub keep_alive: Duration,
    /// How long `drain` waits for open exchanges.
    pub drain_timeout: Duration,
    /// How long a stranger (a peer known to nobody) may stay connected.
    pub stranger_timeout: Duration,
    /// The largest session frame accepted from a stranger, in bytes.
    pub stranger_max_frame: u64,
    /// Session frames accepted from a stranger on its exchange.
    pub stranger_max_frames: u64,
    /// Connections at once whose peer is not known yet: in their handshake, being looked up, or strangers.
    pub max_unauthenticated: usize,
    /// From so many of these on, newcomers are turned away at random, 30 in 100 at first and all of them at
    /// [`Limits::max_unauthenticated`]. From half of it on, a QUIC client has to prove its address first.
    pub early_drop: usize,
    /// So many of these may come from one IPv4 address or one IPv6 /64. All clients of a proxy share its address.
    pub max_unauthenticated_per_network: usize,
    /// Connections at once. Each is worth 16 KiB of credit and two small exchanges whatever the others have, 32 KiB in all, so
    /// there are no more than fit into three quarters of `max_memory`.
    pub max_connections: usize,
    /// Connections of one key at once, so that no member takes the places of all others.
    pub max_connections_per_key: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_message: 1024 * 1024,
            max_metadata: 4 * 1024,
            max_data_frame: 16 * 1024 * 1024,
            stream_window: 16 * 1024 * 1024,
            connection_window: 24 * 1024 * 1024,
            max_buffered: 12 * 1024 * 1024,
            max_memory: 448 * 1024 * 1024,
            max_void_frames: 4096,
            message_timeout: Duration::from_secs(60),
            max_exchanges: 1024,
            max_unidirectional: 8,
            datagram_queue: 1024,
            handshake_timeout: Duration::from_secs(5),
            open_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            keep_alive: Duration::from_secs(20),
            drain_timeout: Duration::from_secs(10),
            stranger_timeout: Duration::from_secs(10),
            stranger_max_frame: 4 * 1024,
            stranger_max_frames: 3,
            max_unauthenticated: 256,
            early_drop: 128,
            max_unauthenticated_per_network: 64,
            max_connections: 10_000,
            max_connections_per_key: 1024,
        }
    }
}

/// The smallest `max_message` and `max_metadata` that a peer may count on.
pub(crate) const MIN_MESSAGE: u64 = 64 * 1024;
pub(crate) const MIN_METADATA: u64 = 4 * 1024;
/// The longest DATA frame that a peer may send.
const MIN_DATA_FRAME: u64 = 16 * 1024 * 1024;
/// Pings come no more often than this.
const MIN_KEEP_ALIVE: Duration = Duration::from_secs(15);

impl Limits {
    /// The same limits, moved into the bounds that the protocol sets: what a peer may count on, and that a message
    /// which is buffered whole fits the credit it comes with.
    //= S3.30
    //= S3.91
    pub(crate) fn within_bounds(mut self) -> Self {
        self.stream_window = self.stream_window.max(4 * MIN_MESSAGE);
        self.connection_window = self.connection_window.max(self.stream_window);
        self.max_message = self.max_message.max(MIN_MESSAGE).min(self.stream_window / 4);
        self.max_metadata = self.max_metadata.max(MIN_METADATA);
        self.max_data_frame = self.max_data_frame.max(MIN_DATA_FRAME);
        self.keep_alive = self.keep_alive.max(MIN_KEEP_ALIVE);
        self.max_unidirectional = self.max_unidirectional.max(1);
        let places = usize::try_from(self.max_memory / 4 * 3 / PLACE).unwrap_or(usize::MAX);
        self.max_connections = self.max_connections.min(places.max(1));
        self
    }
}

/// What every peer gets before it is known, and a stranger for ever: enough for HELLO and one small request, nothing
/// to waste.
//= S6.22
pub(crate) mod unauthorised {
    /// Connection credit in bytes.
    pub(crate) const WINDOW: u64 = 16 * 1024;
    /// Bidirectional streams.
    pub(crate) const EXCHANGES: u64 = 1;
    /// Unidirectional streams: the control stream.
    pub(crate) const UNIDIRECTIONAL: u64 = 1;
}

#[cfg(test)]
mod tests {
    use super::*;

    //= S3.30 (test)
    #[test]
    fn limits_beyond_the_protocols_bounds_are_moved_into_them() {
        let tiny = Limits {
            max_message: 1,
            max_metadata: 1,
            max_data_frame: 1,
            stream_window: 1,
            connection_window: 1,
            max_unidirectional: 0,
            keep_alive: Duration::ZERO,
            ..Limits::default()
        };
        let tiny = tiny.within_bounds();
        assert_eq!((tiny.max_message, tiny.max_metadata, tiny.max_data_frame), (65_536, 4_096, 16 << 20));
        assert_eq!((tiny.stream_window, tiny.connection_window), (262_144, 262_144));
        assert_eq!((tiny.max_unidirectional, tiny.keep_alive), (1, Duration::from_secs(15)));
        let narrow = Limits { max_memory: 1 << 20, ..Limits::default() }.within_bounds();
        assert_eq!(narrow.max_connections, 24, "each has 32 KiB, and a quarter of it is for all");
        assert_eq!(Limits::default().within_bounds().max_connections, Limits::default().max_connections);
        let vast = Limits { max_message: u64::MAX, ..Limits::default() }.within_bounds();
        assert_eq!(vast.max_message, vast.stream_window / 4);
    }
}
