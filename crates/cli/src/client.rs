//! A client of one known server: how it connects, and how often it tries again.

use std::pin::pin;
use std::time::{Duration, Instant};

use hikyaku::{Connection, ErrorCode, Failure, Identity, KeyId, Limits, Prefer, Retry, Transport};
use hikyaku_files::{FilesError, Moment};
use tokio::sync::watch;

use crate::args::Global;
use crate::exit::{Result, Trouble};
use crate::home::{Home, KnownServer};
use crate::seeing::Seeing;
use crate::transfer::LOOK_EVERY;

/// How long one attempt to connect may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Everything needed to reach a known server, again and again.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) server: KnownServer,
    identity: Identity,
    host: KeyId,
    transport: Transport,
    prefer: Prefer,
    /// How much a stream may carry that was not read yet, where that is bounded.
    window: Option<u64>,
    seeing: Seeing,
}

impl Client {
    /// The server that is meant by `--server`, by a name inside a reference, or by default.
    pub(crate) fn of(global: &Global, named: Option<&str>) -> Result<Self> {
        let server = Home::find()?.server(named.or(global.server.as_deref()))?;
        let mut client = Self::new(server, global.transport.into())?;
        client.seeing = global.seeing.open()?;
        Ok(client)
    }

    pub(crate) fn new(server: KnownServer, transport: Transport) -> Result<Self> {
        let (identity, host) = (server.identity()?, server.host()?);
        Ok(Self {
            server,
            identity,
            host,
            transport,
            prefer: Prefer::Interactive,
            window: None,
            seeing: Seeing::default(),
        })
    }

    /// For moving bulk: TCP first.
    pub(crate) fn for_bulk(mut self) -> Self {
        self.prefer = Prefer::Bulk;
        self
    }

    /// No more than this on its way to this side: more would arrive faster than it may.
    pub(crate) fn within(mut self, window: Option<u64>) -> Self {
        self.window = window;
        self
    }

    /// One attempt, over every address and transport allowed.
    pub(crate) async fn connect(&self) -> hikyaku::Result<Connection> {
        let connect = hikyaku::connect(&self.server.known.addresses, self.host)
            .identity(&self.identity)
            .transport(self.transport)
            .prefer(self.prefer)
            .timeout(CONNECT_TIMEOUT);
        let connect = match self.window {
            None => connect,
            Some(window) => {
                let usual = Limits::default();
                let stream_window = window.min(usual.stream_window);
                let connection_window = window.min(usual.connection_window);
                connect.limits(Limits { stream_window, connection_window, ..usual })
            }
        };
        self.seeing.watch(connect).await
    }

    /// The same for a command that does one thing: failing says which server.
    pub(crate) async fn connected(&self) -> Result<Connection> {
        self.connect().await.map_err(|error| Trouble::from(error).during(self.name()))
    }

    /// The key by which the server knows this computer.
    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The server's key.
    pub(crate) fn host(&self) -> KeyId {
        self.host
    }

    /// What this computer calls the server.
    pub(crate) fn name(&self) -> &str {
        &self.server.known.name
    }
}

/// A transfer that breaks and goes on: tried again for as long as it keeps moving, and a while longer.
pub(crate) struct Patience {
    backoff: Backoff,
    reached: u64,
    moved_at: Instant,
    /// It moved since somebody asked.
    moved: bool,
    /// Whoever gives or takes the bytes here may take all the time in the world.
    pauses: bool,
    /// It is tried for ever.
    endless: bool,
    /// Since when the receiver's disk is full.
    full_since: Option<Instant>,
    /// How long that may be; as long as the receiver waits, when it is not said.
    full_limit: Option<Duration>,
}

impl Patience {
    /// How long a transfer is tried without moving on before it is left for later.
    const LIMIT: Duration = Duration::from_secs(60);
    /// What counts as moved is what was handed to the transport, and over QUIC up to so many bytes wait there.
    const WAITING: u64 = 24 * 1024 * 1024;
    /// The slowest line on which they are waited for, in bytes per millisecond: 0.8 Mbit/s.
    const SLOWEST: u64 = 100;

    pub(crate) fn new() -> Self {
        Self {
            backoff: Backoff::new(),
            reached: 0,
            moved_at: Instant::now(),
            moved: false,
            pauses: false,
            endless: false,
            full_since: None,
            full_limit: None,
        }
    }

    /// Waits for room on the receiver's disk for no longer than this.
    pub(crate) fn with_full_limit(mut self, limit: Option<Duration>) -> Self {
        self.full_limit = limit;
        self
    }

    /// For a transfer that waits for a person or a program on this side: only a broken connection ends an attempt.
    pub(crate) fn with_pauses(mut self) -> Self {
        self.pauses = true;
        self
    }

    /// For whoever follows something: it is tried until there is an answer.
    pub(crate) fn without_end(mut self) -> Self {
        self.endless = true;
        self
    }

    /// Whether the failed attempt got further than those before it, to `bytes`.
    pub(crate) fn has_moved(&mut self, bytes: u64) -> bool {
        self.note(bytes);
        std::mem::take(&mut self.moved)
    }

    fn note(&mut self, bytes: u64) {
        if bytes > self.reached {
            let Self { pauses, endless, full_limit, .. } = *self;
            *self = Self { reached: bytes, moved: true, pauses, endless, full_limit, ..Self::new() };
        }
    }

    /// Makes an attempt, and gives it up when nothing has moved for too long: a peer that is there and says nothing.
    pub(crate) async fn attempt<T>(
        &mut self,
        moments: watch::Receiver<Moment>,
        attempt: impl Future<Output = Result<T, FilesError>>,
    ) -> Result<T, FilesError> {
        let mut attempt = pin!(attempt);
        if self.pauses {
            let (begun, ended) = (Instant::now(), attempt.await);
            if begun.elapsed() > CONNECT_TIMEOUT {
                // There was a connection, however little passed over it.
                self.moved_at = Instant::now();
            }
            return ended;
        }
        let mut heard = moments.borrow().heard;
        loop {
            tokio::select! {
                done = &mut attempt => return done,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            let moment = *moments.borrow();
            self.note(moment.bytes);
            self.full_since = moment.paused.map(|_| self.full_since.unwrap_or_else(Instant::now));
            // A sender that is away is waited for as long as the server says so, and a receiver whose disk is full as long
            // as it does.
            let is_heard = std::mem::replace(&mut heard, moment.heard) != moment.heard;
            if is_heard || moment.paused.is_some() {
                self.moved_at = Instant::now();
            }
            let full_until = self.full_since.zip(self.full_limit).map(|(since, limit)| since + limit);
            let silent_until = self.moved_at + self.silence();
            if full_until.map_or(silent_until, |until| until.min(silent_until)) <= Instant::now() {
                return Err(self.stalled().into());
            }
        }
    }

    /// Waits for the next attempt after this failure; false if there should be none.
    pub(crate) async fn wait(&mut self, error: &FilesError) -> bool {
        let asked = error.retry_after();
        let again = self.endless || self.moved_at.elapsed() + asked.unwrap_or_default() < Self::LIMIT;
        if again {
            self.backoff.wait(asked).await;
        }
        again
    }

    /// How long an attempt may seem to stand while its connection lives: what was handed over may still be leaving.
    fn silence(&self) -> Duration {
        Self::LIMIT + Duration::from_millis(self.reached.min(Self::WAITING) / Self::SLOWEST)
    }

    fn stalled(&self) -> Failure {
        if let (Some(_), Some(limit)) = (self.full_since, self.full_limit) {
            let full = format!("the receiver's disk has been full for {} s", limit.as_secs());
            return Failure::new(ErrorCode::FULL, full);
        }
        let silence = format!("nothing has moved for {} s", self.silence().as_secs());
        Failure::new(ErrorCode::DEADLINE_EXCEEDED, silence).with_retry(Retry::NewConnection)
    }
}

/// Waits between attempts: doubling from 100 ms to 5 s.
pub(crate) struct Backoff(Duration);

impl Backoff {
    pub(crate) fn new() -> Self {
        Self(Duration::from_millis(100))
    }

    /// Waits once, and no less than the server has `asked` for.
    pub(crate) async fn wait(&mut self, asked: Option<Duration>) {
        tokio::time::sleep(self.next(asked)).await;
    }

    fn next(&mut self, asked: Option<Duration>) -> Duration {
        let doubled = (self.0 * 2).min(Duration::from_secs(5));
        std::mem::replace(&mut self.0, doubled).max(asked.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use hikyaku::Error;

    use super::*;

    #[test]
    fn waits_double_and_are_never_shorter_than_the_server_asks_nor_longer_than_a_minute() {
        let busy = |time| Error::from(Failure::new(ErrorCode::BUSY, "").with_retry(Retry::After(time)));
        let mut backoff = Backoff::new();
        let mut wait = |error: &Error| backoff.next(error.retry_after());
        let (second, day) = (Duration::from_secs(1), Duration::from_secs(86_400));
        assert_eq!(wait(&Error::Refused), Duration::from_millis(100));
        assert_eq!(wait(&busy(second)), second);
        assert_eq!(wait(&busy(Duration::ZERO)), Duration::from_millis(400));
        assert_eq!(wait(&busy(day)), Duration::from_secs(60), "a server cannot keep its clients away");
        let transfer = FilesError::Exchange(busy(second));
        assert_eq!(transfer.retry_after(), Some(second));
    }

    #[test]
    fn silence_is_borne_for_a_minute_and_for_as_long_as_what_was_handed_over_takes_to_leave() {
        let mut patience = Patience::new();
        assert_eq!(patience.silence(), Duration::from_secs(60));
        patience.note(1_000_000);
        assert_eq!(patience.silence(), Duration::from_secs(70));
        patience.note(u64::MAX);
        assert_eq!(patience.silence().as_secs(), 60 + 251, "however much it was");
    }
}
