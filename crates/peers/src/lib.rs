//! Peers for tests that no decent program would be: keys and certificates of any shape, TLS that believes everybody or shows
//! what it should not, frames in any order. For tests alone; whatever fails here panics.
//!
//! Nothing of the library is in it (`wire` gives the encodings), so that what it says is not what the library would say.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

mod frames;
mod key;
mod tls;

pub use frames::{control, exchange, frames, hello};
pub use key::Key;
pub use tls::{
    ClientStream, Credulous, Listening, ServerStream, client_tls, client_tls_showing, name, server_tls,
    server_tls_showing, soon, tls_to, verdict,
};

use std::time::Duration;

/// No test waits longer than this for what must happen.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// The ALPN name over TCP.
pub const ALPN: &[u8] = b"hikyaku/1-qx02";
/// The ALPN name over QUIC.
pub const ALPN_QUIC: &[u8] = b"hikyaku/1";
