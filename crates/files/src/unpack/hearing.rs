//! A listing and its bundle, held to each other without a disk: what every receiver does before it writes anything. For
//! fuzzing, and for whoever wants to know what a sender would be believed.

use std::sync::Arc;

use hikyaku_wire::files::{List, PutOptions, Synced, Wants};

use super::{Only, Report, Sifter, UnpackOptions};
use crate::bundle::Reader;
use crate::error::Result;
use crate::names::Dots;
use crate::policy::Policy;

/// A receiver that has nothing, and makes nothing.
#[derive(Debug)]
pub struct Hearing {
    sifter: Sifter,
    reader: Reader,
    report: Report,
}

impl Hearing {
    /// One that wants what these options say, or of that only some paths.
    ///
    /// # Errors
    /// None without a disk.
    pub fn new(options: &PutOptions, dots: Dots, only: Option<Only>) -> Result<Self> {
        let policy = Policy::of(options);
        let Policy { distinct, aside, .. } = policy;
        let unpack =
            UnpackOptions { dots, all_links: false, synced: Synced::None, distinct, aside, prints: false };
        let sifter = Sifter::new(None, None, None, policy, &unpack)?.only(only.map(Arc::new));
        Ok(Self { sifter, reader: Reader::listed(dots), report: Report::default() })
    }

    /// Answers a part of the listing.
    ///
    /// # Errors
    /// The sender broke a rule.
    pub fn answer(&mut self, list: List) -> Result<Option<Wants>> {
        self.sifter.answer(list, &mut self.report, None)
    }

    /// Takes a part of the bundle.
    ///
    /// # Errors
    /// It is no bundle, or not the one that was listed and asked for.
    pub fn take(&mut self, mut bundle: &[u8]) -> Result<()> {
        while let Some(item) = self.reader.next(&mut bundle)? {
            if let super::Way::Kept(last) = self.sifter.expect(&item)? {
                self.reader.pass(&last);
            }
        }
        Ok(())
    }

    /// Whether all of the bundle came, and all that was listed with it.
    pub fn is_done(&self) -> bool {
        self.reader.is_done()
    }
}
