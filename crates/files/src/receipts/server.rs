//! The server side of signed receipts: `receipt.give`, `receipt.list` and `receipt.hands`.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::time::Duration;

use hikyaku::{ErrorCode, Exchange, Failure, Sender};
use hikyaku_wire::chat::RoomId;
use hikyaku_wire::files::Arrival;
use hikyaku_wire::files::receipts::{
    AskHands, GIVE, Given, HANDS, Hands, LIST, ListReceipts, MAX_ASKED, Receipts as Page, SignedReceipt,
    Statement,
};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;

use super::{Known, accept, verify};

/// How often it is told how far a parcel is, at most.
const MOVES: Duration = Duration::from_millis(500);

/// Which parcel has come into another hand.
pub type News = (RoomId, u64);

/// Where receipts are kept. `C` is a connection's context.
pub trait Receipts<C>: Send + Sync + 'static {
    /// The room that the speaker means by a name and may read.
    fn room(&self, context: &C, name: &str) -> impl Future<Output = Result<RoomId, Failure>> + Send;

    /// What is known of a settled parcel of a room that the speaker may read.
    fn known(
        &self,
        context: &C,
        room: RoomId,
        seq: u64,
    ) -> impl Future<Output = Result<Known, Failure>> + Send;

    /// Keeps a receipt, in the place of an earlier one of the device for the parcel: durable when it returns.
    fn keep(
        &self,
        context: &C,
        statement: &Statement,
        receipt: &SignedReceipt,
    ) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Some of the receipts of a parcel.
    fn list(&self, context: &C, ask: &ListReceipts) -> impl Future<Output = Result<Page, Failure>> + Send;

    /// In how many hands a parcel is, and how far if it has no end; `None` where there is no such parcel.
    fn hands(&self, room: RoomId, seq: u64) -> impl Future<Output = Result<Option<Hands>, Failure>> + Send;

    /// The parcels of a room that are being sent, and how far each is.
    fn underway(&self, room: RoomId) -> Vec<(u64, Arrival)>;

    /// Tells when a parcel begins to be sent, or ceases to be.
    fn changes(&self) -> broadcast::Receiver<([u8; 16], u64)>;

    /// Tells of what is kept from now on.
    fn news(&self) -> broadcast::Receiver<News>;
}

/// Whether a method of `files/1` is one of these.
pub fn is_method(method: &str) -> bool {
    matches!(method, GIVE | LIST | HANDS)
}

/// Answers one exchange.
pub async fn handle<C, R>(receipts: R, exchange: Exchange<C>) -> hikyaku::Result<()>
where
    C: Send + Sync + 'static,
    R: Receipts<C>,
{
    match exchange.method() {
        GIVE => give(&receipts, exchange).await,
        LIST => list(&receipts, exchange).await,
        HANDS => hands(&receipts, exchange).await,
        _ => {
            Err(Failure::new(ErrorCode::UNKNOWN_METHOD, "receipts have the methods give, list and hands")
                .into())
        }
    }
}

async fn give<C: Send + Sync + 'static>(
    receipts: &impl Receipts<C>,
    mut exchange: Exchange<C>,
) -> hikyaku::Result<()> {
    let receipt: SignedReceipt = exchange.receive().await?;
    let said =
        verify(&receipt).map_err(|error| Failure::new(ErrorCode::RECEIPT_INVALID, error.to_string()))?;
    let known = receipts.known(exchange.context(), said.room, said.seq).await?;
    let statement = accept(&receipt, &known)?;
    //= S5.92
    receipts.keep(exchange.context(), &statement, &receipt).await?;
    let hands = receipts.hands(statement.room, statement.seq).await?.map_or(0, |hands| hands.hands);
    exchange.reply(&Given { hands }).await
}

async fn list<C: Send + Sync + 'static>(
    receipts: &impl Receipts<C>,
    mut exchange: Exchange<C>,
) -> hikyaku::Result<()> {
    let ask: ListReceipts = exchange.receive().await?;
    let page = receipts.list(exchange.context(), &ask).await?;
    exchange.reply(&page).await
}

/// Tells in how many hands parcels are, and, if it is asked to, goes on telling until the caller ends.
async fn hands<C: Send + Sync + 'static>(
    receipts: &impl Receipts<C>,
    mut exchange: Exchange<C>,
) -> hikyaku::Result<()> {
    let ask: AskHands = exchange.receive().await?;
    let context = exchange.shared_context();
    // Before anything is counted, so that nothing falls between.
    let (mut news, mut changes) = (receipts.news(), receipts.changes());
    let room = receipts.room(&context, &ask.room).await?;
    let (mut sender, mut receiver) = exchange.split();
    for seq in &ask.parcels {
        if let Some(hands) = receipts.hands(room, *seq).await? {
            sender.send(&hands).await?;
        }
    }
    if ask.follow != Some(true) {
        return sender.finish().await;
    }
    let (mut moving, mut due) = (Moving::default(), Instant::now());
    moving.changed(receipts.underway(room).into_iter().map(|(seq, _)| seq));
    loop {
        let changed = tokio::select! {
            changed = news.recv() => changed,
            ended = receiver.ended() => {
                ended?;
                return sender.finish().await;
            }
            change = changes.recv() => {
                match change {
                    Ok((other, seq)) => moving.changed((other == room.0).then_some(seq)),
                    Err(RecvError::Closed) => return sender.finish().await,
                    Err(RecvError::Lagged(_)) => moving.changed(receipts.underway(room).into_iter().map(|(seq, _)| seq)),
                }
                continue;
            }
            () = tokio::time::sleep_until(due), if moving.is_due() => {
                // Whoever was sent away meanwhile hears nothing more.
                receipts.room(&context, &ask.room).await?;
                moving.tell(receipts, room, &mut sender).await?;
                due = Instant::now() + MOVES;
                continue;
            }
        };
        let changed = match changed {
            Ok((other, _)) if other != room => continue,
            Ok((_, seq)) => vec![seq],
            // More than are remembered: those that were asked for are told again.
            Err(RecvError::Lagged(_)) => ask.parcels.clone(),
            Err(RecvError::Closed) => return sender.finish().await,
        };
        receipts.room(&context, &ask.room).await?;
        for seq in changed {
            if let Some(hands) = receipts.hands(room, seq).await? {
                sender.send(&hands).await?;
            }
        }
    }
}

/// The parcels of a room that are being sent, as they were told of.
#[derive(Default)]
struct Moving {
    told: BTreeMap<u64, Hands>,
    /// Those that have begun or ended since.
    changed: BTreeSet<u64>,
}

impl Moving {
    /// These have begun, or ended.
    fn changed(&mut self, parcels: impl IntoIterator<Item = u64>) {
        self.changed.extend(parcels);
        while self.changed.len() > MAX_ASKED {
            self.changed.pop_first();
        }
    }

    /// Whether there is something to be told soon.
    fn is_due(&self) -> bool {
        !self.told.is_empty() || !self.changed.is_empty()
    }

    /// Tells how far each is, where that has changed; and of those that have ended, what they are now.
    //= S5.96
    async fn tell<C: Send + Sync + 'static>(
        &mut self,
        receipts: &impl Receipts<C>,
        room: RoomId,
        sender: &mut Sender,
    ) -> hikyaku::Result<()> {
        let mut before = std::mem::take(&mut self.told);
        let mut changed = std::mem::take(&mut self.changed);
        for (seq, arrival) in receipts.underway(room) {
            changed.remove(&seq);
            let known = before.remove(&seq);
            let hands = match known {
                Some(known) => Some(Hands { arrival: Some(arrival), ..known }),
                None => receipts.hands(room, seq).await?,
            };
            let Some(hands) = hands else { continue };
            if known != Some(hands) {
                sender.send(&hands).await?;
            }
            self.told.insert(seq, hands);
        }
        changed.extend(before.into_keys());
        for seq in changed {
            if let Some(hands) = receipts.hands(room, seq).await? {
                sender.send(&hands).await?;
            }
        }
        Ok(())
    }
}
