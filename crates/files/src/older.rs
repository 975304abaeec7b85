//! The older version at a receiver: read once to be told of, and again where parts of it are used.
//!
//! It is held open from the acceptance on: what becomes of its name or of its references meanwhile changes nothing. Spec:
//! section 5.10.

use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use hikyaku_storage::vault::{Mark, Object, VaultError};
use hikyaku_wire::files::{Answer, Composed, Older, PIECE_LEN, Pieces};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use crate::error::{FilesError, Result};
use crate::vault::read_at;
use crate::versions::{self, OLDER_FROM, Telling};
use crate::writer::Sink;

/// What is not read and heard after so long is not told: the sender waits for it.
pub(crate) const TELL_FOR: Duration = Duration::from_secs(60);
/// How much is read at a time.
const READ: usize = 512 * 1024;

/// Something that is there and does not change, or is noticed to.
trait Content: Send + Sync {
    fn size(&self) -> u64;
    fn read(&self, offset: u64, into: &mut [u8]) -> Result<usize, VaultError>;
}

impl Content for Box<dyn Object> {
    fn size(&self) -> u64 {
        (**self).size()
    }

    fn read(&self, offset: u64, into: &mut [u8]) -> Result<usize, VaultError> {
        (**self).read(offset, into)
    }
}

struct Regular {
    file: File,
    size: u64,
}

impl Content for Regular {
    fn size(&self) -> u64 {
        self.size
    }

    fn read(&self, offset: u64, into: &mut [u8]) -> Result<usize, VaultError> {
        read_at(&self.file, offset, into)
    }
}

/// An older version that a sender may use. Clones share it.
#[derive(Clone)]
pub(crate) struct OlderVersion {
    content: Arc<dyn Content>,
    older: Older,
}

impl OlderVersion {
    /// An object of the vault; `None` where it is too small to be worth it.
    pub(crate) fn of_object(object: Box<dyn Object>) -> Option<Self> {
        Self::of(Arc::new(object))
    }

    /// A regular file.
    pub(crate) fn of_file(file: File) -> Option<Self> {
        let size = file.metadata().ok()?.len();
        Self::of(Arc::new(Regular { file, size }))
    }

    fn of(content: Arc<dyn Content>) -> Option<Self> {
        let size = content.size();
        if size < OLDER_FROM {
            return None;
        }
        let older = Older { size, average: versions::average_of(size), key: new_key()? };
        Some(Self { content, older })
    }

    /// As it is named in the acceptance.
    pub(crate) fn named(&self) -> Older {
        self.older
    }

    /// The same, named like this; `None` where it has another size.
    pub(crate) fn named_as(self, older: Older) -> Option<Self> {
        (self.older.size == older.size).then_some(Self { older, ..self })
    }

    /// Reads a part of it.
    pub(crate) fn read(&self, offset: u64, part: &mut [u8]) -> Result<usize> {
        Ok(self.content.read(offset, part)?)
    }

    /// Reads it from its beginning on, and as long as that is not too late.
    pub(crate) fn cut(&self, until: Instant) -> Result<Cutting> {
        let telling = Telling::new(&self.older)?;
        let size = self.older.size;
        Ok(Cutting { content: self.content.clone(), size, telling, until, offset: 0, buffer: Vec::new() })
    }
}

/// What pieces are hashed with in one exchange; `None` where there is nothing random.
pub(crate) fn new_key() -> Option<[u8; 32]> {
    let mut key = [0; 32];
    getrandom::fill(&mut key).ok().map(|()| key)
}

/// An older version that is read to be told of.
pub(crate) struct Cutting {
    content: Arc<dyn Content>,
    size: u64,
    telling: Telling,
    until: Instant,
    offset: u64,
    buffer: Vec<u8>,
}

impl Cutting {
    /// The next pieces; `None` after the last. Blocks. What cannot be read is not told of, nor what is not read until it is
    /// too late: the sender waits for it.
    pub(crate) fn next(&mut self) -> Option<Pieces> {
        self.buffer.resize(READ, 0);
        loop {
            if let Some(pieces) = self.telling.next_pieces() {
                return Some(pieces);
            }
            if self.telling.is_over() {
                return None;
            }
            let read = self.content.read(self.offset, &mut self.buffer).unwrap_or_else(|error| {
                tracing::warn!(%error, "an older version cannot be read: the newer one is sent whole from here on");
                0
            });
            // What was added to it since it was named is none of it.
            let read = usize::try_from(self.size.saturating_sub(self.offset)).unwrap_or(read).min(read);
            self.offset += read as u64;
            self.telling.take(self.buffer.get(..read).unwrap_or_default());
            if read < READ || Instant::now() >= self.until {
                self.telling.end();
            }
        }
    }
}

/// Tells of each part when what was told before it is heard, but not for ever: neither a thread nor the place waits for
/// somebody who does not listen. How many pieces were told; `None` when nobody hears of them any more.
pub(crate) async fn tell<P>(
    older: OlderVersion,
    place: P,
    teller: mpsc::Sender<Answer>,
    until: Instant,
) -> Option<u64> {
    let mut cutting = older.cut(until).ok()?;
    let mut told = 0;
    loop {
        let next = tokio::task::spawn_blocking(move || {
            let pieces = cutting.next();
            (cutting, pieces)
        });
        let (back, pieces) = next.await.ok()?;
        cutting = back;
        let Some(pieces) = pieces else { return Some(told) };
        told += (pieces.pieces.len() / PIECE_LEN) as u64;
        match timeout_at(until, teller.reserve()).await {
            Ok(Ok(heard)) => heard.send(Answer::Pieces(pieces)),
            Ok(Err(_)) => return None,
            Err(_) => {
                drop(place);
                // One who is slow and means well waits for the last of them: when he has heard the rest, this is it.
                let last = Pieces { pieces: Vec::new(), last: Some(true), ..pieces };
                return teller.send(Answer::Pieces(last)).await.ok().map(|()| told);
            }
        }
    }
}

/// A sink that finds parts of what is written in an older version, if there is one.
pub(crate) struct Composing<'a, S> {
    pub(crate) sink: &'a mut S,
    pub(crate) older: Option<OlderVersion>,
}

impl<S: Sink> Sink for Composing<'_, S> {
    fn write(&mut self, offset: u64, data: &[u8], tree_offset: u64, tree: &[u8]) -> Result<()> {
        self.sink.write(offset, data, tree_offset, tree)
    }

    fn sync(&mut self, mark: Mark) -> Result<()> {
        self.sink.sync(mark)
    }

    fn compose(&self, composed: &Composed, came: &[u8], into: &mut Vec<u8>) -> Result<()> {
        versions::check(composed, self.older.as_ref().map(|older| older.named().size))?;
        let Some(older) = &self.older else { return Err(FilesError::OlderChanged) };
        versions::compose(composed, came, into, |offset, part| older.read(offset, part))
    }
}
