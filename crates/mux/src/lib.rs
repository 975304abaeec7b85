//! QMux: QUIC's streams and datagrams on one ordered byte stream, as a state machine without I/O.
//!
//! [`Connection`] speaks draft-ietf-quic-qmux-02 and knows neither sockets nor clocks. A shell gives it bytes and
//! the time, and takes bytes, events and a deadline from it:
//!
//! ```text
//!   transport ── handle_input ──▶ ┌────────────┐ ── poll_event ──────▶ application
//!   transport ◀─ poll_transmit ── │ Connection │ ◀─ write/read/open ── application
//!   timer     ◀─ poll_timeout ─── └────────────┘
//! ```
//!
//! After every call that takes `now` or changes a stream, the shell polls: [`Connection::poll_transmit`] while the
//! transport has room, [`Connection::poll_event`] until it is empty, [`Connection::poll_timeout`] for the timer.
//!
//! A peer's mistake never panics and never returns an error here: the connection closes with the QUIC transport
//! error code that the specification names ([`CloseReason::Transport`]), and says so to the peer. Everything that a
//! peer can make this side remember is bounded by [`Config`].
//!
//! Spec: chapter 2, and RFC 9000 and RFC 9221 where the draft points to them.
//!
//! ```
//! use bytes::Bytes;
//! use hikyaku_mux::{Config, Connection, Dir, Event, Side};
//! use std::time::Instant;
//!
//! let now = Instant::now();
//! let mut client = Connection::new(Side::Client, Config::default(), now);
//! let mut server = Connection::new(Side::Server, Config::default(), now);
//! let mut carry = |from: &mut Connection, to: &mut Connection| {
//!     let mut bytes = Vec::new();
//!     while from.poll_transmit(now, &mut bytes, 65_536) {}
//!     to.handle_input(now, Bytes::from(bytes));
//! };
//!
//! carry(&mut server, &mut client); // transport parameters
//! carry(&mut client, &mut server);
//! assert_eq!(client.poll_event(), Some(Event::Connected));
//!
//! let stream = client.open(Dir::Bi).expect("the server allows bidirectional streams");
//! client.write(stream, &mut Bytes::from_static(b"hello")).unwrap();
//! client.finish(stream).unwrap();
//! carry(&mut client, &mut server);
//!
//! let accepted = server.accept(Dir::Bi).expect("a stream was opened");
//! assert_eq!(server.read(accepted, 1024).unwrap().unwrap(), "hello");
//! assert_eq!(server.read(accepted, 1024).unwrap(), None);
//! ```

#![forbid(unsafe_code)]

mod config;
mod connection;
mod datagrams;
pub mod dissect;
mod error;
mod event;
#[cfg(test)]
mod exploration;
mod flood;
mod flow;
mod frame;
mod id;
mod idle;
mod notices;
mod parameters;
mod pings;
mod record;
mod schedule;
mod stream;
mod streams;
#[cfg(test)]
mod transitions;
mod violation;

pub use config::Config;
pub use connection::Connection;
pub use error::{CloseReason, DatagramError, ReadError, TransportCode, WriteError};
pub use event::{Event, SendStatus};
pub use id::{Dir, Side, StreamId};
pub use stream::{BuildIdHasher, IdHasher};
