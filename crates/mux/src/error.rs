//! Why something cannot be done, and why a connection ended.

use bytes::Bytes;
use std::fmt;

/// Why `write` or `finish` took nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// The stream's send buffer is full; `Event::Writable` follows.
    #[error("the local send buffer of the stream is full")]
    Blocked,
    /// The peer asked with STOP_SENDING to send no more.
    #[error("the peer stopped reading the stream (application code {0:#x})")]
    Stopped(u64),
    /// The stream was finished or reset before, never existed, or the connection is closed.
    #[error("the stream is closed for sending on this side")]
    Closed,
}

/// Why `read` returned neither bytes nor the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Nothing has arrived; `Event::Readable` follows.
    #[error("no bytes of the stream have arrived yet")]
    Blocked,
    /// The peer gave up the stream with RESET_STREAM. Said once; then `Closed`.
    #[error("the peer reset the stream (application code {0:#x})")]
    Reset(u64),
    /// The end, a reset or `stop` came before, the stream never existed, or the connection is closed.
    #[error("the stream is closed for receiving on this side")]
    Closed,
}

/// Why a datagram was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DatagramError {
    /// The peer accepts no datagram of this size.
    #[error("the peer accepts datagrams of at most {max} bytes")]
    TooLarge {
        /// The largest payload that fits.
        max: usize,
    },
    /// The peer accepts no datagrams, or has not said yet (before `Event::Connected`).
    #[error("the peer accepts no datagrams")]
    Unsupported,
    /// The send queue is full; `Event::DatagramsUnblocked` follows.
    #[error("the local queue of datagrams to send is full")]
    Blocked,
    /// The connection is closed.
    #[error("the connection is closed")]
    Closed,
}

/// Why a connection ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(test, derive(Hash))]
pub enum CloseReason {
    /// This side's application called `close`.
    #[error("this side closed the connection (application code {code:#x})")]
    Local {
        /// The application's code.
        code: u64,
        /// The application's words to the peer.
        reason: Bytes,
    },
    /// The peer's application closed (CONNECTION_CLOSE 0x1d).
    #[error("the peer closed the connection (application code {code:#x}): {}", printable(reason))]
    Application {
        /// The peer's application code.
        code: u64,
        /// The peer's words: not trustworthy, at most 1,024 bytes.
        reason: Bytes,
    },
    /// A rule of the transport was broken (CONNECTION_CLOSE 0x1c).
    #[error("{}: {code}: {}", if *local { "the peer broke a transport rule" } else { "the peer reports a transport error" }, printable(reason))]
    Transport {
        /// The QUIC transport error code.
        code: TransportCode,
        /// The frame that broke it; 0 when it is unknown.
        frame_type: u64,
        /// Which rule; not trustworthy when it comes from the peer, then at most 1,024 bytes.
        reason: Bytes,
        /// Whether this side found the mistake (the peer's) or the peer did (ours).
        local: bool,
    },
    /// Nothing was received or sent for the idle timeout.
    #[error("the connection was idle for too long")]
    Idle,
    /// The transport ended without a word.
    #[error("the transport ended without CONNECTION_CLOSE")]
    TransportEnded,
}

/// A peer's words, safe to print: ASCII as it is, everything else escaped.
//= S2.34
fn printable(reason: &[u8]) -> impl fmt::Display + '_ {
    reason.escape_ascii()
}

/// A QUIC transport error code (RFC 9000 §20.1).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TransportCode(u64);

/// One table: the name, the value and the meaning of each code that this crate sends or names.
macro_rules! transport_codes {
    ($($(#[$doc:meta])* $name:ident = $value:literal;)*) => {
        impl TransportCode {
            $($(#[$doc])* pub const $name: Self = Self($value);)*

            /// The name in RFC 9000, if this code has one here.
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($value => Some(stringify!($name)),)*
                    _ => None,
                }
            }
        }
    };
}

transport_codes! {
    /// Closing without an error.
    NO_ERROR = 0x00;
    /// The endpoint cannot go on.
    INTERNAL_ERROR = 0x01;
    /// More bytes than the credit allows.
    FLOW_CONTROL_ERROR = 0x03;
    /// A stream number above the limit.
    STREAM_LIMIT_ERROR = 0x04;
    /// A frame that the stream's state does not permit.
    STREAM_STATE_ERROR = 0x05;
    /// A final size that changed, or is smaller than what was received.
    FINAL_SIZE_ERROR = 0x06;
    /// A frame that cannot be read, or is prohibited, or a record that is too large.
    FRAME_ENCODING_ERROR = 0x07;
    /// Transport parameters that cannot be read, are prohibited or out of range.
    TRANSPORT_PARAMETER_ERROR = 0x08;
    /// Any other broken rule.
    PROTOCOL_VIOLATION = 0x0a;
    /// The application's reason is withheld.
    APPLICATION_ERROR = 0x0c;
}

impl From<u64> for TransportCode {
    fn from(value: u64) -> Self {
        Self(value)
    }
}

impl From<TransportCode> for u64 {
    fn from(code: TransportCode) -> Self {
        code.0
    }
}

impl fmt::Display for TransportCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{name} ({:#04x})", self.0),
            None => write!(f, "transport error {:#04x}", self.0),
        }
    }
}

impl fmt::Debug for TransportCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
