//! `hikyaku chat`: a room, line by line. What others write appears; what you type is sent; the line being typed survives
//! what comes in between.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::Args;
use hikyaku::{Connection, Error};
use hikyaku_accounts::{AccountsClient, system_time};
use hikyaku_chat::client::{News, Position};
use hikyaku_chat::{ChatClient, RoomName, fresh_id};
use hikyaku_sqlite::client::ClientStore;
use hikyaku_wire::chat::{MarkRead, MessageId, RoomId, Send, UserId};
use hikyaku_wire::files::receipts::Hands;
use tokio::sync::{mpsc, watch};

use super::random;
use super::tail::{End, Past, Start, following_with, remark};
use crate::args::Global;
use crate::backlog::{self, Held};
use crate::board::Board;
use crate::cards::{Cards, Meaning};
use crate::client::{Backoff, Client};
use crate::company::{Company, Notice};
use crate::event::Shown;
use crate::exit::{Exit, Result, Trouble};
use crate::hands;
use crate::letter::{self, Letter};
use crate::screen::Screen;
use crate::window::Window;
use crate::{output, reference, wrap};

/// Events shown at the beginning.
const SHOWN: u64 = 20;
/// How long unsent lines are tried once the person has left.
const LAST_TRIES: Duration = Duration::from_secs(10);
/// The longest one attempt may wait for its answer before a new connection is tried.
const ATTEMPT: Duration = Duration::from_secs(10);
/// Notes that wait to be shown.
const NOTES: usize = 16;
/// How often it is said how far the person has read.
const READ_EVERY: Duration = Duration::from_secs(2);

#[derive(Debug, Args)]
pub(crate) struct Chat {
    /// The room, '#' in front or not
    room: String,
    /// Show nobody that you are here, nor that you type; and see nobody
    #[arg(long)]
    unseen: bool,
}

impl Chat {
    pub(crate) async fn run(self, global: &Global) -> Result {
        let room = reference::room(&self.room).map_err(|error| Trouble::usage(error.to_string()))?;
        let client = Client::of(global, room.server.as_deref())?;
        let connection = client.connected().await?;
        let name = room.what;
        let me = AccountsClient::new(connection.clone()).whoami().await?.id;
        let me = UserId(me.map_or([0; 16], |me| me.0));
        let past = Past::new(&connection, name.clone(), false);
        let mut store = client.server.store()?;
        let mut page = Page::new();
        let title = format!("{} on {}; Ctrl-D leaves", name, client.name());
        let (end, told) = page.fill(&title, &past, &connection, &mut store).await?;
        tokio::spawn(async move { connection.close().await });

        let (connected, connections) = watch::channel(None);
        let mut hands = hands::Following::start(name.as_str().to_owned(), told, connections.clone());
        let mut company = (!self.unseen).then(|| Company::start(end.room, me, connections));
        let (mut screen, typed) = Screen::open(&format!("{} ", name), company.as_ref(), page.board)?;
        let mut cards = page.cards;
        let own = Own::default();
        let (saying, mut said) = mpsc::channel(NOTES);
        let (room, name_there) = (end.room, name.clone());
        let mut outbox =
            Outbox { client: client.clone(), store, room, name: name_there, own: own.clone(), notes: saying };
        let mut sending = tokio::spawn(async move { outbox.run(typed).await });
        let mut following = following_with(&client, &end, move |connection| {
            connected.send_replace(Some(connection.clone()));
        });
        let reading = Reading::start(client.clone(), end.room, end.position);
        loop {
            tokio::select! {
                news = following.next() => match news {
                    Some(Ok(News::Event(delivery))) => {
                        reading.saw(Position { epoch: delivery.epoch, next: delivery.seq + 1 });
                        let shown = Shown::delivered(name.as_str(), &delivery);
                        has_said(company.as_ref(), &shown);
                        // What was typed on this terminal stands there already.
                        if !own.has(&shown) || !screen.is_terminal() {
                            show(&mut screen, &mut cards, &shown)?;
                        }
                    }
                    Some(Ok(news)) => remark(&name, &news)?.map_or(Ok(()), |note| screen.note(&note))?,
                    Some(Err(error)) => return Err(error.into()),
                    None => return Ok(()),
                },
                Some(now) = hands.news.recv() => hear(&mut screen, &mut cards, &name, now)?,
                Some(note) = said.recv() => screen.note(&note)?,
                () = changed(company.as_mut()) => screen.refresh()?,
                done = &mut sending => {
                    while let Ok(note) = said.try_recv() {
                        screen.note(&note)?;
                    }
                    leave(reading, company).await;
                    return done.unwrap_or_else(|error| Err(Trouble::new(Exit::Failed, error.to_string())));
                }
            }
        }
    }
}

/// Whoever has said something does not type any more.
fn has_said(company: Option<&Company>, shown: &Shown<'_>) {
    if let (Some(company), Some(event)) = (company, &shown.event) {
        // One that is left out is forgotten by itself.
        let _ = company.notices.try_send(Notice::Said(event.envelope.author));
    }
}

/// The last that others are told.
async fn leave(reading: Reading, company: Option<Company>) {
    reading.finish().await;
    if let Some(company) = company {
        company.leave().await;
    }
}

/// What is shown at the beginning, and what stands there then.
struct Page<'a> {
    board: Board,
    cards: Cards<'a>,
}

impl<'a> Page<'a> {
    fn new() -> Self {
        let (columns, rows) = wrap::size();
        Self { board: Board::new(columns, rows), cards: Cards::default() }
    }

    /// Shows a title and the newest events. Where they end, and what was said of parcels among them.
    async fn fill(
        &mut self,
        title: &str,
        past: &'a Past,
        connection: &Connection,
        store: &mut ClientStore,
    ) -> Result<(End, HashMap<u64, Hands>)> {
        let head = past.head(store).await?;
        self.line(title)?;
        let mut window = Window::new(|shown| self.show(shown));
        let end = past.print(store, head, Start::Newest(SHOWN), |passage| window.take(passage)).await?;
        let told = hands::of(connection, past.name.as_str(), &window.parcels()).await;
        window.finish_with(told.clone())?;
        Ok((end, told))
    }

    fn line(&mut self, text: &str) -> Result {
        let written = self.board.line(text);
        if output::is_shown() { output::raw(&written) } else { output::line(text) }
    }

    fn show(&mut self, shown: &Shown<'a>) -> Result {
        if self.cards.take(shown) == Meaning::Card && output::is_shown() {
            return output::raw(&self.board.card(shown.seq, &shown.drawn_short_line()));
        }
        self.line(&shown.short_line())
    }
}

/// Shows an event: one that only changes a card changes it, where it can be seen.
fn show<'a>(screen: &mut Screen, cards: &mut Cards<'a>, shown: &Shown<'a>) -> Result {
    let meaning = cards.take(shown);
    let card = |seq| cards.get(seq).map_or_else(|| shown.short_line(), Shown::drawn_short_line);
    match meaning {
        _ if !screen.is_terminal() => screen.show(&shown.short_line()),
        Meaning::Card => screen.show_card(shown.seq, card(shown.seq)),
        Meaning::Changes(seq) => screen.show_again(seq, card(seq)),
        Meaning::Other => screen.show(&shown.short_line()),
    }
}

/// Shows what the server says of a parcel: in its card, or where nothing is written again, when it is in another hand.
fn hear(screen: &mut Screen, cards: &mut Cards<'_>, name: &RoomName, now: Hands) -> Result {
    let before = cards.get(now.seq).and_then(|card| card.hands).map_or(0, |hands| hands.hands);
    let heard = cards.hear(now).map(Shown::drawn_short_line);
    match heard {
        Ok(line) if screen.is_terminal() && !wrap::is_narrow() => screen.show_again(now.seq, line),
        // It comes with its event.
        Err(true) if screen.is_terminal() => Ok(()),
        _ if now.hands > before => hands::line(name, &now).map_or(Ok(()), |line| screen.show(&line)),
        _ => Ok(()),
    }
}

/// Resolves when others begin or cease to type.
async fn changed(company: Option<&mut Company>) {
    if let Some(company) = company
        && company.typing.changed().await.is_ok()
    {
        return;
    }
    std::future::pending().await
}

/// What was typed here and has not come back yet.
#[derive(Debug, Clone, Default)]
struct Own(Arc<Mutex<HashSet<MessageId>>>);

impl Own {
    fn add(&self, id: MessageId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
    }

    /// Whether this is one of them; then it has come back.
    fn has(&self, shown: &Shown<'_>) -> bool {
        let id = shown.event.as_ref().map(|event| event.envelope.id);
        id.is_some_and(|id| self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&id))
    }
}

/// What is on the screen counts as read, on all devices: said at most every other second.
struct Reading {
    client: Client,
    room: RoomId,
    seen: watch::Sender<Position>,
    /// The last event that the server was told of.
    told: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<()>,
}

impl Reading {
    fn start(client: Client, room: RoomId, position: Position) -> Self {
        let (seen, mut news) = watch::channel(position);
        let told = Arc::new(AtomicU64::new(0));
        news.mark_changed();
        let (telling, teller) = (told.clone(), client.clone());
        let task = tokio::spawn(async move {
            let mut connection = None;
            while news.changed().await.is_ok() {
                let position = *news.borrow_and_update();
                // Not worth troubling anybody: what was seen is said again with the next event.
                if mark(&teller, &mut connection, room, position).await.is_ok() {
                    telling.store(position.next, Ordering::Relaxed);
                }
                tokio::time::sleep(READ_EVERY).await;
            }
        });
        Self { client, room, seen, told, task }
    }

    fn saw(&self, position: Position) {
        self.seen.send_replace(position);
    }

    /// Says the last that was seen.
    async fn finish(self) {
        self.task.abort();
        let last = *self.seen.borrow();
        if self.told.load(Ordering::Relaxed) != last.next {
            let _ = mark(&self.client, &mut None, self.room, last).await;
        }
    }
}

/// Says how far a room was read.
async fn mark(
    client: &Client,
    connection: &mut Option<Connection>,
    room: RoomId,
    Position { epoch, next }: Position,
) -> Result<(), Error> {
    if next <= 1 {
        return Ok(());
    }
    let connection = match connection {
        Some(connection) if !connection.is_closed() => connection,
        gone => gone.insert(client.connect().await?),
    };
    let mark = MarkRead { room: room.into(), epoch, seq: next - 1 };
    ChatClient::new(connection.clone()).mark_read(&mark).await.map(drop)
}

/// Lines on their way: each is stored before it is sent, and sent until the server has acknowledged or refused it.
struct Outbox {
    client: Client,
    store: ClientStore,
    room: RoomId,
    name: RoomName,
    own: Own,
    /// Where it is told what became of a line that was not sent.
    notes: mpsc::Sender<String>,
}

impl Outbox {
    /// Sends lines in order until there are no more.
    async fn run(&mut self, mut typed: mpsc::Receiver<String>) -> Result {
        let mut connection = None;
        while let Some(line) = typed.recv().await {
            if line.trim().is_empty() {
                continue;
            }
            let id = fresh_id(system_time(), random()?);
            self.own.add(id);
            let send = letter::post(&mut self.store, (self.room, &self.name), id, Letter::text(line))?;
            self.deliver(&mut connection, &send, &typed).await?;
        }
        if let Some(connection) = connection {
            let connection: Connection = connection;
            connection.close().await;
        }
        Ok(())
    }

    /// Sends one message, over new connections if it must be: for as long as it takes while the person is there, and a
    /// while longer.
    async fn deliver(
        &mut self,
        connection: &mut Option<Connection>,
        send: &Send,
        typed: &mpsc::Receiver<String>,
    ) -> Result {
        let mut alone = None;
        let mut backoff = Backoff::new();
        loop {
            if typed.is_closed() {
                alone.get_or_insert_with(Instant::now);
            }
            let answered = tokio::time::timeout(ATTEMPT, self.attempt(connection, send)).await;
            let error = match answered.unwrap_or(Err(Error::Deadline)) {
                Ok(()) => {
                    self.store.change(|changes| changes.settle(send.id.0))?;
                    return Ok(());
                }
                Err(error) if is_final(&error) => {
                    // Told and given up; the conversation goes on.
                    self.note(format!("not sent: {error}")).await;
                    if error.says_no() {
                        self.store.change(|changes| changes.settle(send.id.0))?;
                    }
                    return Ok(());
                }
                Err(error) => error,
            };
            *connection = None;
            if alone.is_some_and(|since| since.elapsed() >= LAST_TRIES) {
                return Err(Trouble::new(
                    Exit::OutcomeUnknown,
                    format!("the last line may or may not be in {} ({error})", self.name),
                ));
            }
            backoff.wait(error.retry_after()).await;
        }
    }

    /// What an earlier command left behind goes first.
    async fn attempt(&mut self, connection: &mut Option<Connection>, send: &Send) -> Result<(), Error> {
        let connection = match connection {
            Some(connection) if !connection.is_closed() => connection,
            gone => gone.insert(self.client.connect().await?),
        };
        let chat = ChatClient::new(connection.clone());
        match backlog::send_earlier(&chat, &mut self.store, (self.room, &self.name), send.id).await {
            Ok(()) => {}
            Err(Held::Behind { error, .. }) => return Err(error),
            // What this computer cannot read of its own store it says where it writes to it.
            Err(Held::Trouble(trouble)) => self.note(trouble.to_string()).await,
        }
        chat.send(send).await.map(drop)
    }

    /// Tells the person.
    async fn note(&mut self, text: String) {
        if let Err(mpsc::error::SendError(text)) = self.notes.send(text).await {
            output::note(text);
        }
    }
}

/// Whether trying again is of no use. After an answer that is none the message may be there, and is sent again.
fn is_final(error: &Error) -> bool {
    !error.is_retryable() && (error.says_no() || matches!(error, Error::IdentityRefused { .. }))
}
