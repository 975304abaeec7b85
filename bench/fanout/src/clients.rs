//! Clients: connecting many, following a room with every event read, sending with a time stamp.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bench_common::{Ready, Result};
use hikyaku::{Connection, Identity, Transport};
use hikyaku_chat::client::{News, Position, Sync, message};
use hikyaku_chat::wire::{Mode, RoomId, Send};
use hikyaku_chat::{ChatClient, Follower};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;

use crate::stats::{Clock, latency};

/// Bytes of a message.
pub const BODY: usize = 64;
/// Connections being made at once.
const AT_ONCE: usize = 64;
/// How often a client tries to connect.
const ATTEMPTS: u32 = 5;

/// What all clients share.
pub struct Shared {
    pub clock: Clock,
    /// Events that arrived.
    pub delivered: AtomicU64,
    /// Updates in which they did.
    pub updates: AtomicU64,
    /// One in so many events is decoded; the others count once the follower has put them in their place.
    pub decoded: AtomicU64,
    /// Clients that failed.
    pub broken: AtomicU64,
    /// The number of deliveries that the author waits for.
    wanted: AtomicU64,
    wake: Notify,
}

impl Shared {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            clock: Clock::start(),
            delivered: AtomicU64::new(0),
            updates: AtomicU64::new(0),
            decoded: AtomicU64::new(1),
            broken: AtomicU64::new(0),
            wanted: AtomicU64::new(u64::MAX),
            wake: Notify::new(),
        })
    }

    fn arrived(&self, count: u64) {
        self.updates.fetch_add(1, Ordering::Relaxed);
        let delivered = self.delivered.fetch_add(count, Ordering::Relaxed) + count;
        if delivered >= self.wanted.load(Ordering::Relaxed) {
            self.wanted.store(u64::MAX, Ordering::Relaxed);
            self.wake.notify_waiters();
        }
    }

    /// Waits for so many deliveries in all.
    pub async fn reach(&self, count: u64) {
        loop {
            let woken = self.wake.notified();
            self.wanted.store(count, Ordering::Relaxed);
            if self.delivered.load(Ordering::Relaxed) >= count {
                self.wanted.store(u64::MAX, Ordering::Relaxed);
                return;
            }
            woken.await;
        }
    }

    /// Waits for so many, but no longer than some time without any progress.
    pub async fn settle(&self, count: u64) {
        let (mut last, mut since) = (0, self.clock.now());
        while last < count && self.clock.now() - since < 10_000_000_000 {
            tokio::time::sleep(Duration::from_millis(2)).await;
            let now = self.delivered.load(Ordering::Relaxed);
            if now != last {
                (last, since) = (now, self.clock.now());
            }
        }
    }
}

/// Connects `count` clients, all with one identity.
pub async fn connect(
    ready: &Ready,
    count: usize,
    transport: Transport,
    limits: hikyaku::Limits,
) -> Result<Vec<Connection>> {
    let (gate, identity) = (Arc::new(Semaphore::new(AT_ONCE)), Identity::generate()?);
    let mut tasks: JoinSet<Result<Connection>> = JoinSet::new();
    for _ in 0..count {
        let (gate, identity, ready, limits) = (gate.clone(), identity.clone(), ready.clone(), limits.clone());
        tasks.spawn(async move {
            let _place = gate.acquire().await?;
            let mut attempts = 1;
            loop {
                let connecting = hikyaku::connect(ready.address, ready.trust.parse()?).identity(&identity);
                let connecting = connecting.transport(transport).limits(limits.clone());
                match connecting.timeout(Duration::from_secs(60)).await {
                    Ok(connection) => return Ok(connection),
                    // One in ten thousand who comes too late, as on a busy machine, does not spoil the figure.
                    Err(error) if attempts == ATTEMPTS => return Err(error.into()),
                    Err(_) => attempts += 1,
                }
            }
        });
    }
    let mut all = Vec::with_capacity(count);
    while let Some(connected) = tasks.join_next().await {
        all.push(connected??);
    }
    Ok(all)
}

/// The room of a number; made if it is not there.
pub async fn room(chat: &ChatClient, number: usize) -> Result<RoomId> {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&(number as u64 + 1).to_be_bytes());
    Ok(chat.create_room(RoomId(id), &format!("room-{number}"), None).await?.room.head.room)
}

/// A reader of one room.
pub struct Reader {
    _connection: Connection,
    sync: Sync,
    follower: Follower,
    room: RoomId,
}

impl Reader {
    /// Follows from a position on, and waits until the reader has everything.
    pub async fn follow(connection: Connection, room: RoomId, from: Position) -> Result<Self> {
        let mut reader = Self::start(connection, room, from).await?;
        while !reader.next().await?.iter().any(|news| matches!(news, News::Live { .. })) {}
        Ok(reader)
    }

    /// Follows from a position on.
    pub async fn start(connection: Connection, room: RoomId, from: Position) -> Result<Self> {
        let sync = ChatClient::new(connection.clone()).sync().await?;
        let mut follower = Follower::new();
        follower.follow(room, from, Mode::Live);
        let mut reader = Self { _connection: connection, sync, follower, room };
        reader.ask().await?;
        Ok(reader)
    }

    async fn ask(&mut self) -> Result<()> {
        while let Some(wish) = self.follower.wishes() {
            self.sync.sender.follow(&wish).await?;
        }
        Ok(())
    }

    async fn next(&mut self) -> Result<Vec<News>> {
        let update = self.sync.receiver.next().await?.ok_or("the server ended the exchange")?;
        let news = self.follower.update(update);
        if self.follower.has_wishes() {
            return Err("an event was missing".into());
        }
        Ok(news)
    }

    /// Takes in the next update; every event is read and counted.
    pub async fn read(&mut self, shared: &Shared) -> Result<()> {
        let news = self.next().await?;
        let (mut count, now, every) = (0, shared.clock.now(), shared.decoded.load(Ordering::Relaxed));
        for news in news {
            if let News::Event(delivery) = news {
                count += 1;
                if delivery.seq % every != 0 {
                    continue;
                }
                let body = delivery.view()?.body.ok_or("an event without a body")?;
                latency(stamp(body).ok_or("a message without a time stamp")?, now);
            }
        }
        if count > 0 {
            shared.arrived(count);
        }
        Ok(())
    }

    /// Where it stands.
    pub fn position(&self) -> Position {
        self.follower.position(&self.room).unwrap_or(Position::START)
    }

    /// Reads for ever; a failure is counted.
    pub async fn run(mut self, shared: Arc<Shared>) {
        if let Err(error) = self.read_on(&shared).await
            && shared.broken.fetch_add(1, Ordering::Relaxed) == 0
        {
            eprintln!("the first broken client: {error}");
        }
    }

    async fn read_on(&mut self, shared: &Shared) -> Result<()> {
        loop {
            self.read(shared).await?;
        }
    }
}

/// A message of [`BODY`] bytes that carries a time.
pub fn stamped(room: RoomId, at: u64) -> Result<Send> {
    Ok(message(room, format!("{at:016x}{:x<1$}", "", BODY - 16))?)
}

fn stamp(body: &[u8]) -> Option<u64> {
    u64::from_str_radix(std::str::from_utf8(body.get(..16)?).ok()?, 16).ok()
}
