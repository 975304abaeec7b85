//! `hikyaku tour`: everything once, for real, in a minute: a server, two clients over two transports, a conversation,
//! datagrams, a file. It lives in a temporary directory and leaves nothing behind.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use hikyaku::{DatagramError, Transport};
use hikyaku_accounts::{AccountsClient, InviteLink};
use hikyaku_chat::client::{Backoff, Follower, Following, News, Position, message};
use hikyaku_chat::{ChatClient, RoomName};
use hikyaku_files::{Destination, FilesClient, Outgoing, Progress};
use hikyaku_wire::accounts::CreateInvite;
use hikyaku_wire::chat::{Mode, RoomId};
use hikyaku_wire::files::{Target, Wanted};

use super::{blocking, join, random};
use crate::client::Client;
use crate::event::{self, Shown};
use crate::exit::{self, Exit, Result, Trouble};
use crate::home::Home;
use crate::output;
use crate::seeing::Seeing;
use crate::server::{Config, Running, echo};

/// The size of the file that is sent and fetched.
const FILE_SIZE: usize = 256 * 1024 * 1024;
/// Datagrams sent.
const DATAGRAMS: u16 = 1000;
/// Bytes in each: a short message.
const DATAGRAM_SIZE: usize = 64;
/// How long after the last datagram a late one still counts.
const STRAGGLERS: Duration = Duration::from_millis(500);
/// How long anything else may take before the tour says that something is wrong.
const PATIENCE: Duration = Duration::from_secs(120);

#[derive(Debug, Args)]
pub(crate) struct Tour {}

impl Tour {
    pub(crate) async fn run(self) -> Result {
        let place = Place::make()?;
        let done = tokio::time::timeout(PATIENCE, tour(&place.0)).await;
        done.unwrap_or_else(|_| {
            Err(Trouble::new(
                Exit::TimeoutOrLimit,
                format!("the tour took longer than {} s", PATIENCE.as_secs()),
            ))
        })
    }
}

async fn tour(place: &Path) -> Result {
    heading("A server")?;
    let config = Config {
        room_quotas: crate::server::RoomQuotas::default(),
        data: place.join("server"),
        listen: vec![std::net::SocketAddr::from(([127, 0, 0, 1], 0))],
        advertise: Vec::new(),
        distinct: None,
        quotas: hikyaku_files::Quotas::default(),
        pause_timeout: None,
        prints: true,
        sweep_every: None,
        into: None,
        name: "tour".to_owned(),
        seeing: Seeing::default(),
    };
    let running = Running::start(config).await?;
    output::line(format_args!("  listens on {}, TCP and UDP alike", running.address()))?;
    output::line(format_args!("  host key {}", running.id()))?;
    let invite = running
        .first_invite()
        .await?
        .ok_or_else(|| Trouble::new(Exit::Failed, "a new server has an owner"))?;

    heading("Two clients")?;
    let ana = enrol(&place.join("ana"), &invite, "ana", Transport::Tcp).await?;
    let connection = ana.connected().await?;
    let invite = AccountsClient::new(connection).create_invite(&CreateInvite::default(), &[]).await?;
    let ben = enrol(&place.join("ben"), &invite, "ben", Transport::Quic).await?;

    heading("A conversation in #tour")?;
    let room = converse(&ana, &ben).await?;
    heading(&format!("{DATAGRAMS} short messages as datagrams over UDP"))?;
    datagrams(&ben).await?;
    heading(&format!("A file of {}", event::bytes(FILE_SIZE as u64)))?;
    parcel(place, &ana, &ben, &room).await?;

    running.drain(Duration::from_secs(5)).await;
    output::line("")?;
    output::line("That was all of it. Yours begins with 'hikyaku serve' here and 'hikyaku join' elsewhere.")
}

async fn enrol(home: &Path, invite: &InviteLink, name: &str, transport: Transport) -> Result<Client> {
    let begun = Instant::now();
    let (server, welcome) =
        join::join(&Home::at(home), invite, name, "tour", transport, &Seeing::default()).await?;
    let client = Client::new(server, transport)?;
    let connection = client.connected().await?;
    output::line(format_args!(
        "  {} enrolled and connected over {} in {} ms ({})",
        welcome.user,
        connection.transport(),
        begun.elapsed().as_millis(),
        welcome.roles.join(", ")
    ))?;
    connection.close().await;
    Ok(client)
}

/// Both say something, and both see both, each acknowledged only when durable.
async fn converse(ana: &Client, ben: &Client) -> Result<RoomName> {
    let name = RoomName::parse("tour").map_err(|error| Trouble::new(Exit::Failed, error.to_string()))?;
    let chat_of_ana = ChatClient::new(ana.connected().await?);
    let chat_of_ben = ChatClient::new(ben.connected().await?);
    let room = chat_of_ana.create_room(RoomId(random()?), name.as_str(), Some("letters and parcels")).await?;
    let room = room.room.head.room;
    let (mut seen_by_ana, mut seen_by_ben) = (follow(ana, room), follow(ben, room));
    let lines = [
        (&chat_of_ana, "Hello Ben, this goes over TCP."),
        (&chat_of_ben, "Hello Ana, and this over QUIC. One protocol."),
        (&chat_of_ana, "What is acknowledged is on disk."),
        (&chat_of_ben, "And everybody sees it once, in one order."),
    ];
    let mut acknowledged = Vec::new();
    for (chat, text) in lines {
        let begun = Instant::now();
        let message = message(room, text).map_err(|error| Trouble::new(Exit::Failed, error.to_string()))?;
        chat.send(&message).await?;
        acknowledged.push(begun.elapsed());
    }
    let last = 1 + lines.len() as u64;
    for (who, seen) in [("ana", &mut seen_by_ana), ("ben", &mut seen_by_ben)] {
        output::line(format_args!("  {who} sees"))?;
        show_until(&name, seen, last).await?;
    }
    let mean = acknowledged.iter().sum::<Duration>() / u32::try_from(acknowledged.len()).unwrap_or(1);
    output::line(format_args!("  acknowledged, durable, after {:.1} ms each", mean.as_secs_f64() * 1000.0))?;
    Ok(name)
}

fn follow(client: &Client, room: RoomId) -> Following {
    let mut follower = Follower::new();
    follower.follow(room, Position::START, Mode::Live);
    let client = client.clone();
    Following::start(follower, Backoff::default(), move || {
        let client = client.clone();
        async move { client.connect().await }
    })
}

async fn show_until(name: &RoomName, seen: &mut Following, last: u64) -> Result {
    while let Some(news) = seen.next().await {
        if let News::Event(delivery) = news? {
            output::line(format_args!("    {}", Shown::delivered(name.as_str(), &delivery).short_line()))?;
            if delivery.seq >= last {
                return Ok(());
            }
        }
    }
    Err(Trouble::new(Exit::Failed, "the room went silent"))
}

/// Each datagram carries its number and comes back from the server; what does not is lost.
async fn datagrams(client: &Client) -> Result {
    let connection = client.connected().await?;
    let mut exchange = connection.open(echo::PROTOCOL, "").await?;
    let datagrams = exchange.datagrams();
    exchange.flush().await?;
    let receiving = datagrams.clone();
    let epoch = Instant::now();
    let listening = tokio::spawn(async move {
        let mut arrivals = vec![None; usize::from(DATAGRAMS)];
        let mut left = arrivals.len();
        while left > 0 {
            let Ok(Ok(payload)) = tokio::time::timeout(STRAGGLERS, receiving.receive()).await else { break };
            let number = payload.get(..2).and_then(|bytes| bytes.try_into().ok()).map(u16::from_be_bytes);
            if let Some(slot @ None) = number.and_then(|number| arrivals.get_mut(usize::from(number))) {
                *slot = Some(epoch.elapsed());
                left -= 1;
            }
        }
        arrivals
    });
    let mut departures = Vec::with_capacity(usize::from(DATAGRAMS));
    for number in 0..DATAGRAMS {
        let mut payload = [0; DATAGRAM_SIZE];
        payload[..2].copy_from_slice(&number.to_be_bytes());
        departures.push(epoch.elapsed());
        while let Err(DatagramError::Blocked) = datagrams.send(&payload) {
            tokio::task::yield_now().await;
        }
        // A steady stream, not a burst that a socket buffer would have to swallow.
        tokio::time::sleep(Duration::from_micros(200)).await;
    }
    let arrivals = listening.await.map_err(|error| Trouble::new(Exit::Failed, error.to_string()))?;
    let mut round_trips: Vec<Duration> = departures
        .iter()
        .zip(&arrivals)
        .filter_map(|(sent, back)| Some((*back)?.saturating_sub(*sent)))
        .collect();
    round_trips.sort_unstable();
    let received = round_trips.len();
    let at = |permille: usize| {
        let index = (received * permille / 1000).min(received.saturating_sub(1));
        round_trips.get(index).map_or(0.0, |rtt| rtt.as_secs_f64() * 1e6)
    };
    output::line(format_args!(
        "  received {received}, lost {}; round trip {:.0} µs (median), {:.0} µs (p99), over {}",
        arrivals.len() - received,
        at(500),
        at(990),
        connection.transport()
    ))?;
    connection.close().await;
    Ok(())
}

/// Ana sends into the room over TCP, Ben fetches over QUIC; both roots are the same.
async fn parcel(place: &Path, ana: &Client, ben: &Client, room: &RoomName) -> Result {
    let source = place.join("parcel.bin");
    let path = source.clone();
    blocking(move || make_file(&path)).await?;
    let target = Target::Room(room.as_str().to_owned());
    let outgoing = Outgoing::new(&source, None, target)?;

    let connection = ana.connected().await?;
    let begun = Instant::now();
    let receipt = FilesClient::new(connection.clone()).send_file(&outgoing, &Progress::none()).await?;
    rate("ana sent it", &connection.transport().to_string(), begun.elapsed())?;
    connection.close().await;
    let event = receipt.event.ok_or_else(|| Trouble::new(Exit::Failed, "the receipt names no event"))?;

    let into = place.join("fetched");
    std::fs::create_dir(&into).map_err(|error| exit::io(into.display(), &error))?;
    let connection = ben.connected().await?;
    let begun = Instant::now();
    let files = FilesClient::new(connection.clone());
    let fetched =
        files.get_file(&Wanted::Event(event.clone()), &Destination::new(&into), &Progress::none()).await?;
    rate("ben fetched it", &connection.transport().to_string(), begun.elapsed())?;
    connection.close().await;
    if fetched.receipt.root != receipt.root {
        return Err(Trouble::new(Exit::Corrupt, "the two ends have different files"));
    }
    output::line(format_args!(
        "  #{}:{}, verified at both ends: BLAKE3 {}",
        event.room, event.seq, receipt.root
    ))
}

fn rate(what: &str, transport: &str, took: Duration) -> Result {
    let seconds = took.as_secs_f64();
    let mib = FILE_SIZE as f64 / (1024.0 * 1024.0) / seconds;
    output::line(format_args!(
        "  {what} over {transport} in {seconds:.2} s: {mib:.0} MiB/s, encrypted, verified, synced to disk"
    ))
}

/// Bytes that no compression and no deduplication makes smaller.
fn make_file(path: &Path) -> Result {
    let trouble = |error| exit::io(path.display(), &error);
    let mut file = File::create(path).map_err(trouble)?;
    let (seed, mut block) = (random::<8>()?, vec![0_u8; 1024 * 1024]);
    let mut state = u64::from_be_bytes(seed) | 1;
    for _ in 0..FILE_SIZE / block.len() {
        for word in block.chunks_exact_mut(8) {
            // xorshift64: fast, and random enough for a file that only has to be incompressible.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            word.copy_from_slice(&state.to_le_bytes());
        }
        file.write_all(&block).map_err(trouble)?;
    }
    Ok(())
}

fn heading(text: &str) -> Result {
    output::line(format_args!("\n{text}"))
}

/// A temporary directory that goes away with the tour.
struct Place(PathBuf);

impl Place {
    fn make() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("hikyaku-tour-{}", std::process::id()));
        let made = std::fs::create_dir(&path);
        made.map_err(|error| {
            exit::io(path.display(), &error).hint("TMPDIR names another directory for temporary files")
        })?;
        Ok(Self(path))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            eprintln!("hikyaku: {} is left behind: {error}", self.0.display());
        }
    }
}
