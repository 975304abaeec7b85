//! `hikyaku tail`: a room's events, exactly: no gap, no duplicate, whatever happens to the connection.

use std::collections::HashMap;

use clap::Args;
use hikyaku::{Connection, ErrorCode, Failure};
use hikyaku_chat::client::{Backoff, Follower, Following, News, Position};
use hikyaku_chat::{Chain, ChatClient, RoomName};
use hikyaku_sqlite::client::ClientStore;
use hikyaku_wire::chat::{Head, History, Mode, Page, RoomId};
use hikyaku_wire::files::receipts::Hands;
use tokio::sync::watch;

use crate::args::Global;
use crate::cache::{self, Filling};
use crate::client::Client;
use crate::event::Shown;
use crate::exit::{Exit, Result, Trouble};
use crate::hands;
use crate::sheet::Sheet;
use crate::window::{Links, Window};
use crate::{output, reference, time};

/// Events shown unless more or fewer are asked for.
const SHOWN: u64 = 10;

#[derive(Debug, Args)]
pub(crate) struct Tail {
    /// The room, '#' in front or not
    room: String,
    /// How many of the newest events [default: 10]
    #[arg(short = 'n', value_name = "N", conflicts_with_all = ["after", "since"])]
    newest: Option<u64>,
    /// Everything after this event
    #[arg(long, value_name = "SEQ", conflicts_with = "since")]
    after: Option<u64>,
    /// Everything since then: '2026-11-22 20:03', or how long ago: '2h'
    #[arg(long, value_name = "TIME", value_parser = time::parse)]
    since: Option<u64>,
    /// Go on with what comes
    #[arg(short = 'f')]
    follow: bool,
    /// One JSON object per event
    #[arg(long)]
    json: bool,
}

impl Tail {
    pub(crate) async fn run(self, global: &Global) -> Result {
        let room = reference::room(&self.room).map_err(|error| Trouble::usage(error.to_string()))?;
        let client = Client::of(global, room.server.as_deref())?;
        let connection = client.connected().await?;
        let past = Past::new(&connection, room.what.clone(), self.json);
        let mut store = client.server.store()?;
        let start = match (self.since, self.after) {
            (Some(since_ms), _) => Start::Since(since_ms),
            (None, Some(after)) => Start::From(after.saturating_add(1)),
            (None, None) => Start::Newest(self.newest.unwrap_or(SHOWN)),
        };
        let head = past.head(&mut store).await?;
        let (mut links, mut sheet) = (Links::new(head.room), Sheet::new(self.follow));
        let (end, told) = if self.json {
            (past.print(&mut store, head, start, |passage| links.print(passage)).await?, HashMap::new())
        } else {
            let mut window = Window::new(|shown| sheet.show(shown));
            let end = past.print(&mut store, head, start, |passage| window.take(passage)).await?;
            let told = hands::of(&connection, room.what.as_str(), &window.parcels()).await;
            window.finish_with(told.clone())?;
            (end, told)
        };
        if !self.follow {
            connection.close().await;
            return end.cut.map_or(Ok(()), Err);
        }
        // The future has a connection of its own, made again as often as it takes, and need not wait for this one.
        tokio::spawn(async move { connection.close().await });
        // Nobody needs it where nothing is written again.
        let told = (!self.json && sheet.is_terminal()).then_some(told);
        self.go_on(&client, (&room.what, &end), told, (&mut links, &mut sheet)).await
    }

    /// Shows what comes, with what is said of parcels by those who have them: `told` until now, where that is of use.
    async fn go_on<'a>(
        &self,
        client: &Client,
        (room, end): (&'a RoomName, &End),
        told: Option<HashMap<u64, Hands>>,
        (links, sheet): (&mut Links, &mut Sheet<'a>),
    ) -> Result {
        let after = self.after.unwrap_or(0);
        let (connected, connections) = watch::channel(None);
        let mut following = following_with(client, end, move |connection| {
            connected.send_replace(Some(connection.clone()));
        });
        let name = room.as_str().to_owned();
        let mut hands = told.map(|told| hands::Following::start(name, told, connections));
        loop {
            let news = tokio::select! {
                Some(now) = next(hands.as_mut()) => {
                    sheet.hear(now)?;
                    continue;
                }
                news = following.next() => news,
            };
            let Some(news) = news else { return Ok(()) };
            let news = news?;
            links.hear(&news);
            match news {
                News::Event(delivery) if delivery.seq <= after => {
                    links.link(&Shown::delivered(room.as_str(), &delivery));
                }
                News::Event(delivery) => {
                    let shown = Shown::delivered(room.as_str(), &delivery);
                    if self.json {
                        links.print(Passage::Event(Box::new(shown)))?
                    } else {
                        sheet.show(&shown)?
                    }
                }
                news => {
                    if let Some(note) = remark(room, &news)? {
                        output::note(note);
                        sheet.disturbed();
                    }
                }
            }
        }
    }
}

/// The next that is said of a parcel, where somebody listens.
async fn next(hands: Option<&mut hands::Following>) -> Option<Hands> {
    match hands {
        Some(hands) => hands.news.recv().await,
        None => std::future::pending().await,
    }
}

/// What a reader of the past comes by.
pub(crate) enum Passage<'a> {
    /// The chain's value before the next event.
    Chain(Option<Chain>),
    /// The next event.
    Event(Box<Shown<'a>>),
}

/// Where to begin.
pub(super) enum Start {
    /// With so many of the newest.
    Newest(u64),
    /// With this sequence number.
    From(u64),
    /// With the first event since this moment, in milliseconds since 1970.
    Since(u64),
}

/// What a room has already.
pub(super) struct Past {
    pub(super) chat: ChatClient,
    pub(super) name: RoomName,
    /// Whether the chain's values are wanted.
    chain: bool,
}

/// Where the past ended: there the future begins.
pub(super) struct End {
    pub(super) room: RoomId,
    pub(super) position: Position,
    /// The connection broke before everything was shown; who follows the room gets the rest over the next one.
    pub(super) cut: Option<Trouble>,
}

impl Past {
    pub(super) fn new(connection: &Connection, name: RoomName, chain: bool) -> Self {
        Self { chat: ChatClient::new(connection.clone()), name, chain }
    }

    /// Where the room stands at this moment. Copies of what the server has removed or replaced go.
    pub(super) async fn head(&self, store: &mut ClientStore) -> Result<Head> {
        let named = hikyaku_wire::chat::RoomRef::Name(self.name.as_str().to_owned());
        match self.chat.resolve(named).await {
            Ok(room) => {
                cache::note_head(store, &self.name, &room.head)?;
                Ok(room.head)
            }
            Err(error) => {
                if error.code() == ErrorCode::ROOM_UNKNOWN {
                    cache::forget(store, &self.name)?;
                }
                Err(self.trouble(error))
            }
        }
    }

    fn trouble(&self, error: hikyaku::Error) -> Trouble {
        Trouble::from(error).during(format_args!("{}", self.name))
    }

    /// Shows everything from `start` to `head`: from this computer's copies where it has them.
    pub(super) async fn print<'a>(
        &'a self,
        store: &mut ClientStore,
        head: Head,
        start: Start,
        mut show: impl FnMut(Passage<'a>) -> Result,
    ) -> Result<End> {
        if let Start::From(seq) = start
            && seq < head.first
        {
            gone(&self.name, seq.max(1), head.first - 1);
        }
        let mut ask = match start {
            Start::Newest(count) => {
                self.ask(head.room, Some(head.last.saturating_add(1).saturating_sub(count).max(head.first)))
            }
            Start::From(seq) => self.ask(head.room, Some(seq.max(head.first))),
            Start::Since(since_ms) => History { since_ms: Some(since_ms), ..self.ask(head.room, None) },
        };
        let (mut next, mut cut) = (ask.from.unwrap_or(1), None);
        if let Some(from) = ask.from.filter(|from| cache::suits(&head, *from)) {
            return self.print_copies(store, head, from, show).await;
        }
        ask.chain = self.chain;
        if ask.since_ms.is_none() && next > head.last {
            show(Passage::Chain(Some(Chain(head.chain)).filter(|_| next == head.last + 1)))?;
        }
        // A page may be shorter than asked for: only reaching the newest event of this moment is the end.
        while ask.since_ms.is_some() || next <= head.last {
            let page = match self.fetch(&head, &ask).await? {
                Ok(page) => page,
                Err(trouble) => {
                    cut = Some(trouble);
                    break;
                }
            };
            if ask.since_ms.is_none() && page.first > next {
                gone(&self.name, next, page.first - 1);
            }
            if ask.chain || page.first > next {
                show(Passage::Chain(page.chain.map(Chain)))?;
            }
            next = page.first;
            for record in page.records.iter() {
                if next > head.last {
                    break;
                }
                let shown = Shown::record(self.name.as_str(), head.epoch, next, &record);
                show(Passage::Event(Box::new(shown)))?;
                next += 1;
            }
            ask = self.ask(head.room, Some(next));
        }
        Ok(End {
            room: head.room,
            position: Position { epoch: head.epoch, next: next.min(head.last + 1).max(1) },
            cut,
        })
    }

    /// The same where it is not too much for this computer's store: first everything that is missing is fetched, so that
    /// what was deleted since is not shown from an old copy, then all of it is shown.
    async fn print_copies<'a>(
        &'a self,
        store: &mut ClientStore,
        head: Head,
        from: u64,
        mut show: impl FnMut(Passage<'a>) -> Result,
    ) -> Result<End> {
        let (mut next, mut cut) = (from, None);
        let mut filling = Filling::new(store, &head)?;
        let mut lost = 0;
        while let Some(gap) = filling.gap(store, &head, from.max(lost + 1))? {
            let limit = u32::try_from(gap.end() - gap.start() + 1).ok();
            let ask = History { limit, ..self.ask(head.room, Some(*gap.start())) };
            let Page { first, records, .. } = match self.fetch(&head, &ask).await? {
                Ok(page) => page,
                Err(trouble) => {
                    cut = Some(trouble);
                    break;
                }
            };
            if first > *gap.start() {
                gone(&self.name, *gap.start(), first - 1);
                lost = first - 1;
            }
            let fitting = usize::try_from((gap.end() + 1).saturating_sub(first)).unwrap_or(usize::MAX);
            let records: Vec<_> = records.iter().take(fitting).map(|record| record.0).collect();
            filling.keep(store, &head, first, &records)?;
        }
        if self.chain && cut.is_none() {
            let ask = History { chain: true, limit: Some(1), ..self.ask(head.room, Some(next)) };
            let page = self.chat.history(&ask).await.map_err(|error| self.trouble(error))?;
            show(Passage::Chain(page.chain.filter(|_| page.first == next).map(Chain)))?;
        }
        while next <= head.last {
            let Some((first, records)) = cache::next(store, &head, next, cut.is_some())? else { break };
            if first > next {
                show(Passage::Chain(None))?;
            }
            next = first;
            for record in records {
                let shown = Shown::record(self.name.as_str(), head.epoch, next, &record);
                show(Passage::Event(Box::new(shown)))?;
                next += 1;
            }
        }
        let position = Position { epoch: head.epoch, next: next.min(head.last + 1).max(1) };
        Ok(End { room: head.room, position, cut })
    }

    /// One page; the inner error is one after which following may go on.
    async fn fetch(&self, head: &Head, ask: &History) -> Result<Result<Page, Trouble>> {
        let page = match self.chat.history(ask).await {
            Ok(page) => page,
            Err(error) if error.is_retryable() && ask.since_ms.is_none() => {
                return Ok(Err(self.trouble(error)));
            }
            Err(error) => return Err(self.trouble(error)),
        };
        if page.head.epoch != head.epoch {
            let changed = Trouble::new(Exit::Failed, "the server's history was replaced meanwhile");
            return Ok(Err(changed.during(format_args!("{}", self.name))));
        }
        match judge(head, ask.from, &page) {
            Ok(_) => Ok(Ok(page)),
            Err(lie) => Err(Trouble::new(Exit::Corrupt, lie).during(format_args!("{}", self.name))),
        }
    }

    fn ask(&self, room: RoomId, from: Option<u64>) -> History {
        History { room: room.into(), from, since_ms: None, limit: None, chain: false }
    }
}

/// Whether a page can be the answer to somebody who asked for `next`, or for a time: gives the number of its first event.
/// What lies between was trimmed; a server that leaves out anything else is not believed.
//= S4.51
fn judge(asked: &Head, next: Option<u64>, page: &Page) -> Result<u64, &'static str> {
    let Page { head, first, records, .. } = page;
    if head.room != asked.room {
        return Err("the server answered with events of another room");
    }
    match next {
        Some(next) if *first < next => return Err("the server answered with events that were not asked for"),
        Some(next) if *first > next && *first > head.first => return Err("the server left out events"),
        _ => {}
    }
    if records.is_empty() && *first <= asked.last {
        return Err("the server has fewer events than it said");
    }
    Ok(*first)
}

fn gone(name: &RoomName, from: u64, through: u64) {
    output::note(lost(name, from, through));
}

fn lost(name: &RoomName, from: u64, through: u64) -> String {
    format!("{name}: events {from} to {through} are gone from the server")
}

/// Follows one room over as many connections as it takes; `connected` is told of each.
pub(super) fn following_with(
    client: &Client,
    end: &End,
    connected: impl Fn(&Connection) + Clone + std::marker::Send + 'static,
) -> Following {
    let mut follower = Follower::new();
    follower.follow(end.room, end.position, Mode::Live);
    let client = client.clone();
    Following::start(follower, Backoff::default(), move || {
        let (client, connected) = (client.clone(), connected.clone());
        async move { client.connect().await.inspect(|connection| connected(connection)) }
    })
}

/// What a person should know besides the events; programs see it in the sequence numbers and epochs. A room that the
/// server no longer shows is the end.
pub(super) fn remark(name: &RoomName, news: &News) -> Result<Option<String>> {
    Ok(match news {
        News::Rewound { from, epoch, .. } => Some(format!(
            "{name}: the server was restored from a backup: events from {from} on are replaced (epoch {epoch})"
        )),
        News::Trimmed { from, through, .. } => Some(lost(name, *from, *through)),
        News::Refused(refused) => {
            let refused = Failure::new(ErrorCode(refused.code), refused.message.clone());
            return Err(Trouble::from(hikyaku::Error::from(refused)).during(format_args!("{}", name)));
        }
        News::Lost(why) if output::is_watched() => Some(format!("connection lost ({why}); trying again")),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use hikyaku_wire::chat::{Digest, Records};

    fn head(room: u8, first: u64, last: u64) -> Head {
        let (room, chain) = (RoomId([room; 16]), Digest([0; 32]));
        Head { room, epoch: 1, first, last, count: 0, ts_ms: 0, chain, rewound: None }
    }

    fn judged(
        next: Option<u64>,
        (room, trimmed, first): (u8, u64, u64),
        records: usize,
    ) -> Result<u64, &'static str> {
        let records: Records = std::iter::repeat_n(Default::default(), records).collect();
        judge(&head(1, 1, 9), next, &Page { head: head(room, trimmed, 9), first, records, chain: None })
    }

    //= S4.51 (test)
    #[test]
    fn a_page_goes_on_where_it_was_asked_for_or_behind_what_was_trimmed() {
        assert_eq!(judged(Some(3), (1, 1, 3), 2), Ok(3));
        assert_eq!(judged(Some(3), (1, 6, 6), 2), Ok(6));
        assert_eq!(judged(Some(3), (1, 10, 10), 0), Ok(10));
        assert_eq!(judged(None, (1, 1, 7), 2), Ok(7));
        assert_eq!(judged(None, (1, 1, 10), 0), Ok(10));
    }

    #[test]
    fn a_page_that_leaves_out_repeats_or_invents_is_not_believed() {
        assert!(judged(Some(3), (1, 1, 2), 2).is_err());
        assert!(judged(Some(3), (1, 1, 4), 2).is_err());
        assert!(judged(Some(3), (1, 5, 6), 2).is_err());
        assert!(judged(Some(3), (2, 1, 3), 2).is_err());
        assert!(judged(Some(3), (1, 1, 3), 0).is_err());
        assert!(judged(None, (1, 1, 3), 0).is_err());
    }
}
