//! Following across connections: when one breaks, another is made, and the cursors go on where they were.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use hikyaku::{Connection, Error, Failure, Result, Retry};
use hikyaku_wire::chat::{Mode, RoomId};
use hikyaku_wire::codes::ErrorCode;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;

use super::calls::{ChatClient, Sync};
use super::follower::{Follower, News, Position};
use crate::server::{lock, random};

/// News that may wait for the application: when it does not read, the server is not read either.
const NEWS_WAITING: usize = 1_024;

/// How long to wait before connecting again: longer each time, never the same for all clients of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// After the first failure.
    pub first: Duration,
    /// The longest.
    pub most: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { first: Duration::from_millis(100), most: Duration::from_secs(10) }
    }
}

impl Backoff {
    /// The wait after this many failures in a row, with `chance` (0 to 255) choosing within the upper half.
    fn after(self, failures: u32, chance: u8) -> Duration {
        let whole = self.first.saturating_mul(1 << failures.min(16)).min(self.most);
        whole / 2 + whole / 2 * u32::from(chance) / 255
    }
}

/// Rooms being followed, for as long as this value lives.
pub struct Following {
    news: mpsc::Receiver<Result<News>>,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    follower: Mutex<Follower>,
    /// The follower has new wishes.
    wishes: Notify,
}

impl Following {
    /// Follows what `follower` does, over connections that `connect` makes. An error that connecting again cannot
    /// help is the last thing reported.
    pub fn start<K, F>(follower: Follower, backoff: Backoff, connect: K) -> Self
    where
        K: FnMut() -> F + Send + 'static,
        F: Future<Output = Result<Connection>> + Send + 'static,
    {
        let (tell, news) = mpsc::channel(NEWS_WAITING);
        let shared = Arc::new(Shared { follower: Mutex::new(follower), wishes: Notify::new() });
        let task = tokio::spawn(run(shared.clone(), tell, backoff, connect));
        Self { news, shared, task }
    }

    /// The next news, in order; `None` after the error that ended everything. Safe to drop and call again.
    pub async fn next(&mut self) -> Option<Result<News>> {
        self.news.recv().await
    }

    /// Follows one more room, or goes on elsewhere in one. News of the old position may still be on its way.
    pub fn follow(&self, room: RoomId, position: Position, mode: Mode) {
        lock(&self.shared.follower).follow(room, position, mode);
        self.shared.wishes.notify_one();
    }

    /// Follows a room no longer.
    pub fn leave(&self, room: RoomId) {
        lock(&self.shared.follower).leave(room);
        self.shared.wishes.notify_one();
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run<K, F>(shared: Arc<Shared>, tell: mpsc::Sender<Result<News>>, backoff: Backoff, mut connect: K)
where
    K: FnMut() -> F + Send + 'static,
    F: Future<Output = Result<Connection>> + Send + 'static,
{
    let mut failures = 0;
    loop {
        let error = match connect().await {
            Ok(connection) => {
                if tell.send(Ok(News::Connected)).await.is_err() {
                    return;
                }
                failures = 0;
                match follow_one(&shared, &tell, connection).await {
                    Ok(()) => return,
                    Err(error) => error,
                }
            }
            Err(error) => error,
        };
        lock(&shared.follower).disconnected();
        let asked = error.retry_after();
        let last = !error.is_retryable();
        let news = if last { Err(error) } else { Ok(News::Lost(error.to_string())) };
        if tell.send(news).await.is_err() || last {
            return;
        }
        let chance = random().map_or(128, |random| random[0]);
        tokio::time::sleep(backoff.after(failures, chance).max(asked.unwrap_or_default())).await;
        failures += 1;
    }
}

/// Follows over one connection until it breaks; `Ok` when nobody listens any more.
async fn follow_one(
    shared: &Shared,
    tell: &mpsc::Sender<Result<News>>,
    connection: Connection,
) -> Result<()> {
    let Sync { mut sender, mut receiver } = ChatClient::new(connection).sync().await?;
    let ask = async {
        loop {
            loop {
                let wish = lock(&shared.follower).wishes();
                let Some(wish) = wish else { break };
                sender.follow(&wish).await?;
            }
            shared.wishes.notified().await;
        }
    };
    let listen = async {
        while let Some(update) = receiver.next().await? {
            let (news, asks) = {
                let mut follower = lock(&shared.follower);
                (follower.update(update), follower.has_wishes())
            };
            if asks {
                shared.wishes.notify_one();
            }
            for news in news {
                if tell.send(Ok(news)).await.is_err() {
                    return Ok(());
                }
            }
        }
        let ended = Failure::new(ErrorCode::UNAVAILABLE, "the server has ended the exchange");
        Err(Error::Failure(ended.with_retry(Retry::NewConnection)))
    };
    tokio::select! {
        result = listen => result,
        result = ask => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_limit_and_differ() {
        let backoff = Backoff::default();
        let waits: Vec<_> = (0..20).map(|failures| backoff.after(failures, 255)).collect();
        assert!(waits.is_sorted());
        assert_eq!((waits[0], waits[19]), (backoff.first, backoff.most));
        assert_eq!(backoff.after(3, 0), backoff.after(3, 255) / 2);
        assert_eq!(backoff.after(u32::MAX, 255), backoff.most);
    }
}
