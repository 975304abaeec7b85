//! What sending and fetching have in common: how they are shown to people and told to programs, how fast they may be,
//! and how they end early.

use std::time::Duration;

mod count;
pub(crate) mod events;
mod interrupt;
mod limit;
mod pause;
mod rate;
mod rows;
mod show;

pub(crate) use count::Counted;
pub(crate) use interrupt::{Interrupts, interrupted};
pub(crate) use limit::Limit;
pub(crate) use pause::Pausing;
pub(crate) use show::{Subject, Watch};

/// How often a transfer is looked at, by a person or by whoever waits for it.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(100);
