//! What can go wrong, and what the other side is told about it.
//!
//! Three scopes, as in the spec: a connection ends ([`Closed`]), a stream is cut short, an exchange is answered
//! with a [`Failure`]. Every error knows its wire code ([`Error::code`]), so no place that fails can forget it.
//! Spec: chapter 3, "Errors".

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use hikyaku_wire::cbor::CborError;
use hikyaku_wire::codes::ErrorCode;
use hikyaku_wire::frame::FrameError;

pub use hikyaku_wire::exchange::{Failure, Retry};
pub use hikyaku_wire::text::is_hostile;

use crate::identity::{IdentityError, KeyId};
use crate::transport::{DatagramError, StreamError};

/// The result of everything in this library.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// When somebody may try again for whose message there was no room.
const RETRY_WHEN_BUSY: Duration = Duration::from_secs(1);
/// The longest that a peer may ask for.
const LONGEST_RETRY: Duration = Duration::from_secs(60);

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    /// The code that was sent or received; [`ErrorCode::NO_ERROR`] where there was none.
    pub code: ErrorCode,
    /// Who ended it.
    pub by: ClosedBy,
    /// What was said. From a peer it is untrusted text, which `Display` escapes.
    pub reason: String,
}

/// Who ended a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClosedBy {
    /// This side.
    Us,
    /// The peer, with a code.
    Peer,
    /// Nobody: nothing arrived for too long.
    Idle,
    /// The transport below: the network broke, or a transport rule was broken.
    Transport,
}

impl Closed {
    pub(crate) fn new(code: u64, by: ClosedBy, reason: String) -> Self {
        Self { code: ErrorCode::from_wire(code), by, reason }
    }
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reason = printable(&self.reason);
        match self.by {
            ClosedBy::Us => f.write_str("this side closed it"),
            ClosedBy::Idle => f.write_str("nothing was heard of the peer for too long"),
            ClosedBy::Transport => write!(f, "{reason}"),
            ClosedBy::Peer if self.reason.is_empty() => write!(f, "the peer closed it with {}", self.code),
            ClosedBy::Peer => write!(f, "the peer closed it: {reason} ({})", self.code),
        }
    }
}

/// Everything that can go wrong with a connection or an exchange.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The peer's ERROR, or one to be sent to it.
    #[error("{}", describe(.0))]
    Failure(Failure),
    /// The connection ended before the exchange did.
    #[error("the connection ended: {0}")]
    Closed(Closed),
    /// The peer gave up the exchange.
    #[error("the peer gave up the exchange ({0})")]
    Cancelled(ErrorCode),
    /// The peer is going away and has not looked at the exchange: asking elsewhere or again is safe.
    #[error("the peer is closing and did not take the exchange; ask again on a new connection")]
    Refused,
    /// The exchange took longer than it was given.
    #[error("the deadline of the exchange has passed; its outcome is unknown")]
    Deadline,
    /// The stream ended without END or ERROR: whatever arrived is not the whole answer.
    #[error("the peer's stream ended before its END: what arrived is not the whole answer")]
    Truncated,
    /// The peer said END where a message was expected.
    #[error("the peer ended the exchange where a message was expected")]
    Ended,
    /// Data arrived where a message was expected.
    #[error("the peer sent DATA where a message was expected")]
    UnexpectedData,
    /// A message arrived where END was expected.
    #[error("the peer sent a message where its END was expected")]
    UnexpectedMessage,
    /// This side has already ended the exchange.
    #[error("this side has already ended the exchange")]
    AlreadyFinished,
    /// A frame broke the rules.
    #[error("{0}")]
    Frame(FrameError),
    /// A message broke the CBOR profile or has another shape than expected.
    #[error("the peer's message is malformed: {0}")]
    Message(CborError),
    /// A message or frame of ours is larger than the peer accepts.
    #[error("our {what} of {size} bytes exceeds the peer's limit {name} of {limit} bytes")]
    TooLarge {
        /// What was to be sent.
        what: &'static str,
        /// Its size in bytes.
        size: u64,
        /// The name of the peer's limit.
        name: &'static str,
        /// Its value in bytes.
        limit: u64,
    },
    /// A message of the peer found no room here: all its messages together, or those of all peers, hold too much.
    #[error("this side holds as much of unfinished messages as it may: {limit} bytes ({name})")]
    NoRoom {
        /// The name of our limit.
        name: &'static str,
        /// Its value in bytes.
        limit: u64,
        /// It was the first of its exchange: nothing was done with it, and the peer may try again.
        nothing_done: bool,
    },
    /// The peer began a message and did not end it in time.
    #[error("the peer began a message and did not end it within our message_timeout of {0:?}")]
    Stalled(Duration),
    /// The peer broke a rule of the session.
    #[error("the peer broke a rule of the session: {reason} ({code})")]
    Protocol {
        /// The code it is told.
        code: ErrorCode,
        /// Which rule.
        reason: String,
    },
    /// Somebody else than the pinned host answered. Nothing was sent to it.
    #[error("another host answered: expected the key {expected}, found {found}")]
    IdentityRefused {
        /// The pinned key.
        expected: KeyId,
        /// The key that answered.
        found: KeyId,
    },
    /// No address answered.
    #[error("no address could be reached: {}", .0.join("; "))]
    Unreachable(Vec<String>),
    /// No connection was made in the time given.
    #[error("no connection after {} s", .0.as_secs_f32())]
    ConnectTimeout(Duration),
    /// A datagram was not taken.
    #[error("{0}")]
    Datagram(#[from] DatagramError),
    /// TLS could not be configured or its handshake failed.
    #[error("TLS: {0}")]
    Tls(String),
    /// An identity could not be made or read.
    #[error("{0}")]
    Identity(Arc<IdentityError>),
    /// The system refused something; `what` says what was attempted.
    #[error("{what}: {source}")]
    Io {
        /// What was attempted.
        what: String,
        /// What the system said.
        source: Arc<io::Error>,
    },
}

impl Error {
    /// The code of this error on the wire.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Failure(failure) => failure.code,
            Self::Closed(closed) => closed.code,
            Self::Cancelled(code) | Self::Protocol { code, .. } => *code,
            Self::Refused => ErrorCode::REFUSED,
            Self::Deadline | Self::ConnectTimeout(_) => ErrorCode::DEADLINE_EXCEEDED,
            Self::Truncated => ErrorCode::TRUNCATED,
            Self::Ended | Self::UnexpectedData | Self::UnexpectedMessage | Self::Message(_) => {
                ErrorCode::INVALID_MESSAGE
            }
            Self::Frame(error) => error.code(),
            Self::NoRoom { nothing_done: true, .. } => ErrorCode::BUSY,
            Self::TooLarge { .. } | Self::NoRoom { .. } | Self::Stalled(_) => ErrorCode::LIMIT,
            Self::IdentityRefused { .. } => ErrorCode::IDENTITY_REFUSED,
            Self::Unreachable(_) => ErrorCode::UNAVAILABLE,
            Self::AlreadyFinished
            | Self::Datagram(_)
            | Self::Tls(_)
            | Self::Identity(_)
            | Self::Io { .. } => ErrorCode::INTERNAL,
        }
    }

    /// Whether the same request may be made again on a new connection and find the peer in another mood:
    /// the connection was lost, the peer refused without looking, or its failure says so.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Closed(closed) => !matches!(
                closed.code,
                ErrorCode::REVOKED | ErrorCode::IDENTITY_REFUSED | ErrorCode::STRANGER_LIMIT
            ),
            Self::Failure(failure) => failure.retry != Retry::No,
            Self::Refused | Self::Cancelled(_) | Self::Truncated => true,
            Self::Unreachable(_) | Self::ConnectTimeout(_) => true,
            _ => false,
        }
    }

    /// How long the peer asks to be left alone before the same is asked again, but never more than a minute: it may be wrong,
    /// or mean ill.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Failure(Failure { retry: Retry::After(time), .. }) => Some((*time).min(LONGEST_RETRY)),
            _ => None,
        }
    }

    /// Whether the peer has said no: what was asked was not done. After any other error the peer may have done it, unless
    /// nothing was asked; only who can recognise a repetition may ask again.
    pub fn says_no(&self) -> bool {
        match self {
            Self::Failure(failure) => {
                !matches!(failure.code, ErrorCode::DEADLINE_EXCEEDED | ErrorCode::INTERNAL)
            }
            Self::Refused | Self::TooLarge { .. } => true,
            _ => false,
        }
    }

    pub(crate) fn io(what: impl Into<String>, source: io::Error) -> Self {
        Self::Io { what: what.into(), source: Arc::new(source) }
    }

    pub(crate) fn protocol(code: ErrorCode, reason: impl Into<String>) -> Self {
        Self::Protocol { code, reason: reason.into() }
    }

    /// What the peer may know of an error in a handler: its own failures whole, ours by their code alone.
    pub(crate) fn into_failure(self) -> Failure {
        match self {
            Self::Failure(failure) => failure,
            Self::Message(error) => Failure::new(ErrorCode::INVALID_MESSAGE, error.to_string()),
            error @ (Self::Ended | Self::UnexpectedData | Self::UnexpectedMessage) => {
                Failure::new(ErrorCode::INVALID_MESSAGE, error.to_string())
            }
            //= S3.14
            //= S3.90
            Self::TooLarge { what, size, name, limit } => Failure::new(
                ErrorCode::LIMIT,
                format!(
                    "the answer's {what} of {size} bytes exceeds the asking side's {name} of {limit} bytes"
                ),
            ),
            Self::Deadline => Failure::new(ErrorCode::DEADLINE_EXCEEDED, "the deadline has passed"),
            error @ Self::NoRoom { nothing_done: true, .. } => {
                Failure::new(error.code(), error.to_string()).with_retry(Retry::After(RETRY_WHEN_BUSY))
            }
            error @ (Self::NoRoom { .. } | Self::Stalled(_)) => Failure::new(error.code(), error.to_string()),
            error @ Self::Truncated => Failure::new(ErrorCode::INVALID_MESSAGE, error.to_string()),
            _ => Failure::new(ErrorCode::INTERNAL, "the request failed here; the log of the peer says why"),
        }
    }
}

impl From<Closed> for Error {
    fn from(closed: Closed) -> Self {
        Self::Closed(closed)
    }
}

impl From<FrameError> for Error {
    fn from(error: FrameError) -> Self {
        Self::Frame(error)
    }
}

impl From<CborError> for Error {
    fn from(error: CborError) -> Self {
        Self::Message(error)
    }
}

impl From<IdentityError> for Error {
    fn from(error: IdentityError) -> Self {
        Self::Identity(Arc::new(error))
    }
}

impl From<StreamError> for Error {
    fn from(error: StreamError) -> Self {
        match error {
            StreamError::Lost(closed) => Self::Closed(closed),
            StreamError::Ended => Self::AlreadyFinished,
            StreamError::Reset(code) | StreamError::Stopped(code) => match ErrorCode::from_wire(code) {
                ErrorCode::REFUSED => Self::Refused,
                ErrorCode::STREAM_DEADLINE => Self::Deadline,
                code => Self::Cancelled(code),
            },
        }
    }
}

/// A failure in one line: the peer's words, escaped, and the code.
fn describe(failure: &Failure) -> String {
    if failure.message.is_empty() {
        return failure.code.to_string();
    }
    format!("{} ({})", printable(&failure.message), failure.code)
}

/// Text of a peer, made harmless for terminals and logs: control characters, escapes and bidirectional overrides
/// become visible escapes, and what is longer than a screen line or two is cut.
//= S3.66
///
/// ```
/// assert_eq!(hikyaku::printable("a\u{1b}[31m\u{202e}b").to_string(), "a\\u{1b}[31m\\u{202e}b");
/// ```
pub fn printable(text: &str) -> impl fmt::Display + '_ {
    Printable(text)
}

struct Printable<'a>(&'a str);

/// Characters of a peer's text that are shown at most.
const PRINTABLE_MAX: usize = 512;

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;
        for (index, character) in self.0.chars().enumerate() {
            if index == PRINTABLE_MAX {
                return f.write_char('…');
            }
            if is_hostile(character) {
                write!(f, "{}", character.escape_unicode())?;
            } else {
                f.write_char(character)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    //= S3.14 (test)
    //= S3.90 (test)
    #[test]
    fn an_answer_that_is_too_long_for_the_peer_says_so_with_the_limit() {
        let error = Error::TooLarge { what: "message", size: 70_000, name: "max_message", limit: 65_536 };
        assert!(error.says_no());
        let told = error.into_failure();
        assert_eq!(told.code, ErrorCode::LIMIT);
        assert!(told.message.contains("max_message of 65536"), "{}", told.message);
    }

    #[test]
    fn only_an_answer_says_no() {
        assert!(Error::Failure(Failure::new(ErrorCode::DENIED, "")).says_no());
        assert!(Error::Refused.says_no());
        let unknown = [ErrorCode::INTERNAL, ErrorCode::DEADLINE_EXCEEDED];
        assert!(unknown.into_iter().all(|code| !Error::Failure(Failure::new(code, "")).says_no()));
        assert!(
            !Error::Truncated.says_no() && !Error::Deadline.says_no() && !Error::UnexpectedMessage.says_no()
        );
    }
}
