//! Company in a room: saying that one is here and types, and knowing who else does. Nothing of it is kept, and nothing
//! depends on it: without a connection, or with a server that does not know of it, there is silence.

use std::time::{Duration, Instant};

use hikyaku::{Connection, Result};
use hikyaku_chat::ChatClient;
use hikyaku_chat::client::{Looking, People};
use hikyaku_wire::chat::{RoomId, State, UserId};
use tokio::sync::{mpsc, watch};

use crate::client::Backoff;

/// How often it is said that one is here, and that one types.
const HERE_EVERY: Duration = Duration::from_secs(10);
const TYPING_EVERY: Duration = Duration::from_secs(3);
/// How long leaving may take: without a word one is gone after half a minute.
const LEAVING: Duration = Duration::from_secs(1);
/// Things noticed that may wait; more are left out.
const NOTICED: usize = 64;

/// What this side notices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Notice {
    /// A key was pressed, and the line is not empty.
    Typing,
    /// The line was sent, or emptied.
    Still,
    /// Somebody has said something.
    Said(UserId),
    /// The person leaves.
    Leaving,
}

/// Company for as long as this lives.
pub(crate) struct Company {
    pub(crate) notices: mpsc::Sender<Notice>,
    /// The names of those who type.
    pub(crate) typing: watch::Receiver<Vec<String>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Company {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Company {
    /// Says that one is gone.
    pub(crate) async fn leave(mut self) {
        if self.notices.try_send(Notice::Leaving).is_ok() {
            let _ = tokio::time::timeout(LEAVING, &mut self.task).await;
        }
    }

    /// In a room, over whatever connection there is; `me` is not told of.
    pub(crate) fn start(
        room: RoomId,
        me: UserId,
        mut connections: watch::Receiver<Option<Connection>>,
    ) -> Self {
        let (notices, mut noticed) = mpsc::channel(NOTICED);
        let (show, typing) = watch::channel(Vec::new());
        let task = tokio::spawn(async move {
            let mut backoff = Backoff::new();
            loop {
                let connection = connections.borrow_and_update().clone();
                if let Some(connection) = connection {
                    let mut visit = Visit { me, people: People::default(), show: &show, typed: None };
                    let begun = Instant::now();
                    // However it ends, there is nobody to be seen until the next connection.
                    if visit.stay(room, &connection, &mut noticed).await.is_ok() {
                        connection.close().await;
                        return;
                    }
                    show.send_replace(Vec::new());
                    if begun.elapsed() > HERE_EVERY {
                        backoff = Backoff::new();
                    }
                    // A server that ends the connection when it is asked would be asked again at once on the next one.
                    backoff.wait(None).await;
                }
                if connections.changed().await.is_err() {
                    return;
                }
            }
        });
        Self { notices, typing, task }
    }
}

/// Company over one connection.
struct Visit<'a> {
    me: UserId,
    people: People,
    show: &'a watch::Sender<Vec<String>>,
    /// When it was last said that this side types.
    typed: Option<Instant>,
}

impl Visit<'_> {
    /// Stays until the person leaves, or the connection breaks.
    async fn stay(
        &mut self,
        room: RoomId,
        connection: &Connection,
        noticed: &mut mpsc::Receiver<Notice>,
    ) -> Result<()> {
        let (present, mut looking) = ChatClient::new(connection.clone()).look(room).await?;
        self.people.take(Instant::now(), &present);
        let _ = looking.say(State::Here);
        let mut again = tokio::time::interval(HERE_EVERY);
        loop {
            let now = Instant::now();
            self.tell(now);
            let due = self.people.due(now);
            tokio::select! {
                present = looking.next() => self.people.take(Instant::now(), &present?),
                notice = noticed.recv() => match notice {
                    Some(Notice::Leaving) | None => return looking.finish().await,
                    Some(notice) => self.notice(notice, &looking),
                },
                _ = again.tick() => self.say(&looking),
                () = async { tokio::time::sleep_until(due.unwrap_or(now).into()).await }, if due.is_some() => {}
            }
        }
    }

    /// Says again what holds now; what finds no room is said the next time.
    fn say(&self, looking: &Looking) {
        let types = self.typed.is_some_and(|typed| typed.elapsed() < TYPING_EVERY);
        let _ = looking.say(if types { State::Typing } else { State::Here });
    }

    fn notice(&mut self, notice: Notice, looking: &Looking) {
        match notice {
            Notice::Typing if self.typed.is_some_and(|typed| typed.elapsed() < TYPING_EVERY) => {}
            Notice::Typing => {
                self.typed = Some(Instant::now());
                self.say(looking);
            }
            Notice::Still => {
                if self.typed.take().is_some() {
                    self.say(looking);
                }
            }
            Notice::Said(user) => self.people.said(user),
            Notice::Leaving => {}
        }
    }

    fn tell(&self, now: Instant) {
        let typing: Vec<String> = self.people.typing(now, self.me).into_iter().map(str::to_owned).collect();
        self.show.send_if_modified(|shown| {
            let changed = *shown != typing;
            *shown = typing;
            changed
        });
    }
}
