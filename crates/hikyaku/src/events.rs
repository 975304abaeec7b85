//! What happens on connections, declared once: each event below is a line of the log, a counter, and what observers
//! (tests among them) are told.
//!
//! Names and fields are those of qlog and QUIC where these have the thing. Recording an event costs an atomic addition;
//! its fields are only put together when the log's level asks for it or somebody observes. Text of a peer is [`Text`],
//! which prints escaped. An event is added here and recorded with the macro `event!`, nowhere else.
//!
//! ```
//! use hikyaku::events::{Event, Log, Name};
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! let log = Log::default();
//! let server = hikyaku::Server::builder(hikyaku::Identity::generate()?).observe(log.observer()).start().await?;
//! let connection = hikyaku::connect(server.address(), server.id()).await?;
//! log.until(|event| matches!(event, Event::HelloReceived { .. })).await;
//! assert_eq!(server.counts().of(Name::HandshakeCompleted), 1);
//! # Ok::<(), hikyaku::Error>(()) }).unwrap();
//! ```

mod field;
mod log;
mod recorder;

use std::net::SocketAddr;

use hikyaku_wire::codes::ErrorCode;

use crate::identity::KeyId;
use crate::transport::Transport;

pub use field::{By, ClosedFrom, Dropped, Refusal, Text};
pub use log::Log;
pub use recorder::{Counts, Record};
pub(crate) use recorder::{Observer, Recorder, event};

/// One declaration: the event with its fields, its name, its level in the log.
macro_rules! events {
    ($(
        $(#[doc = $doc:literal])+
        $level:ident $variant:ident = $name:literal {
            $( $(#[doc = $field_doc:literal])+ $field:ident: $ty:ty, )*
        }
    )+) => {
        /// Something that happened.
        #[derive(Debug, Clone, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum Event {
            $( $(#[doc = $doc])+ $variant { $( $(#[doc = $field_doc])+ $field: $ty, )* }, )+
        }

        /// An event's name, by which it is counted.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Name {
            $( $(#[doc = $doc])+ $variant, )+
        }

        impl Name {
            /// Every name, in the order of declaration.
            pub const ALL: &[Self] = &[$( Self::$variant, )+];

            /// As it is printed: `connection_refused`.
            pub fn as_str(self) -> &'static str {
                match self { $( Self::$variant => $name, )+ }
            }

            /// Whether the log wants it now.
            fn is_logged(self) -> bool {
                match self { $( Self::$variant => tracing::enabled!(tracing::Level::$level), )+ }
            }
        }

        impl Event {
            /// Its name.
            pub fn name(&self) -> Name {
                match self { $( Self::$variant { .. } => Name::$variant, )+ }
            }

            /// Its fields by name, as they are printed; those that are unknown are left out.
            pub fn fields(&self) -> Vec<(&'static str, String)> {
                let all: Vec<(&'static str, Option<String>)> = match self {
                    $( Self::$variant { $( $field, )* } =>
                        vec![$( (stringify!($field), field::Field::shown($field)), )*], )+
                };
                all.into_iter().filter_map(|(name, shown)| Some((name, shown?))).collect()
            }

            /// Its line in the log.
            fn log(&self, connection: u64) {
                match self {
                    $( Self::$variant { $( $field, )* } => tracing::event!(
                        tracing::Level::$level,
                        connection,
                        $( $field = field::Field::shown($field).map(tracing::field::display), )*
                        $name
                    ), )+
                }
            }
        }
    };
}

events! {
    /// A server listens on an address, TCP and UDP alike.
    DEBUG ServerListening = "server_listening" {
        /// Where.
        address: SocketAddr,
    }
    /// The system did not hand out a connection; it is asked again in a moment.
    WARN AcceptFailed = "accept_failed" {
        /// What the system said.
        error: Text,
    }
    /// A socket did not take its options and is used as it is.
    DEBUG SocketOptionsFailed = "socket_options_failed" {
        /// What the system said.
        error: Text,
    }
    /// A peer asks for a connection; its handshake begins.
    DEBUG ConnectionStarted = "connection_started" {
        /// What carries it.
        transport: Transport,
        /// Its network address.
        remote: Option<SocketAddr>,
    }
    /// A connection was turned away before it had a session.
    DEBUG ConnectionRefused = "connection_refused" {
        /// Why.
        reason: Refusal,
        /// What carried it.
        transport: Transport,
        /// Its network address.
        remote: Option<SocketAddr>,
        /// Its key, where it had proved one.
        peer: Option<KeyId>,
        /// What there is to say beside the reason.
        detail: Text,
    }
    /// Many are turned away: told once a second, however many they are.
    WARN ConnectionsTurnedAway = "connections_turned_away" {
        /// How many since the last time.
        count: u64,
        /// The reason of the last one.
        detail: Text,
    }
    /// So many are at the door that an address over UDP must be proved before anything is computed for it.
    DEBUG RetrySent = "retry_sent" {
        /// The address, which may be made up.
        remote: SocketAddr,
    }
    /// TLS is done: both sides have proved their keys.
    DEBUG HandshakeCompleted = "handshake_completed" {
        /// What carries the connection.
        transport: Transport,
        /// The peer's network address.
        remote: Option<SocketAddr>,
        /// The peer's key.
        peer: KeyId,
        /// The cipher suite, where the transport tells.
        cipher_suite: Option<Text>,
        /// The group of the key exchange, where the transport tells.
        group: Option<Text>,
    }
    /// The peer was let in.
    DEBUG ConnectionAccepted = "connection_accepted" {
        /// The peer's key.
        peer: KeyId,
        /// Whether it is nobody in particular.
        stranger: bool,
    }
    /// The peer's HELLO is here: requests make sense from now on.
    DEBUG HelloReceived = "hello_received" {
        /// What the peer says it is.
        agent: Text,
        /// The longest message it takes.
        max_message: u64,
        /// The longest metadata it takes.
        max_metadata: u64,
        /// The longest datagram it takes.
        max_datagram: u64,
    }
    /// The other side was told an OPEN, or has told one.
    TRACE ExchangeOpened = "exchange_opened" {
        /// Who opened it.
        by: By,
        /// Its stream.
        stream_id: u64,
        /// The application protocol.
        protocol: Text,
        /// What of it.
        method: Text,
    }
    /// An exchange came to a good end: the answer and its END are whole.
    TRACE ExchangeEnded = "exchange_ended" {
        /// Who opened it.
        by: By,
        /// Its stream.
        stream_id: u64,
    }
    /// An exchange was answered with an ERROR.
    DEBUG ExchangeFailed = "exchange_failed" {
        /// Who opened it.
        by: By,
        /// Its stream.
        stream_id: u64,
        /// The code of the answer.
        code: ErrorCode,
    }
    /// An exchange was given up by either side, or its connection was lost.
    DEBUG ExchangeCancelled = "exchange_cancelled" {
        /// Who opened it.
        by: By,
        /// Its stream.
        stream_id: u64,
        /// The code it was given up with; none when it was let go without one or the connection was lost.
        code: Option<ErrorCode>,
    }
    /// An exchange of the peer was refused before it was looked at.
    DEBUG ExchangeRefused = "exchange_refused" {
        /// Its stream.
        stream_id: u64,
        /// The code the peer was told.
        code: ErrorCode,
    }
    /// A handler ended with an error; the peer may have been told less.
    DEBUG HandlerFailed = "handler_failed" {
        /// What it said.
        error: Text,
    }
    /// A handler panicked, which is a bug of the handler.
    ERROR HandlerPanicked = "handler_panicked" {
    }
    /// A limit was reached.
    DEBUG LimitReached = "limit_reached" {
        /// Its name, as in `Limits` or HELLO.
        limit: &'static str,
        /// Its value; of times, in milliseconds.
        value: u64,
        /// Whose limit it is: who set it, not who ran into it.
        owner: By,
    }
    /// A datagram that arrived was not delivered.
    TRACE DatagramDropped = "datagram_dropped" {
        /// Why.
        reason: Dropped,
        /// How many, where several go at once.
        count: u64,
    }
    /// This side has said that it is going away.
    DEBUG GoawaySent = "goaway_sent" {
        /// How long open exchanges have, in milliseconds.
        grace_ms: u64,
    }
    /// The peer has said that it is going away.
    DEBUG GoawayReceived = "goaway_received" {
        /// Why.
        code: ErrorCode,
        /// How long open exchanges have, in milliseconds.
        grace_ms: u64,
    }
    /// The connection has ended.
    DEBUG ConnectionClosed = "connection_closed" {
        /// Who ended it.
        by: ClosedFrom,
        /// With which code.
        code: ErrorCode,
        /// What was said.
        reason: Text,
        /// The peer's key.
        peer: KeyId,
    }
    /// One way to a server is tried.
    DEBUG TransportStarted = "transport_started" {
        /// What would carry the connection.
        transport: Transport,
        /// Where.
        remote: SocketAddr,
    }
    /// It was the first to bring the server's HELLO.
    DEBUG TransportWon = "transport_won" {
        /// What carries the connection.
        transport: Transport,
        /// Where.
        remote: SocketAddr,
        /// Since the first attempt, in milliseconds.
        after_ms: u64,
    }
    /// It led nowhere, or was too late.
    DEBUG TransportLost = "transport_lost" {
        /// What would have carried the connection.
        transport: Transport,
        /// Where.
        remote: SocketAddr,
        /// What went wrong; nothing when another one was faster.
        error: Option<Text>,
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::fmt::Display for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.name())?;
        self.fields().iter().try_for_each(|(name, shown)| write!(f, " {name}={shown}"))
    }
}

#[cfg(test)]
mod tests;
