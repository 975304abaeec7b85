//! The datagrams of an exchange: small, fast, never promised. Spec: chapter 3, "Datagrams".

use std::sync::Arc;

use bytes::Bytes;
use hikyaku_wire::exchange::{MAX_DATAGRAM, encode_datagram, exchange_number};

use crate::connection::Connection;
use crate::error::{Error, Result};
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
}

impl Datagrams {
    pub(crate) fn new(connection: Connection, stream_id: u64) -> Self {
        let exchange = exchange_number(stream_id);
        connection.register_datagrams(exchange);
        Self { registration: Arc::new(Registration { connection, exchange }) }
    }

    /// Hands one datagram to the transport, which may lose it. At most 1,000 bytes, on every transport alike.
    ///
    /// # Errors
    /// [`DatagramError::Blocked`] when the transport has no room now: try again later, or leave it out.
    //= S3.56
    pub fn send(&self, payload: &[u8]) -> Result<(), DatagramError> {
        if payload.len() > MAX_DATAGRAM {
            return Err(DatagramError::TooLarge { size: payload.len(), limit: MAX_DATAGRAM });
        }
        let mut datagram = Vec::with_capacity(payload.len() + 8);
        encode_datagram(self.registration.exchange, payload, &mut datagram);
        self.registration.connection.link().send_datagram(datagram.into())
    }

    /// The next datagram of this exchange.
    pub async fn receive(&self) -> Result<Bytes> {
        let Registration { connection, exchange } = &*self.registration;
        loop {
            let arrived = connection.datagram_arrived().notified();
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
