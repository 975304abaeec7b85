//! `hikyaku receive`: takes what people send to this user, as it comes, for as long as it runs.
//!
//! What was looked at is remembered for each direct room, after it was dealt with: a receiver that is started again goes
//! on where it was, and a transfer that broke goes on from its journal.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use hikyaku::{Connection, printable};
use hikyaku_accounts::AccountsClient;
use hikyaku_chat::client::{Backoff, Following, News, Position};
use hikyaku_chat::{ChatClient, Event, Follower};
use hikyaku_files::{Destination, FilesClient, FilesError, Item, Progress, escape};
use hikyaku_sqlite::client::ClientStore;
use hikyaku_wire::cbor;
use hikyaku_wire::chat::{History, Kind, Mode, Room, RoomId, UserId};
use hikyaku_wire::files::{Verdict, Wanted};
use hikyaku_wire::parcel::{EndStatus, EntryKind, EventRef, Parcel, ParcelEnd};
use serde::Serialize;

use super::blocking;
use crate::args::Global;
use crate::client::{self, Client, Patience};
use crate::event::{Drawn, bytes, card};
use crate::exit::{self, Result, Trouble};
use crate::handing;
use crate::output::{self, JSON_VERSION};
use crate::receipts::Kept;

/// How often it is looked for people who write for the first time.
const LOOK_EVERY: Duration = Duration::from_secs(15);
/// The most files of a tree that are named before it is asked about.
const MAX_LISTED: u64 = 1_000;
/// Under this name stands that this computer has received before.
const BEGUN: &str = "receive";

#[derive(Debug, Args)]
pub(crate) struct Receive {
    /// Where to
    #[arg(long, value_name = "DIR")]
    into: PathBuf,
    /// Only from these people; may be given several times
    #[arg(long, value_name = "USER")]
    from: Vec<String>,
    /// What is taken: after a question, from those of whom something was taken before, or everything
    #[arg(long, value_enum, default_value = "ask")]
    accept: Accept,
    /// At the first start, also what was sent before
    #[arg(long)]
    earlier: bool,
    /// One JSON object for each
    #[arg(long)]
    json: bool,
}

/// What is taken without a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Accept {
    Ask,
    Known,
    All,
}

#[derive(Serialize)]
struct JsonReceived {
    v: u32,
    r#type: &'static str,
    from: String,
    reference: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    root: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl Receive {
    pub(crate) async fn run(self, global: &Global) -> Result {
        let client = Client::of(global, None)?;
        if !self.into.is_dir() {
            let missing = std::io::Error::from(std::io::ErrorKind::NotFound);
            return Err(exit::io(self.into.display(), &missing).hint("--into names a directory that exists"));
        }
        if self.accept == Accept::Ask && !output::is_typed() {
            return Err(Trouble::usage(
                "there is nobody to ask: --accept known or --accept all says what is taken",
            ));
        }
        let connection = client.connected().await?;
        let me = AccountsClient::new(connection.clone()).whoami().await?.id;
        let me = UserId(me.map_or([0; 16], |me| me.0));
        // What an earlier one could not give any more.
        handing::settle(&client, &FilesClient::new(connection.clone())).await?;
        let store = client.server.store()?;
        let following = Following::start(Follower::new(), Backoff::default(), {
            let client = client.clone();
            move || {
                let client = client.clone();
                async move { client.connect().await }
            }
        });
        let connection = Some(connection);
        let (client, followed) = (client.for_bulk(), HashSet::new());
        Receiver { ask: self, client, connection, me, store, following, followed }.stay().await
    }
}

struct Receiver {
    ask: Receive,
    client: Client,
    connection: Option<Connection>,
    me: UserId,
    store: ClientStore,
    following: Following,
    followed: HashSet<RoomId>,
}

/// One parcel that has arrived at the server.
struct Arrived {
    reference: EventRef,
    from: String,
    sender: UserId,
    card: String,
    is_tree: bool,
}

impl Receiver {
    async fn stay(mut self) -> Result {
        let mut backoff = client::Backoff::new();
        let mut begun = false;
        loop {
            match self.look().await {
                Ok(()) => {
                    backoff = client::Backoff::new();
                    if !std::mem::replace(&mut begun, true) {
                        let (into, from) = (self.ask.into.display(), self.client.name());
                        output::note(format_args!(
                            "receiving into {into} what people on {from} send; Ctrl-C ends it"
                        ));
                    }
                }
                Err(Pass::Again(error)) => {
                    tracing::debug!(%error, "looking again");
                    self.connection = None;
                    backoff.wait(None).await;
                    continue;
                }
                Err(Pass::Trouble(trouble)) => return Err(trouble),
            }
            let until = Instant::now() + LOOK_EVERY;
            // Whatever is said in a direct room is a reason to look; so is time.
            loop {
                match tokio::time::timeout_at(until.into(), self.following.next()).await {
                    Ok(Some(Ok(News::Head(_)))) | Err(_) => break,
                    Ok(Some(Ok(_))) => {}
                    Ok(Some(Err(error))) => return Err(error.into()),
                    Ok(None) => return Ok(()),
                }
            }
        }
    }

    /// Deals with everything that is new in every direct room.
    async fn look(&mut self) -> std::result::Result<(), Pass> {
        let connection = match &self.connection {
            Some(connection) if !connection.is_closed() => connection.clone(),
            _ => {
                let connection = self.connection.insert(self.client.connect().await?).clone();
                handing::settle(&self.client, &FilesClient::new(connection.clone())).await?;
                connection
            }
        };
        let chat = ChatClient::new(connection);
        let first = self.store.meta(BEGUN)?.is_none();
        for room in chat.rooms().await? {
            let Some(person) = room.name.strip_prefix('@') else { continue };
            let mut wanted = self.ask.from.iter().map(|from| from.strip_prefix('@').unwrap_or(from));
            if !self.ask.from.is_empty() && !wanted.any(|from| from == person) {
                continue;
            }
            let from = match self.place(&room)? {
                Some(next) => next,
                None if first && !self.ask.earlier => room.head.last + 1,
                None => 1,
            };
            self.take_from(&chat, &room, from).await?;
            // The head that answers is a reason to look again: nothing falls between.
            if self.followed.insert(room.head.room) {
                self.following.follow(room.head.room, Position::END, Mode::Heads);
            }
        }
        self.store.change(|changes| changes.set_meta(BEGUN, Some(b"1")))?;
        Ok(())
    }

    async fn take_from(
        &mut self,
        chat: &ChatClient,
        room: &Room,
        from: u64,
    ) -> std::result::Result<(), Pass> {
        let mut next = from.max(room.head.first);
        while next <= room.head.last {
            let page = chat.history(&history(room.head.room, next, None)).await?;
            if page.records.is_empty() || page.first < next {
                break;
            }
            next = page.first;
            for record in page.records.iter() {
                if let Some(arrived) = self.arrived(chat, room, &record).await? {
                    self.deal(arrived).await?;
                }
                next += 1;
                self.remember(room, next)?;
            }
        }
        self.remember(room, next)
    }

    /// The parcel of which this event says that it is whole, if somebody else has sent it.
    async fn arrived(
        &self,
        chat: &ChatClient,
        room: &Room,
        record: &[u8],
    ) -> std::result::Result<Option<Arrived>, Pass> {
        let Ok(event) = Event::from_record(record) else { return Ok(None) };
        let Some(end) = of_kind::<ParcelEnd>(&event, Kind::PARCEL_END) else { return Ok(None) };
        if end.status != EndStatus::Settled || event.envelope.author == self.me {
            return Ok(None);
        }
        let page = chat.history(&history(room.head.room, end.parcel, Some(1))).await?;
        let begun = page.records.iter().next().filter(|_| page.first == end.parcel);
        let begun = begun.and_then(|record| Event::from_record(&record).ok());
        let Some(parcel) = begun.as_ref().and_then(|event| of_kind::<Parcel>(event, Kind::PARCEL)) else {
            return Ok(None);
        };
        //= S5.76
        if parcel.device.as_ref().is_some_and(|device| device.id.0 != *self.client.identity().id().as_bytes())
        {
            return Ok(None);
        }
        let epoch = Some(room.head.epoch);
        Ok(Some(Arrived {
            reference: EventRef { room: room.name.clone(), epoch, seq: end.parcel },
            from: event.envelope.name.clone(),
            sender: event.envelope.author,
            card: card(&parcel, Some(&end), None, Drawn::No),
            is_tree: parcel.kind == EntryKind::Tree,
        }))
    }

    /// Takes a parcel, or leaves it.
    async fn deal(&mut self, arrived: Arrived) -> std::result::Result<(), Pass> {
        let place = format!("{}:{}", printable(&arrived.reference.room), arrived.reference.seq);
        let known = format!("{BEGUN}/from/{}", arrived.sender);
        let accepted = match self.ask.accept {
            Accept::All => true,
            Accept::Known if self.store.meta(&known)?.is_some() => true,
            _ if output::is_typed() => {
                if arrived.is_tree {
                    self.list(&arrived.reference).await?;
                }
                asked(&arrived).await?
            }
            _ => false,
        };
        if !accepted {
            output::note(format_args!(
                "left: {} from {}; 'hikyaku get {place}' takes it",
                arrived.card,
                printable(&arrived.from)
            ));
            return Ok(());
        }
        self.store.change(|changes| changes.set_meta(&known, Some(b"1")))?;
        let json = JsonReceived {
            v: JSON_VERSION,
            r#type: "received",
            from: arrived.from.clone(),
            reference: place.clone(),
            path: None,
            root: None,
            bytes: None,
            error: None,
        };
        let told = match self.fetch(&arrived.reference).await {
            Ok(fetched) => {
                self.keep(&fetched, &place)?;
                let path = self.ask.into.join(fetched.name.as_os_str());
                let path = printable(&path.to_string_lossy()).to_string();
                let (size, root) = (fetched.receipt.size, fetched.receipt.root.to_string());
                if !self.ask.json {
                    output::line(format_args!("{path}  {}  from {}", bytes(size), printable(&arrived.from)))?;
                }
                JsonReceived { path: Some(path), root: Some(root), bytes: Some(size), ..json }
            }
            Err(error) if error.is_retryable() => return Err(Pass::Again(error.to_string())),
            // One that cannot be taken does not hold up the others.
            Err(error) => {
                output::note(format_args!("{place} was not taken: {error}"));
                JsonReceived { error: Some(error.to_string()), ..json }
            }
        };
        if self.ask.json {
            output::json(&told)?;
        }
        Ok(())
    }

    /// Keeps the receipt of what lies here as a whole, for `verify`; says of the rest that it does not.
    fn keep(&mut self, fetched: &hikyaku_files::Fetched, place: &str) -> Result {
        let missing = fetched.report.as_ref().map_or(0, |report| report.missing_count);
        if missing > 0 {
            output::note(format_args!("{place}: {missing} things are not here as they were sent"));
        }
        if fetched.report.as_ref().is_some_and(|report| missing > 0 || report.tops != 1) {
            return Ok(());
        }
        let path = self.ask.into.join(fetched.name.as_os_str());
        let path = std::path::absolute(&path).map_err(|error| exit::io(path.display(), &error))?;
        let root = fetched.receipt.root.to_string();
        Kept::new(&path, root, Some(place.to_owned()), false).keep(&mut self.store)
    }

    /// Tells what a tree has, file by file, before anything of it is taken.
    async fn list(&self, reference: &EventRef) -> std::result::Result<(), Pass> {
        let connection = self.client.connect().await?;
        let (wanted, destination) = (Wanted::Event(reference.clone()), Destination::new(&self.ask.into));
        let (mut count, mut sum) = (0_u64, 0_u64);
        let tell = |item: Item| {
            (count, sum) = (count + 1, sum.saturating_add(item.size));
            if count <= MAX_LISTED {
                let note = match item.verdict {
                    Verdict::SAME => "  (it is there)",
                    Verdict::TAKEN => "  (something has its name and stays)",
                    _ => "",
                };
                output::note(format_args!("  {}  {}{note}", escape(&item.path), bytes(item.size)));
            }
        };
        let listed = FilesClient::new(connection.clone()).preview_parcel(&wanted, &destination, tell).await;
        connection.close().await;
        match listed {
            Ok(_) => {
                let more = count.saturating_sub(MAX_LISTED);
                let more = if more > 0 { format!("  … and {more} more: ") } else { "  ".to_owned() };
                output::note(format_args!("{more}{count} files, {}", bytes(sum)));
                Ok(())
            }
            Err(error) if error.is_retryable() => Err(Pass::Again(error.to_string())),
            Err(error) => {
                output::note(format_args!("  what is in it cannot be said: {error}"));
                Ok(())
            }
        }
    }

    async fn fetch(&self, reference: &EventRef) -> std::result::Result<hikyaku_files::Fetched, FilesError> {
        let (progress, moments) = Progress::new();
        let (wanted, destination) = (Wanted::Event(reference.clone()), Destination::new(&self.ask.into));
        let mut patience = Patience::new();
        let attempt = async {
            let connection = self.client.connect().await?;
            let fetched = handing::fetch(&self.client, &connection, &wanted, &destination, &progress).await?;
            connection.close().await;
            Ok(fetched)
        };
        patience.attempt(moments, attempt).await
    }

    /// The first event of a room that was not dealt with.
    fn place(&self, room: &Room) -> std::result::Result<Option<u64>, Pass> {
        let found = self.store.meta(&place_of(room))?;
        Ok(found.and_then(|bytes| bytes.as_ref().try_into().ok()).map(u64::from_be_bytes))
    }

    fn remember(&mut self, room: &Room, next: u64) -> std::result::Result<(), Pass> {
        self.store.change(|changes| changes.set_meta(&place_of(room), Some(&next.to_be_bytes())))?;
        Ok(())
    }
}

/// Where it stands how far a room was dealt with, in its epoch.
fn place_of(room: &Room) -> String {
    format!("{BEGUN}/{}/{}", room.head.room, room.head.epoch)
}

fn history(room: RoomId, from: u64, limit: Option<u32>) -> History {
    History { room: room.into(), from: Some(from), since_ms: None, limit, chain: false }
}

fn of_kind<T: for<'b> minicbor::Decode<'b, ()>>(event: &Event, kind: Kind) -> Option<T> {
    let body = event.body.as_ref().filter(|_| event.envelope.kind == kind)?;
    cbor::decode(body, &cbor::Limits::default()).ok()
}

async fn asked(arrived: &Arrived) -> Result<bool> {
    output::note(format_args!("{} sends {}: take it? [y/N]", printable(&arrived.from), arrived.card));
    blocking(|| {
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer).map_err(|error| exit::io("standard input", &error))?;
        Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
    })
    .await
}

/// Why a look at the rooms ended early.
enum Pass {
    /// Another may go further.
    Again(String),
    /// None will.
    Trouble(Trouble),
}

impl From<hikyaku::Error> for Pass {
    fn from(error: hikyaku::Error) -> Self {
        if error.is_retryable() { Self::Again(error.to_string()) } else { Self::Trouble(error.into()) }
    }
}

impl From<Trouble> for Pass {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

impl From<hikyaku_sqlite::client::ClientError> for Pass {
    fn from(error: hikyaku_sqlite::client::ClientError) -> Self {
        Self::Trouble(error.into())
    }
}
