//! Older versions of a tree's files, as the receiver names them and tells of their pieces: one after the other, a few ahead.
//! Spec: S5.107–S5.109.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hikyaku_wire::files::{MAX_AHEAD, MAX_INDEX, Older, OlderFile, PIECE_LEN, Pieces, Wants};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TryRecvError;

use crate::error::{FilesError, Result};
use crate::versions::Index;

/// What a message counts beside its pieces: what it takes to hold one without any.
const MESSAGE: usize = 8;
/// The most that waits for whoever compares: the pieces that may be told ahead, twice as many as there are averages, and the messages
/// for them, one for each file and as many again for files of many pieces.
const MAX_WAITING: usize = 2 * MAX_INDEX + MESSAGE * 2 * MAX_AHEAD;

/// What a receiver answers, for whoever reads: verdicts, and where older versions may be used their pieces.
#[derive(Debug)]
pub(crate) struct Answers {
    pub(super) wants: mpsc::Receiver<Wants>,
    told: Option<Told>,
}

/// The other end of it.
#[derive(Debug)]
pub(crate) struct Answering {
    wants: mpsc::Sender<Wants>,
    told: Option<(mpsc::UnboundedSender<Pieces>, Arc<AtomicUsize>)>,
}

#[derive(Debug)]
struct Told {
    pieces: mpsc::UnboundedReceiver<Pieces>,
    /// How many wait.
    waiting: Arc<AtomicUsize>,
}

/// Both ends, for a sender to whom older versions may be told.
pub(crate) fn answers(most: usize) -> (Answering, Answers) {
    let (to, wants) = mpsc::channel(most);
    let (telling, pieces) = mpsc::unbounded_channel();
    let waiting = Arc::new(AtomicUsize::new(0));
    let told = Some(Told { pieces, waiting: waiting.clone() });
    (Answering { wants: to, told: Some((telling, waiting)) }, Answers { wants, told })
}

impl From<mpsc::Receiver<Wants>> for Answers {
    fn from(wants: mpsc::Receiver<Wants>) -> Self {
        Self { wants, told: None }
    }
}

impl From<mpsc::Sender<Wants>> for Answering {
    fn from(wants: mpsc::Sender<Wants>) -> Self {
        Self { wants, told: None }
    }
}

impl Answering {
    /// Passes verdicts on. Whoever does not wait for them has not listed anything, or has ended and says why itself.
    pub(crate) async fn wants(&self, wants: Wants) {
        let _ = self.wants.send(wants).await;
    }

    /// Passes verdicts on where there is room.
    pub(super) fn give(&self, wants: Wants) {
        let _ = self.wants.try_send(wants);
    }

    /// Passes pieces on, and never waits: behind them come verdicts, for which the blocks wait that pieces are for.
    //= S5.108
    pub(crate) fn pieces(&self, pieces: Pieces) -> Result<()> {
        // Without somebody to hear of them, nothing is left to be compared with them.
        let Some((to, waiting)) = &self.told else { return Ok(()) };
        let count = weight(&pieces);
        if waiting.fetch_add(count, Ordering::Relaxed) + count > MAX_WAITING {
            let name = "pieces of older versions that are told ahead";
            return Err(FilesError::Limit { name, limit: MAX_WAITING as u64 });
        }
        let _ = to.send(pieces);
        Ok(())
    }
}

/// What a message about pieces counts.
fn weight(pieces: &Pieces) -> usize {
    pieces.pieces.len() / PIECE_LEN + MESSAGE
}

/// The older versions of files to come.
#[derive(Debug)]
pub(super) struct Olders {
    told: Option<Told>,
    named: VecDeque<(OlderFile, u64)>,
    /// What is known of the first of them.
    hearing: Option<Index>,
    /// Where the next one begins, all put together.
    end: u64,
}

impl Olders {
    /// None is known.
    pub(super) fn new(answers: Answers) -> (Self, mpsc::Receiver<Wants>) {
        let Answers { wants, told } = answers;
        (Self { told, named: VecDeque::new(), hearing: None, end: 0 }, wants)
    }

    /// Some of the files that were answered have older versions.
    //= S5.107
    pub(super) fn name(&mut self, wants: &Wants, is_wanted: impl Fn(u8) -> bool) -> Result<()> {
        for named in &wants.older {
            let OlderFile { file, older: Older { size, .. } } = *named;
            let number = file.checked_sub(wants.first).and_then(|number| usize::try_from(number).ok());
            let verdict = number.and_then(|number| wants.verdicts.get(number));
            let follows = self.named.back().is_none_or(|(last, _)| last.file < file);
            if self.told.is_none() || !follows || !verdict.is_some_and(|verdict| is_wanted(*verdict)) {
                return Err(FilesError::Order("an older version of a file that is not wanted, or has none"));
            }
            let end = self.end.checked_add(size).filter(|end| *end <= hikyaku_wire::cbor::MAX_INTEGER);
            let range = FilesError::Range {
                reason: "older versions have too many bytes",
                offset: self.end,
                len: size,
            };
            self.named.push_back((*named, self.end));
            self.end = end.ok_or(range)?;
        }
        Ok(())
    }

    /// Whether this file has one.
    pub(super) fn has(&self, file: u64) -> bool {
        self.named.front().is_some_and(|(named, _)| named.file == file)
    }

    /// Hears of the pieces of the first one what was told of them; whether that is all. Waits for it, if it may.
    pub(super) fn hear(&mut self, may_wait: bool) -> Result<bool> {
        let (Some((named, _)), Some(told)) = (self.named.front(), &mut self.told) else { return Ok(true) };
        if self.hearing.is_none() {
            self.hearing = Some(Index::new(named.older)?);
        }
        let Some(index) = &mut self.hearing else { return Ok(true) };
        while !index.is_whole() {
            let pieces = match may_wait {
                true => told.pieces.blocking_recv().ok_or(TryRecvError::Disconnected),
                false => told.pieces.try_recv(),
            };
            let pieces = match pieces {
                Err(TryRecvError::Empty) => return Ok(false),
                pieces => pieces.map_err(|_| hikyaku::Error::Truncated)?,
            };
            told.waiting.fetch_sub(weight(&pieces), Ordering::Relaxed);
            index.hear(&pieces)?;
        }
        Ok(true)
    }

    /// What is known of the first one, and where it begins.
    pub(super) fn take(&mut self) -> Option<(Index, u64)> {
        let (_, begin) = self.named.pop_front()?;
        Some((self.hearing.take()?, begin))
    }
}

#[cfg(test)]
mod tests;
