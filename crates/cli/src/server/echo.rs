//! `echo/1`: every message, every byte and every datagram comes back. For measuring a connection.

use hikyaku::{Exchange, Incoming, Result};

/// The name in OPEN.
pub(crate) const PROTOCOL: &str = "echo/1";

/// Answers until the caller ends.
pub(crate) async fn echo<C: Send + Sync + 'static>(mut exchange: Exchange<C>) -> Result<()> {
    let datagrams = exchange.datagrams();
    loop {
        tokio::select! {
            incoming = exchange.next() => match incoming? {
                Some(Incoming::Message(item)) => exchange.send_encoded(&item).await?,
                Some(Incoming::Data(data)) => exchange.send_data(data).await?,
                None => return exchange.finish().await,
            },
            datagram = datagrams.receive() => {
                // One that finds no room is lost, as datagrams may be.
                let _ = datagrams.send(&datagram?);
            }
        }
    }
}
