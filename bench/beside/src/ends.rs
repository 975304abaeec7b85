//! Both ends: a server that echoes, sinks, stalls and pours; a client that measures beside that.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bench_common::{Ready, Result, signal_ready};
use bytes::Bytes;
use hikyaku::{Connection, Exchange, Identity, Incoming, Router, Server, Transport};

/// Bytes handed over at once.
const BLOCK: usize = 256 * 1024;
/// Bytes of a question, and of its answer.
const QUESTION: usize = 64;
/// Between two questions: slow enough that they do not wait for each other.
const PACE: Duration = Duration::from_millis(4);
/// How long the bulk stream runs before anything is measured: it fills every buffer there is.
const WARM: Duration = Duration::from_secs(1);
/// Bulk yields to everything else.
const BULK_PRIORITY: i32 = -1;

/// What runs beside the round trips.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bulk {
    None,
    Up,
    Down,
    UpStalled,
    DownStalled,
}

impl Bulk {
    pub const ALL: [Self; 5] = [Self::None, Self::Up, Self::Down, Self::UpStalled, Self::DownStalled];

    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Up => "up",
            Self::Down => "down",
            Self::UpStalled => "up-stalled",
            Self::DownStalled => "down-stalled",
        }
    }

    pub fn description(self) -> &'static str {
        match self {
            Self::None => "nothing",
            Self::Up => "bulk to the server, full rate",
            Self::Down => "bulk to the client, full rate",
            Self::UpStalled => "bulk to the server, which does not read",
            Self::DownStalled => "bulk to the client, which does not read",
        }
    }

    pub fn named(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|bulk| bulk.name() == name).ok_or_else(|| "no such bulk".into())
    }
}

pub fn transport(name: &str) -> Result<Transport> {
    match name {
        "tcp" => Ok(Transport::Tcp),
        "quic" => Ok(Transport::Quic),
        _ => Err("a transport is tcp or quic".into()),
    }
}

pub async fn serve(address: Option<SocketAddr>) -> Result<()> {
    let router = Router::new()
        .route("echo/1", async |mut exchange: Exchange| {
            let question: Vec<u8> = exchange.receive().await?;
            exchange.reply(&question).await
        })
        .route("sink/1", async |mut exchange: Exchange| {
            while exchange.next().await?.is_some() {}
            exchange.finish().await
        })
        .route("stall/1", async |_exchange: Exchange| std::future::pending().await)
        .route("pour/1", async |mut exchange: Exchange| {
            exchange.set_priority(BULK_PRIORITY);
            let block = block();
            loop {
                exchange.send_data(block.clone()).await?;
            }
        });
    let builder = Server::builder(Identity::generate()?).router(router);
    let server = match address {
        Some(address) => builder.listen(address),
        None => builder,
    };
    let server = server.start().await?;
    signal_ready(server.address(), &server.id().to_string()).await
}

fn block() -> Bytes {
    (0..BLOCK).map(|at| at as u8).collect::<Vec<_>>().into()
}

/// Measures for so many seconds and prints: p50, p99 and the longest round trip in milliseconds, and the bulk's MB/s.
pub async fn load(transport: Transport, bulk: Bulk, ready: Ready, seconds: u64) -> Result<()> {
    let connection = hikyaku::connect(ready.address, ready.trust.parse()?).transport(transport).await?;
    let moved = Arc::new(AtomicU64::new(0));
    // It ends with the process.
    tokio::spawn(run(connection.clone(), bulk, moved.clone()));
    tokio::time::sleep(WARM).await;
    let (begun, before) = (Instant::now(), moved.load(Ordering::Relaxed));
    let question = vec![7_u8; QUESTION];
    let mut trips = Vec::new();
    let mut pace = tokio::time::interval(PACE);
    while begun.elapsed() < Duration::from_secs(seconds) {
        pace.tick().await;
        let asked = Instant::now();
        let _: Vec<u8> = connection.call("echo/1", "", &question).await?;
        trips.push(asked.elapsed().as_secs_f64() * 1e3);
    }
    let bytes = moved.load(Ordering::Relaxed) - before;
    let rate = bytes as f64 / 1e6 / begun.elapsed().as_secs_f64();
    trips.sort_by(f64::total_cmp);
    let at = |share: f64| trips[((trips.len() - 1) as f64 * share) as usize];
    println!("{} {} {} {rate}", at(0.5), at(0.99), at(1.0));
    Ok(())
}

/// The bulk stream, for ever.
async fn run(connection: Connection, bulk: Bulk, moved: Arc<AtomicU64>) -> hikyaku::Result<()> {
    let protocol = match bulk {
        Bulk::None => return Ok(()),
        Bulk::Up => "sink/1",
        Bulk::UpStalled => "stall/1",
        Bulk::Down | Bulk::DownStalled => "pour/1",
    };
    let mut exchange = connection.open(protocol, "").await?;
    match bulk {
        Bulk::Up | Bulk::UpStalled => {
            exchange.set_priority(BULK_PRIORITY);
            let block = block();
            loop {
                exchange.send_data(block.clone()).await?;
                moved.fetch_add(BLOCK as u64, Ordering::Relaxed);
            }
        }
        Bulk::Down => loop {
            if let Some(Incoming::Data(chunk)) = exchange.next().await? {
                moved.fetch_add(chunk.len() as u64, Ordering::Relaxed);
            }
        },
        Bulk::None | Bulk::DownStalled => {
            exchange.flush().await?;
            // Held, and not read.
            std::future::pending().await
        }
    }
}
