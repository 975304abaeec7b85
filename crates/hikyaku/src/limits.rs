//! Every bound that a peer can reach, in one place.
//!
//! The values a peer must know travel in HELLO or in the transport's own parameters; the others are enforced
//! silently until they are reached, and then the error names them. Spec: chapter 3, "Limits".

use std::time::Duration;

/// The bounds of one endpoint. `Limits::default()` is safe on the open internet.
///
/// ```
/// use hikyaku::Limits;
/// let limits = Limits { max_message: 64 * 1024, ..Limits::default() };
/// ```
#[derive(Debug, Clone)]
pub struct Limits {
    /// The largest MESSAGE payload accepted, in bytes. At most a quarter of `stream_window`.
    pub max_message: u64,
    /// The largest metadata of an exchange and the largest details of an ERROR accepted, in bytes.
    pub max_metadata: u64,
    /// The largest DATA frame accepted, in bytes; its payload is never buffered as a whole.
    pub max_data_frame: u64,
    /// Bytes a peer may send on one stream before they are read here.
    pub stream_window: u64,
    /// Bytes a peer may send on one connection before they are read here.
    pub connection_window: u64,
    /// Exchanges a peer may have open at once on one connection.
    pub max_exchanges: u64,
    /// Unidirectional streams a peer may have open at once (one is its control stream).
    pub max_unidirectional: u64,
    /// Datagrams of one exchange kept until they are read; more are dropped and counted.
    pub datagram_queue: usize,
    /// From the first byte of a connection to its HELLO.
    pub handshake_timeout: Duration,
    /// From the first byte of an exchange to its OPEN.
    pub open_timeout: Duration,
    /// A connection on which nothing arrives for this long is closed.
    pub idle_timeout: Duration,
    /// The connecting side sends a ping after this long without traffic.
    pub keep_alive: Duration,
    /// How long `drain` waits for open exchanges.
    pub drain_timeout: Duration,
    /// How long a stranger (a peer known to nobody) may stay connected.
    pub stranger_timeout: Duration,
    /// The largest session frame accepted from a stranger, in bytes.
    pub stranger_max_frame: u64,
    /// Session frames accepted from a stranger on its exchange.
    pub stranger_max_frames: u64,
    /// Connections in their handshake at once.
    pub max_handshakes: usize,
    /// Connections at once.
    pub max_connections: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_message: 1024 * 1024,
            max_metadata: 4 * 1024,
            max_data_frame: 16 * 1024 * 1024,
            stream_window: 16 * 1024 * 1024,
            connection_window: 24 * 1024 * 1024,
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
            max_handshakes: 256,
            max_connections: 10_000,
        }
    }
}

/// What every peer gets before it is known: enough for HELLO and one small request, nothing to waste.
pub(crate) mod unauthorised {
    /// Connection credit in bytes.
    pub(crate) const WINDOW: u64 = 16 * 1024;
    /// Bidirectional streams.
    pub(crate) const EXCHANGES: u64 = 1;
    /// Unidirectional streams: the control stream.
    pub(crate) const UNIDIRECTIONAL: u64 = 1;
}
