//! The cards of the parcels that a person looks at: what is known of each, and whether that is news.
//!
//! What is known comes three ways: the events `parcel` and `parcel-end`, and what the server says of hands and of how far
//! a parcel is. They may come in any order.

use std::collections::BTreeMap;

use hikyaku_wire::chat::Kind;
use hikyaku_wire::files::receipts::Hands;

use crate::event::Shown;

/// Parcels that are remembered; of more, the oldest are forgotten.
const MOST: usize = 256;

/// Cards, by their events.
#[derive(Default)]
pub(crate) struct Cards<'a> {
    known: BTreeMap<u64, Shown<'a>>,
    /// What was said of parcels whose events have not come yet.
    early: BTreeMap<u64, Hands>,
    /// The newest event that has come.
    newest: u64,
}

/// What an event means for cards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// It is a card itself, to be shown.
    Card,
    /// It changes this card, which is known.
    Changes(u64),
    /// Nothing.
    Other,
}

impl<'a> Cards<'a> {
    /// Takes in an event that has come.
    pub(crate) fn take(&mut self, shown: &Shown<'a>) -> Meaning {
        self.newest = self.newest.max(shown.seq);
        let Some(event) = &shown.event else { return Meaning::Other };
        match event.envelope.kind {
            Kind::PARCEL => {
                let mut card = shown.clone();
                card.hands = card.hands.or_else(|| self.early.remove(&shown.seq));
                self.known.insert(shown.seq, card);
                if self.known.len() > MOST {
                    self.known.pop_first();
                }
                Meaning::Card
            }
            Kind::PARCEL_END => {
                let Some(target) = shown.folds_into() else { return Meaning::Other };
                let Some(card) = self.known.get_mut(&target) else { return Meaning::Other };
                card.about.get_or_insert_default().ended = event.body.clone();
                Meaning::Changes(target)
            }
            _ => Meaning::Other,
        }
    }

    /// Takes in what the server says of a parcel. The card, if it is known; else whether it may still come.
    pub(crate) fn hear(&mut self, hands: Hands) -> Result<&Shown<'a>, bool> {
        match self.known.get_mut(&hands.seq) {
            Some(card) => {
                card.hands = Some(hands);
                Ok(card)
            }
            None if hands.seq > self.newest => {
                self.early.insert(hands.seq, hands);
                if self.early.len() > MOST {
                    self.early.pop_first();
                }
                Err(true)
            }
            None => Err(false),
        }
    }

    /// A card that is known.
    pub(crate) fn get(&self, seq: u64) -> Option<&Shown<'a>> {
        self.known.get(&seq)
    }
}
