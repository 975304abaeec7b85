//! The client of a run: it sends, follows, breaks its own connections, and writes down everything in a journal that
//! outlives it. `chat-client` is nothing but this.
//!
//! It is told what to do on standard input (`quiet`: send no more; `loud`: send again; `until ROOM SEQ …`: end once these
//! are here) and says on standard output how far it is (`acked`, `at ROOM SEQ`, `broken`, `quiet`, `loud`).

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hikyaku::{Connection, ErrorCode, Identity, KeyId, Transport};
use hikyaku_chat::client::{Backoff, Follower, Following, News, Position, message};
use hikyaku_chat::{ChatClient, Event as ChatEvent};
use hikyaku_wire::chat::{MessageId, Mode, RoomId, Send};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};

use crate::history::{Event, Journal, Line, What};
use crate::plan::Random;

/// The longest one send may wait for its answer.
const ATTEMPT: Duration = Duration::from_secs(10);
/// How many of its messages a client may say again.
const REMEMBERED: usize = 24;

/// What a client is started with, as JSON in its only argument.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Options {
    /// The home of `hikyaku join`: the server's addresses, its key, the device's key.
    pub home: PathBuf,
    /// Where to write.
    pub journal: PathBuf,
    /// The rooms: names and ids in hexadecimal.
    pub rooms: Vec<(String, String)>,
    /// Whether to begin with QUIC; every connection after the first goes over either.
    pub quic: bool,
    /// One of so many sends breaks the connection, at a random moment.
    pub breaks: u64,
    /// The longest pause between sends, in milliseconds.
    pub pause_ms: u64,
    /// Where randomness begins.
    pub seed: u64,
    /// A client that is wrong on purpose: what it has shown it notes only later, and elsewhere.
    pub late_cursor: bool,
}

/// A client's outcome: an error is one sentence.
pub type Result<T = ()> = std::result::Result<T, String>;

/// Runs until it was told to end and has everything, or can never connect again.
pub async fn run(options: Options) -> Result {
    let (mut journal, lines) = Journal::open(&options.journal).map_err(|error| error.to_string())?;
    journal.write(What::Start).map_err(|error| error.to_string())?;
    let past = Past::of(&lines, &options);
    let (connection, connections) = watch::channel(None);
    let app = Arc::new(App {
        journal: Mutex::new(journal),
        quiet: watch::Sender::new(false),
        rooms: rooms(&options)?,
        cursors: Mutex::new(past.cursors.clone()),
        late: options.late_cursor.then(|| late_cursors(&options.journal)),
    });
    let connect = Connect::new(&options, connection)?;
    let mut follower = Follower::new();
    for (name, room) in &app.rooms {
        let at = past.cursors.get(name).copied().unwrap_or(0);
        say(format_args!("at {name} {at}"));
        let next = at + 1;
        let epoch = if next > 1 { past.epoch } else { 0 };
        follower.follow(*room, Position { epoch, next }, Mode::Live);
    }
    let backoff = Backoff { first: Duration::from_millis(20), most: Duration::from_secs(1) };
    let following = Following::start(follower, backoff, move || connect.clone().connect());
    let random = Random::new(options.seed);
    let sender =
        Sender { app: app.clone(), options: options.clone(), connections, random, acked: VecDeque::new() };
    let sending = tokio::spawn(sender.run(past.pending, past.sent));
    let outcome = follow(&app, following, orders(&app)).await;
    sending.abort();
    outcome
}

fn rooms(options: &Options) -> Result<Vec<(String, RoomId)>> {
    let id = |hex: &str| {
        let bytes = (0..16).map(|at| u8::from_str_radix(hex.get(2 * at..2 * at + 2)?, 16).ok());
        let bytes: Option<Vec<u8>> = bytes.collect();
        bytes.and_then(|bytes| bytes.try_into().ok()).map(RoomId)
    };
    let rooms = options.rooms.iter().map(|(name, hex)| Some((name.clone(), id(hex)?)));
    rooms.collect::<Option<_>>().ok_or_else(|| "a room's id is not 32 hexadecimal digits".to_owned())
}

/// What an earlier process of this client left.
struct Past {
    cursors: BTreeMap<String, u64>,
    epoch: u32,
    /// Sent, and no answer came.
    pending: Option<(String, String, String)>,
    sent: u64,
}

impl Past {
    fn of(lines: &[Line], options: &Options) -> Self {
        let mut past = Self { cursors: BTreeMap::new(), epoch: 1, pending: None, sent: 0 };
        for line in lines {
            match &line.what {
                What::Deliver(event) => {
                    past.cursors.insert(event.room.clone(), event.seq);
                    past.epoch = event.epoch;
                }
                What::Invoke { room, id, text } => {
                    past.sent += 1;
                    past.pending = Some((room.clone(), id.clone(), text.clone()));
                }
                What::Ack { .. } | What::Unknown { .. } | What::Refused { .. } => past.pending = None,
                _ => {}
            }
        }
        if options.late_cursor {
            let noted = std::fs::read(late_cursors(&options.journal)).unwrap_or_default();
            past.cursors = serde_json::from_slice(&noted).unwrap_or_default();
        }
        past
    }
}

fn late_cursors(journal: &Path) -> PathBuf {
    journal.with_extension("cursors")
}

/// What the tasks share.
struct App {
    journal: Mutex<Journal>,
    quiet: watch::Sender<bool>,
    rooms: Vec<(String, RoomId)>,
    cursors: Mutex<BTreeMap<String, u64>>,
    late: Option<PathBuf>,
}

impl App {
    fn write(&self, what: What) {
        let written = self.journal.lock().unwrap_or_else(PoisonError::into_inner).write(what);
        // A client that cannot write down what it sees is of no use, and must not be believed.
        if let Err(error) = written {
            eprintln!("chat-client: {error}");
            std::process::exit(1);
        }
    }

    fn deliver(&self, event: Event) {
        say(format_args!("at {} {}", event.room, event.seq));
        let mut cursors = self.cursors.lock().unwrap_or_else(PoisonError::into_inner);
        cursors.insert(event.room.clone(), event.seq);
        let seq = event.seq;
        self.write(What::Deliver(event));
        if let Some(path) = &self.late
            && seq.is_multiple_of(16)
        {
            let _ = std::fs::write(path, serde_json::to_vec(&*cursors).unwrap_or_default());
        }
    }

    /// Whether every room is as far as this.
    fn has(&self, goal: &BTreeMap<String, u64>) -> bool {
        let cursors = self.cursors.lock().unwrap_or_else(PoisonError::into_inner);
        goal.iter().all(|(room, seq)| cursors.get(room).copied().unwrap_or(0) >= *seq)
    }
}

/// Tells whoever started this process.
fn say(line: std::fmt::Arguments<'_>) {
    let mut out = std::io::stdout().lock();
    // Nobody listening means that the run is over.
    if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
        std::process::exit(1);
    }
}

/// Orders from standard input: `quiet` and `loud` are obeyed here, `until` is passed on.
fn orders(app: &Arc<App>) -> mpsc::UnboundedReceiver<BTreeMap<String, u64>> {
    let (to, goals) = mpsc::unbounded_channel();
    let app = app.clone();
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(std::io::Result::ok) {
            let mut words = line.split_whitespace();
            match words.next() {
                Some(order @ ("quiet" | "loud")) => drop(app.quiet.send_replace(order == "quiet")),
                Some("until") => {
                    let words: Vec<&str> = words.collect();
                    let pairs = words.chunks_exact(2).filter_map(|pair| match pair {
                        [room, seq] => Some(((*room).to_owned(), seq.parse().ok()?)),
                        _ => None,
                    });
                    let _ = to.send(pairs.collect());
                }
                _ => {}
            }
        }
    });
    goals
}

async fn follow(
    app: &App,
    mut following: Following,
    mut goals: mpsc::UnboundedReceiver<BTreeMap<String, u64>>,
) -> Result {
    let names: HashMap<RoomId, &str> = app.rooms.iter().map(|(name, room)| (*room, name.as_str())).collect();
    let mut goal = None;
    loop {
        if goal.as_ref().is_some_and(|goal| app.has(goal)) {
            app.write(What::Done);
            return Ok(());
        }
        let news = tokio::select! {
            news = following.next() => news,
            Some(given) = goals.recv() => {
                goal = Some(given);
                continue;
            }
        };
        match news {
            Some(Ok(News::Event(delivery))) => {
                let event = delivery.event().map_err(|error| error.to_string())?;
                let room = names.get(&delivery.room).copied().unwrap_or("?").to_owned();
                let (id, text) = (hex(&event.envelope.id.0), text_of(&event));
                app.deliver(Event { room, epoch: delivery.epoch, seq: delivery.seq, id, text });
            }
            Some(Ok(News::Refused(refused))) => {
                return Err(format!("a room was refused: {}", refused.message));
            }
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(error.to_string()),
            None => return Err("the following ended".to_owned()),
        }
    }
}

fn text_of(event: &ChatEvent) -> Option<String> {
    let is_message = event.envelope.kind == hikyaku_wire::chat::Kind::MESSAGE;
    let body = event.body.as_ref().filter(|_| is_message)?;
    Some(String::from_utf8_lossy(body).into_owned())
}

/// Makes connections, over one transport and then over either.
#[derive(Clone)]
struct Connect {
    addresses: String,
    host: KeyId,
    identity: Arc<Identity>,
    random: Arc<Mutex<(Random, Option<bool>)>>,
    connection: watch::Sender<Option<(Connection, &'static str)>>,
}

#[derive(Deserialize)]
struct Known {
    addresses: String,
    host: String,
}

impl Connect {
    fn new(options: &Options, connection: watch::Sender<Option<(Connection, &'static str)>>) -> Result<Self> {
        let servers = options.home.join("servers");
        let server = std::fs::read_dir(&servers).ok().and_then(|mut entries| entries.next()?.ok());
        let server = server.ok_or_else(|| format!("{}: no server is known", servers.display()))?.path();
        let known = std::fs::read(server.join("server.json")).map_err(|error| error.to_string())?;
        let known: Known = serde_json::from_slice(&known).map_err(|error| error.to_string())?;
        let identity = Identity::load(server.join("identity.pem")).map_err(|error| error.to_string())?;
        Ok(Self {
            addresses: known.addresses,
            host: known.host.parse().map_err(|_| "the host's key id cannot be read".to_owned())?,
            identity: Arc::new(identity),
            random: Arc::new(Mutex::new((Random::new(options.seed ^ 0x5eed), Some(options.quic)))),
            connection,
        })
    }

    async fn connect(self) -> hikyaku::Result<Connection> {
        let quic = {
            let mut state = self.random.lock().unwrap_or_else(PoisonError::into_inner);
            let first = state.1.take();
            first.unwrap_or_else(|| state.0.below(2) == 0)
        };
        let (transport, name) = if quic { (Transport::Quic, "quic") } else { (Transport::Tcp, "tcp") };
        let connection = hikyaku::connect(&self.addresses, self.host)
            .identity(&self.identity)
            .transport(transport)
            .timeout(Duration::from_secs(5))
            .await?;
        self.connection.send_replace(Some((connection.clone(), name)));
        Ok(connection)
    }
}

/// Sends one message after the other, each until it knows what became of it or gives up.
struct Sender {
    app: Arc<App>,
    options: Options,
    connections: watch::Receiver<Option<(Connection, &'static str)>>,
    random: Random,
    /// The newest messages that were acknowledged to this process.
    acked: VecDeque<(Send, String)>,
}

impl Sender {
    async fn run(mut self, mut pending: Option<(String, String, String)>, mut sent: u64) {
        loop {
            let (room, id, text) = match pending.take() {
                Some(left) => left,
                None if *self.app.quiet.borrow() => {
                    say(format_args!("quiet"));
                    self.rest().await;
                    say(format_args!("loud"));
                    continue;
                }
                None => {
                    sent += 1;
                    self.invoke(sent)
                }
            };
            let Some(send) = self.message(&room, &id, &text) else { return };
            if self.send(&send, &id).await {
                self.acked.push_front((send, id));
                self.acked.truncate(REMEMBERED);
            }
            if self.random.below(8) == 0 {
                self.repeat().await;
            }
            let pause = self.random.below(self.options.pause_ms.max(1));
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
    }

    /// Sends something again that was acknowledged, perhaps by a server that is dead now: the answer must be the same.
    async fn repeat(&mut self) {
        let at = usize::try_from(self.random.below(REMEMBERED as u64)).unwrap_or(0);
        if let Some((send, id)) = self.acked.get(at).cloned() {
            self.send(&send, &id).await;
        }
    }

    fn invoke(&mut self, number: u64) -> (String, String, String) {
        let at = usize::try_from(self.random.below(self.app.rooms.len() as u64)).unwrap_or(0);
        let room = self.app.rooms.get(at).map(|(name, _)| name.clone()).unwrap_or_default();
        let id = hex(&[self.random.next().to_be_bytes(), self.random.next().to_be_bytes()].concat());
        // Ids are random; the text says who and which, and is never said twice.
        let who = self.options.journal.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let text = format!("{who} {number} {}", &id[..8]);
        let invoke = What::Invoke { room: room.clone(), id: id.clone(), text: text.clone() };
        self.app.write(invoke);
        (room, id, text)
    }

    fn message(&self, room: &str, id: &str, text: &str) -> Option<Send> {
        let (_, room) = self.app.rooms.iter().find(|(name, _)| name == room)?;
        let mut send = message(*room, text).ok()?;
        let bytes: Option<Vec<u8>> =
            (0..16).map(|at| u8::from_str_radix(id.get(2 * at..2 * at + 2)?, 16).ok()).collect();
        send.id = MessageId(bytes?.try_into().ok()?);
        Some(send)
    }

    /// Until there is an answer; false if the client has given up or the server refused.
    async fn send(&mut self, send: &Send, id: &str) -> bool {
        loop {
            let Some(connection) = self.connection().await else { return false };
            let breaks = self.random.below(self.options.breaks.max(1)) == 0;
            let broken_after = Duration::from_micros(self.random.below(4_000));
            let chat = ChatClient::new(connection.clone());
            let answer = tokio::select! {
                answer = tokio::time::timeout(ATTEMPT, chat.send(send)) => answer.ok(),
                () = tokio::time::sleep(broken_after), if breaks => None,
            };
            match answer {
                Some(Ok(sent)) => {
                    self.app.write(What::Ack { id: id.to_owned(), epoch: sent.epoch, seq: sent.seq });
                    say(format_args!("acked"));
                    return true;
                }
                Some(Err(error)) if !error.is_retryable() => {
                    self.app.write(What::Refused { id: id.to_owned() });
                    return false;
                }
                Some(Err(_)) => {}
                None => {
                    self.app.write(What::Broken);
                    say(format_args!("broken"));
                    connection.abort(ErrorCode::CANCELLED, "broken on purpose");
                }
            }
            if self.random.below(16) == 0 {
                self.app.write(What::Unknown { id: id.to_owned() });
                return false;
            }
        }
    }

    /// The present connection, once there is one that is open.
    async fn connection(&mut self) -> Option<Connection> {
        loop {
            if self.connections.has_changed().unwrap_or(false) {
                self.note();
            }
            let present = self.connections.borrow().clone();
            match present {
                Some((connection, _)) if !connection.is_closed() => return Some(connection),
                _ => self.connections.changed().await.ok()?,
            }
            self.note();
        }
    }

    fn note(&mut self) {
        let over = self.connections.borrow_and_update().as_ref().map(|(_, over)| *over);
        if let Some(over) = over {
            self.app.write(What::Connected { over: over.to_owned() });
        }
    }

    /// Sends nothing until it is told to.
    async fn rest(&mut self) {
        let mut quiet = self.app.quiet.subscribe();
        while *quiet.borrow_and_update() {
            tokio::select! {
                Ok(()) = self.connections.changed() => self.note(),
                Ok(()) = quiet.changed() => {}
                else => return,
            }
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
