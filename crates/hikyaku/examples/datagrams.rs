//! Datagrams: 1,000 of them over QUIC, there and back. They are small and fast and may be lost, so what is lost is
//! counted, not sent again; an exchange beside them is where things are said that must arrive.
//! `cargo run --release --example datagrams -p hikyaku`

use std::time::{Duration, Instant};

use hikyaku::{DatagramError, Exchange, Identity, Result, Router, Server, Transport};

const COUNT: u32 = 1_000;

/// Sends back what comes, until the exchange ends.
async fn reflect(mut exchange: Exchange) -> Result<()> {
    let datagrams = exchange.datagrams();
    let reflecting = async {
        loop {
            let datagram = datagrams.receive().await?;
            // No room at the moment: one more is lost, which datagrams may be.
            let _ = datagrams.send(&datagram);
        }
    };
    tokio::select! {
        lost = reflecting => lost,
        ended = exchange.ended() => ended,
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let router = Router::new().route("example.org/reflect/1", reflect);
    let server = Server::builder(Identity::generate()?).router(router).start().await?;
    let connection = hikyaku::connect(server.address(), server.id()).transport(Transport::Quic).await?;
    let mut exchange = connection.open("example.org/reflect/1", "").await?;
    let datagrams = exchange.datagrams();
    // Datagrams belong to an exchange, so the server has to hear of it first.
    exchange.flush().await?;

    let began = Instant::now();
    let sending = async {
        for number in 0..COUNT {
            while datagrams.send(&number.to_be_bytes()) == Err(DatagramError::Blocked) {
                tokio::task::yield_now().await;
            }
            // A little air between them: whoever sends faster than the other side reads, loses.
            if number % 16 == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    };
    let receiving = async {
        let mut received = 0;
        // Half a second of silence, and the rest is lost.
        while let Ok(datagram) = tokio::time::timeout(Duration::from_millis(500), datagrams.receive()).await {
            datagram?;
            received += 1;
            if received == COUNT {
                break;
            }
        }
        Ok::<_, hikyaku::Error>((received, began.elapsed()))
    };
    let ((), received) = tokio::join!(sending, receiving);
    let (received, time) = received?;
    let rtt = connection.rtt().unwrap_or_default();
    println!(
        "Sent: {COUNT}, received: {received}, lost: {}, in {time:.0?}; one round trip: {rtt:.0?}",
        COUNT - received
    );
    exchange.finish().await?;
    exchange.ended().await
}
