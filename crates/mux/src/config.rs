//! The limits of one connection: what this side grants its peer, and what it keeps for its own application.

use std::time::Duration;

/// Limits of one connection. Everything a peer can make this side hold is a product of these numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Bytes on all streams together that may be received and not yet read (`initial_max_data`).
    /// [`Connection::set_receive_window`](crate::Connection::set_receive_window) changes it later.
    pub receive_window: u64,
    /// Bytes on one stream that may be received and not yet read (`initial_max_stream_data_*`).
    pub stream_receive_window: u64,
    /// Bidirectional streams that the peer may have open at one time.
    pub max_concurrent_bidi_streams: u64,
    /// Unidirectional streams that the peer may have open at one time.
    pub max_concurrent_uni_streams: u64,
    /// The connection closes when no record was received or sent for this long; the shorter one of both sides'
    /// values counts. `None` leaves it to the peer.
    pub max_idle_timeout: Option<Duration>,
    /// Bytes of received datagrams kept for the application; when they would be more, the oldest are dropped and
    /// counted. `None`: the peer may not send datagrams at all.
    pub datagram_receive_buffer: Option<usize>,
    /// Bytes of datagrams that may wait to be sent before
    /// [`DatagramError::Blocked`](crate::DatagramError::Blocked).
    pub datagram_send_buffer: usize,
    /// Bytes that one stream may hold waiting to be sent before
    /// [`WriteError::Blocked`](crate::WriteError::Blocked). Each piece counts 32 bytes more than its length, so
    /// that many tiny pieces do not cost many times what the limit says.
    pub send_buffer: usize,
    /// Bytes that all streams together may hold waiting to be sent, counted alike. Beyond it a stream holds 4 KiB
    /// at most, so that streams which the peer does not read cost little and the others go on.
    /// [`Connection::set_send_buffer_total`](crate::Connection::set_send_buffer_total) changes it later.
    pub send_buffer_total: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            receive_window: 24 * 1024 * 1024,
            stream_receive_window: 16 * 1024 * 1024,
            max_concurrent_bidi_streams: 100,
            max_concurrent_uni_streams: 100,
            max_idle_timeout: Some(Duration::from_secs(60)),
            datagram_receive_buffer: Some(64 * 1024),
            datagram_send_buffer: 64 * 1024,
            send_buffer: 1024 * 1024,
            send_buffer_total: 16 * 1024 * 1024,
        }
    }
}
