//! The datagrams of an exchange: small, fast, never promised. Spec: chapter 3, "Datagrams".

use std::sync::{Arc, Weak};

use bytes::Bytes;
use hikyaku_wire::exchange::{MAX_DATAGRAM, encode_datagram, exchange_number};
use tokio::sync::Notify;

use crate::connection::Connection;
use crate::error::{Error, Result};
use crate::exchange::ExchangeGuard;
use crate::transport::DatagramError;

/// Sends and receives the datagrams of one exchange. Clones share them; the last one gone, they are forgotten.
///
/// Take it before the first datagram is due: what arrives for an exchange that did not ask for datagrams is held
/// for a second, sixteen at most, and then dropped.
#[derive(Clone)]
pub struct Datagrams {
    registration: Arc<Registration>,
}

struct Registration {
    connection: Connection,
    exchange: u64,
    guard: Weak<ExchangeGuard>,
    arrived: Arc<Notify>,
}

impl Datagrams {
    pub(crate) fn new(connection: Connection, stream_id: u64, guard: &Arc<ExchangeGuard>) -> Self {
        let exchange = exchange_number(stream_id);
        let arrived = connection.register_datagrams(exchange);
        let guard = Arc::downgrade(guard);
        Self { registration: Arc::new(Registration { connection, exchange, guard, arrived }) }
    }

    /// Hands one datagram to the transport, which may lose it. At most 1,000 bytes, on every transport alike.
    ///
    /// # Errors
    /// [`DatagramError::Blocked`] when the transport has no room now: try again later, or leave it out.
    /// [`DatagramError::NotOpened`] before the peer was told of the exchange: send or flush something first.
    //= S3.56
    //= S3.57
    pub fn send(&self, payload: &[u8]) -> Result<(), DatagramError> {
        let Registration { connection, exchange, guard, .. } = &*self.registration;
        let limit = connection.peer_limits().max_datagram;
        let limit = usize::try_from(limit).unwrap_or(usize::MAX).min(MAX_DATAGRAM);
        match guard.upgrade() {
            None => return Err(DatagramError::Closed),
            Some(exchange) if !exchange.is_opened() => return Err(DatagramError::NotOpened),
            // What the peer takes is not known yet; its HELLO was overtaken.
            Some(_) if !connection.inner().has_hello() => return Err(DatagramError::Blocked),
            Some(_) if limit == 0 => return Err(DatagramError::Unsupported),
            Some(_) if payload.len() > limit => {
                return Err(DatagramError::TooLarge { size: payload.len(), limit });
            }
            Some(_) => {}
        }
        let mut datagram = Vec::with_capacity(payload.len() + 8);
        encode_datagram(*exchange, payload, &mut datagram);
        connection.link().send_datagram(datagram.into())
    }

    /// The next datagram of this exchange.
    pub async fn receive(&self) -> Result<Bytes> {
        let Registration { connection, exchange, arrived, .. } = &*self.registration;
        loop {
            let arrived = arrived.notified();
            if let Some(payload) = connection.take_datagram(*exchange) {
                return Ok(payload);
            }
            if let Some(closed) = connection.link().close_reason() {
                return Err(Error::Closed(closed));
            }
            arrived.await;
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.connection.unregister_datagrams(self.exchange);
    }
}
