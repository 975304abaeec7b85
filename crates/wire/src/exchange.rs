//! The messages of the session: OPEN, ERROR and GOAWAY, and the number that ties a datagram to an exchange.
//! Spec: chapter 3.

use std::time::Duration;

use bytes::{BufMut, Bytes};
use minicbor::{Decode, Encode};

use crate::cbor::{self, CborError, Limits};
use crate::codes::ErrorCode;
use crate::hello::limit;
use crate::varint;

/// The payload of OPEN, the first frame of an exchange.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Open {
    /// The application protocol, with its version: `chat/1`. At most [`Open::MAX_NAME`] bytes.
    #[n(0)]
    pub protocol: String,
    /// What is asked of it: `send`. May be empty. At most [`Open::MAX_NAME`] bytes.
    #[n(1)]
    pub method: String,
    /// How many milliseconds the sender will still wait; `None` is for ever.
    #[n(2)]
    pub deadline_ms: Option<u64>,
    /// Whatever the application wants to travel beside the messages. At most [`Open::MAX_METADATA`] bytes.
    #[cbor(n(3), with = "crate::cbor::blob", has_nil)]
    pub metadata: Option<Bytes>,
}

impl Open {
    /// How long a protocol's or method's name may be, in bytes.
    pub const MAX_NAME: usize = 64;
    /// How long the metadata may be, in bytes.
    pub const MAX_METADATA: usize = 4096;

    /// An OPEN without deadline and metadata.
    pub fn new(protocol: impl Into<String>, method: impl Into<String>) -> Open {
        Open { protocol: protocol.into(), method: method.into(), deadline_ms: None, metadata: None }
    }

    /// The payload of the OPEN frame.
    pub fn encode(&self) -> Vec<u8> {
        cbor::encode(self)
    }

    /// Reads the payload of an OPEN frame.
    //= S3.41
    pub fn decode(payload: &[u8]) -> Result<Open, CborError> {
        let open: Open = cbor::decode(payload, &Limits::default())?;
        limit("protocol", open.protocol.len(), Open::MAX_NAME)?;
        limit("method", open.method.len(), Open::MAX_NAME)?;
        limit("metadata", open.metadata.as_ref().map_or(0, Bytes::len), Open::MAX_METADATA)?;
        if open.protocol.is_empty() {
            return Err(CborError::Shape { reason: "the protocol's name is empty".to_owned() });
        }
        Ok(open)
    }
}

/// The payload of ERROR: how an exchange failed, and whether asking again makes sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What happened, for programs.
    pub code: ErrorCode,
    /// Whether and when to ask again.
    pub retry: Retry,
    /// What happened, for people. At most [`Failure::MAX_MESSAGE`] bytes; hostile until escaped.
    pub message: String,
    /// Whatever the application defines for this code. At most [`Failure::MAX_DETAILS`] bytes; empty when absent.
    pub details: Bytes,
}

/// Whether the same request may succeed if it is made again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Retry {
    /// It would fail again. What an unknown value is read as.
    #[default]
    No,
    /// At once, on this connection.
    SameConnection,
    /// On a new connection.
    NewConnection,
    /// After this time; the wire carries whole milliseconds.
    After(Duration),
}

/// ERROR as CBOR has it.
#[derive(Encode, Decode)]
#[cbor(map)]
struct WireFailure {
    #[n(0)]
    code: ErrorCode,
    #[n(1)]
    retry: u64,
    #[n(2)]
    after_ms: Option<u64>,
    #[n(3)]
    message: String,
    #[cbor(n(4), with = "crate::cbor::blob", has_nil)]
    details: Option<Bytes>,
}

impl Failure {
    /// How long the message may be, in bytes.
    pub const MAX_MESSAGE: usize = 1024;
    /// How long the details may be, in bytes.
    pub const MAX_DETAILS: usize = 4096;

    /// A failure that it makes no sense to repeat. A message that is too long loses its end.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Failure {
        let mut message = message.into();
        cut(&mut message, Failure::MAX_MESSAGE);
        Failure { code, retry: Retry::No, message, details: Bytes::new() }
    }

    /// The same failure with another hint.
    pub fn with_retry(mut self, retry: Retry) -> Failure {
        self.retry = retry;
        self
    }

    /// The same failure with details.
    pub fn with_details(mut self, details: impl Into<Bytes>) -> Failure {
        self.details = details.into();
        self
    }

    /// The payload of the ERROR frame. A message that is too long loses its end, details that are too long are left
    /// out: telling the peer that something failed must not fail.
    //= S3.61
    pub fn encode(&self) -> Vec<u8> {
        let (retry, after_ms) = match self.retry {
            Retry::No => (0, None),
            Retry::SameConnection => (1, None),
            Retry::NewConnection => (2, None),
            Retry::After(time) => (3, Some(milliseconds(time))),
        };
        let mut message = self.message.clone();
        cut(&mut message, Failure::MAX_MESSAGE);
        let sent = !self.details.is_empty() && self.details.len() <= Failure::MAX_DETAILS;
        let details = sent.then(|| self.details.clone());
        cbor::encode(&WireFailure { code: self.code, retry, after_ms, message, details })
    }

    /// Reads the payload of an ERROR frame.
    //= S3.61
    //= S3.62
    pub fn decode(payload: &[u8]) -> Result<Failure, CborError> {
        let wire: WireFailure = cbor::decode(payload, &Limits::default())?;
        limit("message", wire.message.len(), Failure::MAX_MESSAGE)?;
        let details = wire.details.unwrap_or_default();
        limit("details", details.len(), Failure::MAX_DETAILS)?;
        let retry = match (wire.retry, wire.after_ms) {
            (1, _) => Retry::SameConnection,
            (2, _) => Retry::NewConnection,
            (3, Some(after_ms)) => Retry::After(Duration::from_millis(after_ms)),
            _ => Retry::No,
        };
        Ok(Failure { code: wire.code, retry, message: wire.message, details })
    }
}

/// The payload of GOAWAY: the sender accepts no new exchange and closes when the open ones are over.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Goaway {
    /// Why.
    #[n(0)]
    pub code: ErrorCode,
    /// How many milliseconds the open exchanges have left.
    #[n(1)]
    pub grace_ms: u64,
    /// Why, for people. At most [`Goaway::MAX_MESSAGE`] bytes; hostile until escaped.
    #[n(2)]
    pub message: String,
}

impl Goaway {
    /// How long the message may be, in bytes.
    pub const MAX_MESSAGE: usize = 1024;

    /// The payload of the GOAWAY frame. A message that is too long loses its end.
    pub fn encode(&self) -> Vec<u8> {
        let mut goaway = self.clone();
        cut(&mut goaway.message, Goaway::MAX_MESSAGE);
        cbor::encode(&goaway)
    }

    /// Reads the payload of a GOAWAY frame.
    //= S3.32
    pub fn decode(payload: &[u8]) -> Result<Goaway, CborError> {
        let goaway: Goaway = cbor::decode(payload, &Limits::default())?;
        limit("message", goaway.message.len(), Goaway::MAX_MESSAGE)?;
        Ok(goaway)
    }
}

/// The longest payload of a datagram that every binding carries, in bytes.
pub const MAX_DATAGRAM: usize = 1000;

/// The number of the exchange on the bidirectional stream `stream_id`, as datagrams carry it: QUIC's stream id
/// without the bit that says the direction.
//= S3.51
pub const fn exchange_number(stream_id: u64) -> u64 {
    stream_id >> 2 << 1 | stream_id & 1
}

/// The bidirectional stream of the exchange `number`; `None` when there can be no such stream.
pub const fn stream_id(number: u64) -> Option<u64> {
    if number >> 61 == 0 { Some(number >> 1 << 2 | number & 1) } else { None }
}

/// Appends a datagram of the exchange `number`.
pub fn encode_datagram(number: u64, payload: &[u8], out: &mut impl BufMut) {
    varint::encode(number, out);
    out.put_slice(payload);
}

/// Splits a datagram into exchange number and payload; `None` when the number is cut off or not in its shortest form.
//= S3.52
pub fn decode_datagram(mut datagram: Bytes) -> Option<(u64, Bytes)> {
    let (number, size) = varint::decode(&datagram)?;
    if !varint::is_shortest(number, size) {
        return None;
    }
    Some((number, datagram.split_off(size)))
}

/// Whole milliseconds, rounded up so that a short time does not become none, at most what a message can carry.
pub fn milliseconds(time: Duration) -> u64 {
    let ms = time.as_nanos().div_ceil(1_000_000);
    u64::try_from(ms).map_or(cbor::MAX_INTEGER, |ms| ms.min(cbor::MAX_INTEGER))
}

/// Shortens `text` to at most `limit` bytes, between two characters.
fn cut(text: &mut String, limit: usize) {
    text.truncate(text.floor_char_boundary(limit));
}

#[cfg(test)]
mod tests;
