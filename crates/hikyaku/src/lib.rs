//! An application protocol of your own in 25 lines, over TCP and QUIC: encrypted, multiplexed, with deadlines,
//! cancellation and back-pressure.
//!
//! ```
//! use hikyaku::{Exchange, Identity, Result, Router, Server};
//!
//! async fn hello(mut exchange: Exchange) -> Result<()> {
//!     let name: String = exchange.receive().await?;
//!     exchange.reply(&format!("Hello, {name}")).await
//! }
//!
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! let server = Server::builder(Identity::generate()?).router(Router::new().route("hello/1", hello)).start().await?;
//! let connection = hikyaku::connect(server.address(), server.id()).await?;
//! let answer: String = connection.call("hello/1", "", &"World").await?;
//! assert_eq!(answer, "Hello, World");
//! # Ok::<(), hikyaku::Error>(()) }).unwrap();
//! ```
//!
//! The layers, from the bottom: `transport` (QUIC by quinn; QMux over TLS), `session` (control streams, exchanges,
//! datagrams: spec chapter 3), and on top of them what a program uses: [`Server`], [`Router`], [`connect()`],
//! [`Connection`], [`Exchange`].

#![forbid(unsafe_code)]

mod budget;
mod connect;
mod connection;
mod datagrams;
mod error;
pub mod events;
mod exchange;
mod identity;
mod key_log;
mod limits;
pub mod local;
mod recording;
mod router;
mod server;
mod session;
mod signature;
mod tls;
mod transport;

/// The pure state machines inside a session, for those who feed them anything at all: fuzz targets and models. They
/// are no part of the API, and change without a word.
#[doc(hidden)]
pub mod machines {
    pub use crate::identity::key_of_certificate;
    pub use crate::session::control::{Control, Heard};
    pub use crate::session::datagrams::{Demux, Fate};
    pub use crate::session::inbound::{Inbound, Said};
}

pub use connect::{Connect, Prefer, connect};
pub use connection::{CallOptions, Connection, PeerHello};
pub use datagrams::Datagrams;
pub use error::{Closed, ClosedBy, Error, Failure, Result, Retry, is_hostile, printable};
pub use exchange::{Encoded, Exchange, Incoming, Receiver, Sender};
pub use hikyaku_wire::codes::ErrorCode;
pub use hikyaku_wire::hello::HelloLimits;
pub use identity::{Identity, IdentityError, KeyId, ParseKeyIdError};
pub use key_log::KeyLog;
pub use limits::Limits;
pub use recording::Recording;
pub use router::{Handler, Router};
pub use server::{Admission, Builder, Peer, Server};
pub use signature::is_signed;
pub use tls::Negotiated;
pub use transport::{DatagramError, Transport, Waits};
