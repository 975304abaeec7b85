//! What events carry: numbers, keys, addresses, words of a fixed list, and text that prints escaped.

use std::fmt;
use std::net::SocketAddr;

use hikyaku_wire::codes::ErrorCode;

use crate::error::ClosedBy;
use crate::identity::KeyId;
use crate::transport::Transport;

/// Text that a peer or the system wrote. It prints escaped; [`Text::as_str`] gives it as it was.
#[derive(Clone, PartialEq, Eq)]
pub struct Text(Box<str>);

impl Text {
    /// As it was written, and as hostile.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<T: AsRef<str>> From<T> for Text {
    fn from(text: T) -> Self {
        Self(text.as_ref().into())
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", crate::printable(&self.0))
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// A field of an event, as it is printed; `None` when it is unknown.
pub(super) trait Field {
    fn shown(&self) -> Option<String>;
}

impl<T: Field> Field for Option<T> {
    fn shown(&self) -> Option<String> {
        self.as_ref().and_then(T::shown)
    }
}

macro_rules! fields {
    ($($ty:ty),+) => { $( impl Field for $ty {
        fn shown(&self) -> Option<String> {
            Some(self.to_string())
        }
    } )+ };
}

fields!(bool, u64, &'static str, SocketAddr, Text, KeyId, ErrorCode, Transport);
fields!(By, ClosedFrom, Dropped, Refusal);

/// A fixed list of words.
macro_rules! words {
    ($(#[doc = $doc:literal])+ $list:ident { $( $(#[doc = $word_doc:literal])+ $word:ident = $name:literal, )+ }) => {
        $(#[doc = $doc])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $list {
            $( $(#[doc = $word_doc])+ $word, )+
        }

        impl fmt::Display for $list {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $( Self::$word => $name, )+ })
            }
        }
    };
}

words! {
    /// Which of the two sides.
    By {
        /// This side.
        Us = "us",
        /// The other one.
        Peer = "peer",
    }
}

words! {
    /// Who ended a connection, in qlog's words.
    ClosedFrom {
        /// This side.
        Local = "local",
        /// The peer, with a code.
        Remote = "remote",
        /// Nobody: nothing arrived for too long.
        IdleTimeout = "idle_timeout",
        /// The transport below broke.
        Transport = "transport",
    }
}

impl From<ClosedBy> for ClosedFrom {
    fn from(by: ClosedBy) -> Self {
        match by {
            ClosedBy::Us => Self::Local,
            ClosedBy::Peer => Self::Remote,
            ClosedBy::Idle => Self::IdleTimeout,
            ClosedBy::Transport => Self::Transport,
        }
    }
}

words! {
    /// Why a datagram was not delivered.
    Dropped {
        /// The queue of its exchange, or all queues together, were full.
        QueueFull = "queue_full",
        /// It is longer than this side takes.
        TooLong = "too_long",
        /// It has no readable exchange number.
        Malformed = "malformed",
        /// Nobody asked for the datagrams of its exchange in time.
        Unclaimed = "unclaimed",
        /// Who had asked for it went away without reading it.
        Unread = "unread",
    }
}

words! {
    /// Why a connection was turned away.
    Refusal {
        /// Too many connections at once whose peer is not known yet (`max_unauthenticated`).
        Unauthenticated = "max_unauthenticated",
        /// Too many connections at once (`max_connections`).
        Connections = "max_connections",
        /// Too many connections of one key at once (`max_connections_per_key`).
        ConnectionsOfKey = "max_connections_per_key",
        /// Too many of these from one address or its network (`max_unauthenticated_per_network`).
        Network = "max_unauthenticated_per_network",
        /// Turned away at random, because many are waiting already.
        EarlyDrop = "early_drop",
        /// The handshake took longer than `handshake_timeout`.
        HandshakeTimeout = "handshake_timeout",
        /// The handshake failed: no TLS 1.3, no common algorithm, a broken peer.
        Handshake = "handshake_failed",
        /// The handshake failed on the peer's certificate or its signature.
        Identity = "identity",
        /// The peer offers none of our application protocols.
        Alpn = "alpn",
        /// The key was revoked.
        Revoked = "revoked",
        /// Authorisation said no.
        Denied = "denied",
        /// Authorisation took longer than `handshake_timeout`.
        AuthorisationTimeout = "authorisation_timeout",
        /// The server is shutting down.
        Draining = "draining",
    }
}
