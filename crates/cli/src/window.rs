//! Events on their way to whoever reads: for people, with what later events say about them in its place; for programs,
//! raw, with the chain's value after each.

use std::collections::{HashMap, VecDeque};

use hikyaku_chat::Chain;
use hikyaku_chat::client::{Fold, News};
use hikyaku_wire::chat::{Kind, RoomId};
use hikyaku_wire::files::receipts::Hands;

use crate::commands::tail::Passage;
use crate::event::Shown;
use crate::exit::Result;
use crate::output;

/// Events that are held until what follows them is known; with more, the first are shown as they are.
const HELD: usize = 10_000;
/// Bytes of texts that are held.
const HELD_BYTES: usize = 16 << 20;
/// Values of the chain that are remembered, for when history is rewound.
const REMEMBERED: usize = 4_096;

/// Holds events until it is known what later ones say about them.
pub(crate) struct Window<'a, F> {
    show: F,
    held: VecDeque<Shown<'a>>,
    bytes: usize,
    fold: Fold,
    /// In how many hands parcels are, where that is known.
    hands: HashMap<u64, Hands>,
}

impl<'a, F: FnMut(&Shown<'a>) -> Result> Window<'a, F> {
    pub(crate) fn new(show: F) -> Self {
        Self { show, held: VecDeque::new(), bytes: 0, fold: Fold::default(), hands: HashMap::new() }
    }

    /// Takes the next event.
    pub(crate) fn take(&mut self, passage: Passage<'a>) -> Result {
        let Passage::Event(shown) = passage else { return Ok(()) };
        if let Some(event) = &shown.event {
            self.fold.take(event);
        }
        self.bytes += bytes(&shown);
        self.held.push_back(*shown);
        while self.held.len() > HELD || self.bytes > HELD_BYTES {
            self.show_first()?;
        }
        Ok(())
    }

    /// The parcels that are still to be shown.
    pub(crate) fn parcels(&self) -> Vec<u64> {
        let is_parcel = |shown: &&Shown<'_>| {
            shown.event.as_ref().is_some_and(|event| event.envelope.kind == Kind::PARCEL)
        };
        self.held.iter().filter(is_parcel).map(|shown| shown.seq).collect()
    }

    /// Shows what is left, and beside parcels in how many hands they are.
    pub(crate) fn finish_with(&mut self, hands: HashMap<u64, Hands>) -> Result {
        self.hands = hands;
        self.finish()
    }

    /// Shows what is left.
    fn finish(&mut self) -> Result {
        // An event that changes one which was shown in its new form says nothing new.
        let first = self.held.front().map_or(0, |shown| shown.seq);
        self.held.retain(|shown| shown.folds_into().is_none_or(|target| target < first));
        while !self.held.is_empty() {
            self.show_first()?;
        }
        Ok(())
    }

    fn show_first(&mut self) -> Result {
        let Some(mut shown) = self.held.pop_front() else { return Ok(()) };
        self.bytes -= bytes(&shown);
        shown.about = self.fold.about(shown.seq).cloned();
        shown.hands = self.hands.get(&shown.seq).copied();
        (self.show)(&shown)
    }
}

fn bytes(shown: &Shown<'_>) -> usize {
    shown.event.as_ref().and_then(|event| event.body.as_ref()).map_or(0, |body| body.len())
}

/// The chain as this reader computes it.
pub(crate) struct Links {
    room: RoomId,
    chain: Option<Chain>,
    /// The newest values, by sequence number.
    remembered: VecDeque<(u64, Chain)>,
}

impl Links {
    pub(crate) fn new(room: RoomId) -> Self {
        Self { room, chain: None, remembered: VecDeque::new() }
    }

    /// Prints the next event as JSON.
    pub(crate) fn print(&mut self, passage: Passage<'_>) -> Result {
        match passage {
            Passage::Chain(chain) => {
                self.chain = chain;
                Ok(())
            }
            Passage::Event(shown) => {
                let chain = self.link(&shown);
                output::json(&shown.json(self.room, chain))
            }
        }
    }

    /// The chain's value after the next event, if the one before is known and the event can be read.
    pub(crate) fn link(&mut self, shown: &Shown<'_>) -> Option<Chain> {
        self.chain = self.chain.zip(shown.event.as_ref()).map(|(chain, event)| event.link(chain));
        if let Some(chain) = self.chain {
            self.remembered.push_back((shown.seq, chain));
            if self.remembered.len() > REMEMBERED {
                self.remembered.pop_front();
            }
        }
        self.chain
    }

    /// Takes in what moves a reader other than an event.
    pub(crate) fn hear(&mut self, news: &News) {
        match news {
            News::Rewound { from, .. } => {
                self.remembered.retain(|(seq, _)| seq < from);
                let before = self.remembered.back().filter(|(seq, _)| seq + 1 == *from);
                self.chain = before.map(|(_, chain)| *chain);
            }
            News::Trimmed { chain, .. } => self.chain = chain.map(Chain),
            _ => {}
        }
    }
}
