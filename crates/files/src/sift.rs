//! Sifting at the sender: a tree is listed ahead of its bytes, and only what the receiver wants of it is sent.
//!
//! [`Sifting`] keeps a bounded part of the listing of a tree ([`Branches`]) between listing and reading it, writes the bundle
//! of what is wanted, and chains what is not into its end. Spec: section 5.7.

mod branches;
mod olders;
pub(crate) mod speaking;
mod stream;

use std::collections::VecDeque;

use hikyaku_wire::bundle::{Done, Enter, LeftOut, Reason};
use hikyaku_wire::files::{Accept, Close, List, MAX_AHEAD, MAX_LISTED, Verdict, Wants};
use tokio::sync::mpsc;

use crate::bundle::Writer;
use crate::error::{FilesError, Result};
use crate::progress::{Passing, Progress, Stage};
use crate::reader::{Blocks, Said};
use crate::tree;
use crate::unpack::leads_out;
use crate::walk::Trouble;
pub use branches::Chain;
pub(crate) use branches::{Branches, Entry, ListedFile};
use olders::Olders;
pub(crate) use olders::{Answering, Answers, answers};
use stream::Stream;

/// The most answers that wait for the thread that reads.
pub(crate) const ANSWERS: usize = 64;
/// The most bytes of names, links and attributes that are listed ahead.
const MAX_AHEAD_BYTES: usize = 2 * 1024 * 1024;
/// A list is sent when its entries have so many bytes, whatever their number.
const LIST_BYTES: usize = 32 * 1024;
/// A list is sent when so many bytes were read for the roots in it.
const LIST_READ: u64 = 64 * 1024 * 1024;
/// The most troubles that are told one by one.
const MAX_TROUBLES: usize = 1_000;

/// What was learned when all was said.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sifted {
    pub(crate) troubles: Vec<Trouble>,
    pub(crate) done: Done,
}

/// What a listed file would become, for whoever only wants to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Its path from the top, as bytes.
    pub path: Vec<u8>,
    /// Its size.
    pub size: u64,
    /// What the receiver says.
    pub verdict: Verdict,
}

/// A tree on its way, sifted.
pub(crate) struct Sifting<B> {
    branches: B,
    answers: mpsc::Receiver<Wants>,
    /// Listed and not dealt with.
    ahead: VecDeque<Entry>,
    ahead_bytes: usize,
    listed: u64,
    all_listed: bool,
    /// Where parts of the listing end that name files and are not answered.
    unanswered: VecDeque<u64>,
    /// Answered and not dealt with.
    verdicts: VecDeque<(Verdict, u64)>,
    answered: u64,
    /// Files that were dealt with.
    dealt: u64,
    olders: Olders,
    path: Vec<Vec<u8>>,
    in_file: Option<Vec<u8>>,
    /// Kept files whose record is not written yet.
    run: u64,
    /// Where the records of entries that were dealt with and are not sent yet end.
    unsent: VecDeque<u64>,
    chain: Chain,
    done: Done,
    skipped: u64,
    finished: bool,
    stream: Stream,
    troubles: Vec<Trouble>,
    tell: Box<dyn FnOnce(Sifted) + Send>,
}

impl<B: Branches> Sifting<B> {
    /// A tree from its beginning. `tell` gets what was learned when it is closed.
    pub(crate) fn new(
        branches: B,
        accept: &Accept,
        answers: impl Into<Answers>,
        tell: impl FnOnce(Sifted) + Send + 'static,
    ) -> Result<Self> {
        if accept.from != 0 {
            return Err(FilesError::Order("a tree that is listed begins at its beginning"));
        }
        let (olders, answers) = Olders::new(answers.into());
        Ok(Self {
            branches,
            answers,
            ahead: VecDeque::new(),
            ahead_bytes: 0,
            listed: 0,
            all_listed: false,
            unanswered: VecDeque::new(),
            verdicts: VecDeque::new(),
            answered: 0,
            dealt: 0,
            olders,
            path: Vec::new(),
            in_file: None,
            run: 0,
            unsent: VecDeque::new(),
            chain: Chain::default(),
            done: Done::default(),
            skipped: 0,
            finished: false,
            stream: Stream::new(),
            troubles: Vec::new(),
            tell: Box::new(tell),
        })
    }

    /// The next part of the listing, when there is room for it.
    //= S5.60
    //= S5.61
    fn list(&mut self) -> Result<Option<List>> {
        // Of the entry at hand and of the run before it nothing may be written yet.
        let ahead = self.ahead.len() + self.unsent.len() + 2;
        let has_room = ahead + MAX_LISTED <= MAX_AHEAD && self.ahead_bytes < MAX_AHEAD_BYTES;
        // No more answers than have room while nobody takes them: behind them come the pieces that somebody may wait for.
        if self.all_listed || !has_room || self.unanswered.len() >= ANSWERS {
            return Ok(None);
        }
        let mut list = List { first: self.listed, entries: Vec::new(), last: None };
        let (mut bytes, mut read) = (0, 0);
        while bytes < LIST_BYTES && read < LIST_READ && list.entries.len() < MAX_LISTED {
            let Some(entry) = self.branches.list()? else {
                (self.all_listed, list.last) = (true, Some(true));
                break;
            };
            self.listed += u64::from(matches!(entry, Entry::File(_)));
            list.entries.push(entry.listed());
            if let Entry::File(ListedFile { size, root: Some(_), .. }) = entry {
                read += size;
            }
            bytes += entry.bytes();
            self.ahead_bytes += entry.bytes();
            self.ahead.push_back(entry);
        }
        if self.listed > list.first {
            self.unanswered.push_back(self.listed);
        }
        Ok(Some(list))
    }

    /// The answer to the next file; waits until it is there.
    fn verdict(&mut self) -> Result<(Verdict, u64)> {
        loop {
            if let Some(verdict) = self.verdicts.pop_front() {
                return Ok(verdict);
            }
            self.hear()?;
        }
    }

    fn hear(&mut self) -> Result<()> {
        let wants = self.answers.blocking_recv().ok_or(hikyaku::Error::Truncated)?;
        self.answer(&wants)
    }

    /// Whether everything is known of the next entry that it takes to send it: where it is a file of which the receiver has an
    /// older version, what that is. Waits for it, if it may.
    fn is_known(&mut self, may_wait: bool) -> Result<bool> {
        if self.in_file.is_some() || !matches!(self.ahead.front(), Some(Entry::File(_))) {
            return Ok(true);
        }
        while self.verdicts.is_empty() {
            self.hear()?;
        }
        Ok(!self.olders.has(self.dealt) || self.olders.hear(may_wait)?)
    }

    //= S5.62
    fn answer(&mut self, wants: &Wants) -> Result<()> {
        let count = wants.verdicts.len() as u64;
        if wants.first != self.answered || count == 0 || count > self.listed - self.answered {
            return Err(FilesError::Order("an answer about files that were not listed"));
        }
        self.olders.name(wants, |verdict| Verdict(verdict).is_wanted())?;
        self.answered += count;
        while self.unanswered.pop_front_if(|end| *end <= self.answered).is_some() {}
        let from = |verdict| if verdict == Verdict::REST { wants.from.unwrap_or(0) } else { 0 };
        let verdicts = wants.verdicts.iter().map(|verdict| Verdict(*verdict));
        self.verdicts.extend(verdicts.map(|verdict| (verdict, from(verdict))));
        Ok(())
    }

    /// Writes the next record or two.
    fn step(&mut self, progress: &Progress) -> Result<()> {
        if self.in_file.is_some() {
            let (branches, stream) = (&mut self.branches, &mut self.stream);
            let written = stream.writer.written().len();
            let end = progress.local().time(Stage::Disk, || branches.step(&mut stream.writer))?;
            progress.local().time(Stage::Cpu, || stream.compare(written));
            if let Some(end) = end {
                let name = self.in_file.take().unwrap_or_default();
                self.wrote();
                if progress.is_observed() {
                    let (path, size) = (self.path_of(&name), end.unwrap_or(0));
                    progress.passed(Passing::Passed { path: &path, size, failed: end.err() });
                }
                match end {
                    Ok(size) => {
                        self.done.entries += 1;
                        self.done.bytes = self.done.bytes.saturating_add(size);
                    }
                    Err(reason) => self.trouble(&name, reason),
                }
            }
            return Ok(());
        }
        let Some(entry) = self.ahead.pop_front() else {
            if self.all_listed {
                self.finish();
            }
            return Ok(());
        };
        self.ahead_bytes -= entry.bytes();
        match entry {
            Entry::File(file) => return self.file(&file, progress),
            Entry::Enter(name) => {
                self.writer().enter(&Enter { name: name.clone() });
                self.branches.enter(&name);
                self.path.push(name);
                self.done.entries += 1;
            }
            Entry::Leave => {
                self.path.pop();
                let leave = self.branches.leave();
                self.writer().leave(&leave);
            }
            Entry::Symlink(link) => {
                self.writer().symlink(&link);
                self.done.entries += 1;
            }
            Entry::HardLink(link) => {
                self.writer().hard_link(&link);
                self.done.entries += 1;
            }
            Entry::LeftOut(left_out) => self.leave_out(left_out),
        }
        self.wrote();
        Ok(())
    }

    fn wrote(&mut self) {
        self.unsent.push_back(self.stream.end());
    }

    fn file(&mut self, file: &ListedFile, progress: &Progress) -> Result<()> {
        let (verdict, from) = self.verdict()?;
        let older = self.olders.has(self.dealt).then(|| self.olders.take()).flatten();
        self.dealt += 1;
        if !verdict.is_wanted() {
            self.run += 1;
            let time = (file.meta.mtime.unwrap_or(0), file.meta.mtime_ns.unwrap_or(0));
            self.chain.push(&file.name, file.size, time, (file.root, file.attributes));
            self.skipped = self.skipped.saturating_add(file.size);
            return Ok(());
        }
        if !from.is_multiple_of(tree::GROUP_LEN) || from > file.size {
            return Err(FilesError::Range {
                reason: "the receiver asks for the rest of a file behind its end",
                offset: from,
                len: 0,
            });
        }
        self.end_run();
        match self.branches.begin(file, from, &mut self.stream.writer)? {
            Ok(()) => {
                if let Some((index, begin)) = older {
                    self.stream.renew(index, begin)?;
                }
                self.skipped = self.skipped.saturating_add(from);
                self.in_file = Some(file.name.clone());
                if progress.is_observed() {
                    progress.passed(Passing::Begins { path: &self.path_of(&file.name), size: file.size });
                }
            }
            Err(reason) => {
                self.leave_out(LeftOut { name: file.name.clone(), reason });
                self.wrote();
            }
        }
        Ok(())
    }

    fn leave_out(&mut self, left_out: LeftOut) {
        self.writer().left_out(&left_out);
        self.trouble(&left_out.name, left_out.reason);
    }

    fn trouble(&mut self, name: &[u8], reason: Reason) {
        self.done.left_out += 1;
        if self.troubles.len() < MAX_TROUBLES {
            let path = self.path_of(name);
            self.troubles.push(Trouble { path, reason });
        }
    }

    fn path_of(&self, name: &[u8]) -> Vec<u8> {
        self.path.iter().map(Vec::as_slice).chain([name]).collect::<Vec<_>>().join(&b'/')
    }

    /// Where records go: kept files before them are told first.
    fn writer(&mut self) -> &mut Writer {
        self.end_run();
        &mut self.stream.writer
    }

    fn end_run(&mut self) {
        if self.run > 0 {
            self.stream.writer.kept(self.run);
            self.wrote();
            self.done.kept = Some(self.done.kept.unwrap_or(0) + self.run);
            self.run = 0;
        }
    }

    fn finish(&mut self) {
        self.end_run();
        let chain = self.done.kept.map(|_| self.chain.value());
        self.stream.writer.done(&Done { chain, ..self.done });
        self.finished = true;
    }

    /// The next block of what is written: whole groups, or everything.
    fn block(&mut self, is_all: bool) -> Option<Said> {
        let said = self.stream.block(is_all);
        let end = self.stream.offset();
        while self.unsent.front().is_some_and(|wrote| *wrote <= end) {
            self.unsent.pop_front();
        }
        said
    }
}

impl<B: Branches> Sifting<B> {
    /// What cannot be carried, so far: the first of it, and how much there is.
    pub(crate) fn into_troubles(self) -> (Vec<Trouble>, u64) {
        (self.troubles, self.done.left_out)
    }

    /// The next thing that is only told, of a tree of which nothing is sent.
    pub(crate) fn preview(&mut self) -> Result<Option<Preview>> {
        loop {
            if let Some(list) = self.list()? {
                return Ok(Some(Preview::List(list)));
            }
            let Some(entry) = self.ahead.pop_front() else { return Ok(None) };
            self.ahead_bytes -= entry.bytes();
            match entry {
                Entry::Enter(name) => self.path.push(name),
                Entry::Leave => drop(self.path.pop()),
                Entry::File(file) => {
                    let (verdict, _) = self.verdict()?;
                    let path = self.path_of(&file.name);
                    return Ok(Some(Preview::Item(Item { path, size: file.size, verdict })));
                }
                Entry::LeftOut(left_out) => self.trouble(&left_out.name, left_out.reason),
                Entry::Symlink(link) if leads_out(&link.target, self.path.len()) => {
                    return Ok(Some(Preview::LinkOut(self.path_of(&link.name))));
                }
                Entry::Symlink(_) | Entry::HardLink(_) => {}
            }
        }
    }
}

/// What is learned of a tree of which nothing is sent.
pub(crate) enum Preview {
    List(List),
    Item(Item),
    /// A link that may lead out of the tree.
    LinkOut(Vec<u8>),
}

impl<B: Branches> Blocks for Sifting<B> {
    fn next(&mut self, progress: &Progress) -> Result<Option<Said>> {
        loop {
            if let Some(list) = self.list()? {
                return Ok(Some(Said::List(list)));
            }
            // Nothing more may be listed before some of what is written is sent: it is more than a group.
            let waits = self.ahead.is_empty() && !self.all_listed && self.in_file.is_none();
            if self.finished || waits || self.stream.has_block() {
                let block = progress.local().time(Stage::Cpu, || self.block(self.finished));
                if block.is_none() && !self.finished {
                    // Thousands of directories that are entered and left without a word take less than a group.
                    return Err(FilesError::SourceChanged("too many of its directories are gone"));
                }
                return Ok(block);
            }
            // Of more older versions is told when what came before was received: nothing of it may wait here.
            if !self.is_known(false)? {
                if let Some(block) = self.block(true) {
                    return Ok(Some(block));
                }
                progress.local().time(Stage::Remote, || self.is_known(true))?;
            }
            self.step(progress)?;
        }
    }

    fn skipped(&self) -> u64 {
        self.skipped
    }

    fn close(self) -> Result<Close> {
        let size = self.stream.offset();
        let root = self.stream.root().ok_or(FilesError::SourceChanged("its root is not known"))?;
        (self.tell)(Sifted { troubles: self.troubles, done: self.done });
        Ok(Close { entry: None, size, root })
    }
}
