//! The server side of signed receipts: `receipt.give`, `receipt.list` and `receipt.hands`.

use std::future::Future;

use hikyaku::{ErrorCode, Exchange, Failure};
use hikyaku_wire::chat::RoomId;
use hikyaku_wire::files::receipts::{
    AskHands, GIVE, Given, HANDS, Hands, LIST, ListReceipts, Receipts as Page, SignedReceipt, Statement,
};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use super::{Known, accept, verify};

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

    /// In how many hands a parcel is; `None` where there is no such parcel.
    fn hands(&self, room: RoomId, seq: u64) -> impl Future<Output = Result<Option<Hands>, Failure>> + Send;

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
    let mut news = receipts.news();
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
    loop {
        let changed = tokio::select! {
            changed = news.recv() => changed,
            ended = receiver.ended() => {
                ended?;
                return sender.finish().await;
            }
        };
        let changed = match changed {
            Ok((other, _)) if other != room => continue,
            Ok((_, seq)) => vec![seq],
            // More than are remembered: those that were asked for are told again.
            Err(RecvError::Lagged(_)) => ask.parcels.clone(),
            Err(RecvError::Closed) => return sender.finish().await,
        };
        // Whoever was sent away meanwhile hears nothing more.
        receipts.room(&context, &ask.room).await?;
        for seq in changed {
            if let Some(hands) = receipts.hands(room, seq).await? {
                sender.send(&hands).await?;
            }
        }
    }
}
